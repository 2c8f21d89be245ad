//! The verdict: restless phases beside quiet ones, as text and as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::large::reader::Found;
use crate::procfs::Usage;

/// The restless phases' rate as a part of the quiet ones', at least: what is below can be seen.
const RATIO_MIN: f64 = 0.9;

/// A phase of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phase {
    /// Whether schemas changed.
    pub(super) restless: bool,
    pub(super) rows: u64,
    pub(super) seconds: Duration,
    /// CPU time of the relay.
    pub(super) cpu: Duration,
    /// How many schema changes there were.
    pub(super) changes: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, changes, .. } = self;
        let (seconds, cpu) = (self.seconds.as_secs_f64(), self.cpu.as_secs_f64());
        let rate = *rows as f64 / seconds;
        write!(f, "{changes:>3} schema changes: {rows} rows in {seconds:.1} s, {rate:.0} rows/s, relay {cpu:.2} CPU s")
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub(super) tables: u64,
    pub(super) rows: u64,
    pub(super) found: Found,
    pub(super) phases: Vec<Phase>,
    pub(super) usage: Usage,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    tables: u64,
    schema_changes: u64,
    rows: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    quiet_rows_per_s: u64,
    restless_rows_per_s: u64,
    ratio: f64,
    quiet_cpu_us_per_row: f64,
    restless_cpu_us_per_row: f64,
    relay_rss_peak_mb: f64,
    verdict: &'static str,
}

impl Report {
    fn sum(&self, restless: bool) -> (f64, f64, f64) {
        let phases = self.phases.iter().filter(|phase| phase.restless == restless);
        phases.fold((0.0, 0.0, 0.0), |(rows, seconds, cpu), phase| {
            (rows + phase.rows as f64, seconds + phase.seconds.as_secs_f64(), cpu + phase.cpu.as_secs_f64())
        })
    }

    fn rate(&self, restless: bool) -> f64 {
        let (rows, seconds, _) = self.sum(restless);
        rows / seconds.max(f64::MIN_POSITIVE)
    }

    fn cpu_us(&self, restless: bool) -> f64 {
        let (rows, _, cpu) = self.sum(restless);
        cpu * 1e6 / rows.max(1.0)
    }

    fn ratio(&self) -> f64 {
        self.rate(true) / self.rate(false).max(f64::MIN_POSITIVE)
    }

    fn lost(&self) -> u64 {
        self.rows.saturating_sub(self.found.distinct)
    }

    /// Whether nothing is missing, and schema changes cost nothing that could be seen.
    pub fn passed(&self) -> bool {
        self.lost() == 0 && self.found.reordered == 0 && self.ratio() >= RATIO_MIN
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        let rounded = |figure: f64| (figure * 1000.0).round() / 1000.0;
        let figures = Figures {
            tables: self.tables,
            schema_changes: self.phases.iter().map(|phase| phase.changes).sum(),
            rows: self.rows,
            lost: self.lost(),
            duplicated: self.found.records.saturating_sub(self.found.distinct),
            reordered: self.found.reordered,
            quiet_rows_per_s: self.rate(false) as u64,
            restless_rows_per_s: self.rate(true) as u64,
            ratio: rounded(self.ratio()),
            quiet_cpu_us_per_row: rounded(self.cpu_us(false)),
            restless_cpu_us_per_row: rounded(self.cpu_us(true)),
            relay_rss_peak_mb: rounded(self.usage.rss_peak_mib()),
            verdict: if self.passed() { "pass" } else { "fail" },
        };
        serde_json::to_string(&figures).expect("numbers and a name are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |restless| {
            format!("{:>8.0} rows/s   {:.1} µs of the relay's CPU a row", self.rate(restless), self.cpu_us(restless))
        };
        writeln!(f)?;
        writeln!(f, "  rows          {:>12}   in {} tables, {} lost", self.rows, self.tables, self.lost())?;
        writeln!(f, "  quiet         {}", rate(false))?;
        writeln!(f, "  restless      {}", rate(true))?;
        writeln!(f, "  ratio         {:>8.3}\n", self.ratio())?;
        match self.passed() {
            true => write!(f, "  PASS  schema changes cost nothing that can be seen"),
            false => write!(f, "  FAIL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::churn::report::{Phase, Report};
    use crate::large::reader::Found;
    use crate::procfs::Usage;

    fn report(restless_rows: u64, distinct: u64) -> Report {
        let phase = |restless, rows| Phase { restless, rows, seconds: Duration::from_secs(1), ..Phase::default() };
        Report {
            tables: 1,
            rows: 100,
            found: Found { records: distinct, distinct, reordered: 0 },
            phases: vec![phase(false, 100), phase(true, restless_rows)],
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_cost_that_can_be_seen_and_a_lost_row_fail() {
        assert!(report(95, 100).passed());
        assert!(!report(80, 100).passed());
        assert!(!report(95, 99).passed());
        assert!(report(80, 100).json().ends_with(r#""verdict":"fail"}"#));
    }
}
