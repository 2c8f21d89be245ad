//! The verdict: whether the copy that the records made is equal to Postgres, as a table for a person and one JSON object for a
//! machine.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::procfs::Usage;
use crate::state::compare::Comparison;
use crate::state::fold::Flaws;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub(super) operations: u64,
    pub(super) transactions: u64,
    pub(super) rolled_back: u64,
    pub(super) alterations: u64,
    pub(super) kills: u64,
    pub(super) seed: u64,
    pub(super) seconds: Duration,
    pub(super) usage: Usage,
    pub(super) comparison: Comparison,
    pub(super) flaws: Flaws,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    operations: u64,
    kills: u64,
    records: u64,
    tables: u64,
    differences: u64,
    duplicated: u64,
    reordered: u64,
    inconsistent: u64,
    rows: u64,
    transactions: u64,
    rolled_back: u64,
    schema_changes: u64,
    relay_rss_peak_mb: f64,
    seconds: f64,
    seed: u64,
    verdict: &'static str,
}

impl Report {
    /// Whether both sides are equal, and every key came in order.
    pub fn passed(&self) -> bool {
        self.comparison.differences == 0 && self.flaws.none()
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        let tenths = |figure: f64| (figure * 10.0).round() / 10.0;
        let figures = Figures {
            operations: self.operations,
            kills: self.kills,
            records: self.flaws.records,
            tables: self.comparison.tables,
            differences: self.comparison.differences,
            duplicated: self.flaws.duplicated,
            reordered: self.flaws.reordered + self.flaws.scattered,
            inconsistent: self.flaws.inconsistent,
            rows: self.comparison.rows,
            transactions: self.transactions,
            rolled_back: self.rolled_back,
            schema_changes: self.alterations,
            relay_rss_peak_mb: tenths(self.usage.rss_peak_mib()),
            seconds: tenths(self.seconds.as_secs_f64()),
            seed: self.seed,
            verdict: if self.passed() { "pass" } else { "fail" },
        };
        serde_json::to_string(&figures).expect("numbers and a name are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comparison, flaws, .. } = self;
        let beside = format!(
            "in {} transactions over {:.0} s, {} schema changes; {} rolled back",
            self.transactions,
            self.seconds.as_secs_f64(),
            self.alterations,
            self.rolled_back
        );
        writeln!(f)?;
        writeln!(f, "  operations    {:>12}   {beside}", self.operations)?;
        writeln!(f, "  records       {:>12}", flaws.records)?;
        writeln!(f, "  duplicated    {:>12}   by {} SIGKILLs", flaws.duplicated, self.kills)?;
        writeln!(f, "  rows          {:>12}   in {} tables at the end", comparison.rows, comparison.tables)?;
        writeln!(f, "  differences   {:>12}   rows that only one side has", comparison.differences)?;
        writeln!(f, "  reordered     {:>12}", flaws.reordered + flaws.scattered)?;
        writeln!(f, "  inconsistent  {:>12}   records that no consumer could apply", flaws.inconsistent)?;
        writeln!(f, "\n  relay: {:.1} MiB resident at most; seed {}\n", self.usage.rss_peak_mib(), self.seed)?;
        for example in comparison.examples.iter().chain(&flaws.examples) {
            writeln!(f, "  {example}")?;
        }
        match self.passed() {
            true => write!(f, "  PASS  what the records make is what Postgres holds"),
            false => write!(f, "  FAIL  what the records make is not what Postgres holds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::procfs::Usage;
    use crate::state::compare::Comparison;
    use crate::state::fold::Flaws;
    use crate::state::report::Report;

    fn report() -> Report {
        Report {
            operations: 1,
            transactions: 1,
            rolled_back: 0,
            alterations: 0,
            kills: 2,
            seed: 7,
            seconds: Duration::from_secs(3),
            usage: Usage::default(),
            comparison: Comparison::default(),
            flaws: Flaws::default(),
        }
    }

    #[test]
    fn duplicates_are_no_fault_and_everything_else_is() {
        assert!(Report { flaws: Flaws { duplicated: 5, ..Flaws::default() }, ..report() }.passed());
        let differs = Report { comparison: Comparison { differences: 1, ..Comparison::default() }, ..report() };
        let reordered = Report { flaws: Flaws { reordered: 1, ..Flaws::default() }, ..report() };
        let inconsistent = Report { flaws: Flaws { inconsistent: 1, ..Flaws::default() }, ..report() };
        for bad in [differs, reordered, inconsistent] {
            assert!(!bad.passed());
            assert!(bad.json().ends_with(r#""verdict":"fail"}"#), "{}", bad.json());
            assert!(bad.to_string().contains("FAIL"));
        }
    }

    #[test]
    fn the_json_begins_with_the_promised_keys() {
        let json = report().json();
        assert!(
            json.starts_with(r#"{"operations":1,"kills":2,"records":0,"tables":0,"differences":0,"duplicated":0,"#),
            "{json}"
        );
    }
}
