//! What a drill came to, as a table and as one JSON object.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::drill::Counted;
use crate::figures::rounded;

/// The verdict of one drill.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub drill: &'static str,
    /// Events that were committed and never arrived.
    pub lost: u64,
    /// Records beyond the first of their event.
    pub duplicated: u64,
    /// First occurrences that came after a later event of their key.
    pub reordered: u64,
    /// How long nothing new arrived, at the longest, in seconds.
    pub seconds_to_recover: f64,
    /// Events that were committed.
    pub committed: u64,
    /// What else was measured, by name.
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, f64>,
    /// What was wanted and is not so, as sentences.
    #[serde(skip)]
    pub missed: Vec<String>,
}

impl Report {
    /// The verdict on what was counted, after nothing new arrived for `recovered_in`.
    pub fn new(drill: &'static str, counted: Counted, recovered_in: Duration) -> Self {
        Self {
            drill,
            lost: counted.lost,
            duplicated: counted.duplicated,
            reordered: counted.reordered,
            seconds_to_recover: rounded(recovered_in.as_secs_f64()),
            committed: counted.committed,
            figures: BTreeMap::new(),
            missed: Vec::new(),
        }
    }

    /// The same with one figure more.
    #[must_use]
    pub fn with(mut self, name: &'static str, figure: f64) -> Self {
        self.figures.insert(name, rounded(figure));
        self
    }

    /// The same, failed if this does not hold.
    #[must_use]
    pub fn wanted(mut self, holds: bool, what: impl FnOnce() -> String) -> Self {
        if !holds {
            self.missed.push(what());
        }
        self
    }

    /// Whether nothing was lost or reordered, and all that was wanted holds.
    pub fn passed(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.committed > 0 && self.missed.is_empty()
    }

    /// The report as one JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names always have a JSON form")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "PASSED" } else { "FAILED" };
        writeln!(f, "\n  drill {}: {verdict}\n", self.drill)?;
        for (name, count) in [
            ("committed", self.committed),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
        ] {
            writeln!(f, "  {name:<28} {count:>12}")?;
        }
        writeln!(f, "  {:<28} {:>12.3}", "seconds_to_recover", self.seconds_to_recover)?;
        for (name, figure) in &self.figures {
            writeln!(f, "  {name:<28} {figure:>12}")?;
        }
        self.missed.iter().try_for_each(|missed| writeln!(f, "  NOT MET: {missed}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::drill::{Counted, Report};

    const COUNTED: Counted = Counted { committed: 10, delivered: 10, lost: 0, duplicated: 3, reordered: 0, unknown: 0 };

    #[test]
    fn duplicates_alone_are_no_failure_and_figures_are_members_of_the_object() {
        let report = Report::new("failover", COUNTED, Duration::from_millis(1500)).with("gap_p50_ms", 12.0);
        assert!(report.passed());
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["seconds_to_recover"], 1.5);
        assert_eq!(json["gap_p50_ms"], 12.0);
        assert_eq!(json["duplicated"], 3);
    }

    #[test]
    fn what_was_lost_reordered_or_wanted_in_vain_fails() {
        let report = |counted| Report::new("failover", counted, Duration::ZERO);
        assert!(!report(Counted { lost: 1, ..COUNTED }).passed());
        assert!(!report(Counted { reordered: 1, ..COUNTED }).passed());
        assert!(!report(Counted { committed: 0, ..COUNTED }).passed(), "nothing was played");
        let missed = report(COUNTED).wanted(false, || "a gap of less than a second".into());
        assert!(!missed.passed());
        assert!(missed.to_string().contains("NOT MET: a gap of less than a second"), "{missed}");
    }
}
