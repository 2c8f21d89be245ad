//! The verdict: memory, what was lost and what came twice, as text and as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::large::reader::Found;
use crate::procfs::Usage;

/// The memory that the relay may take, in MiB.
const RSS_MAX_MIB: f64 = 96.0;
/// Of the rows that were delivered before a kill, the part that may come again: what was in flight, and what was acknowledged
/// since the last progress record.
const REPEATED_MAX: f64 = 0.1;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub(super) rows: u64,
    pub(super) found: Found,
    /// How many rows had arrived at each kill.
    pub(super) killed_at: Vec<u64>,
    pub(super) usage: Usage,
    pub(super) seconds: Duration,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures<'r> {
    rows: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    kills: usize,
    killed_at: &'r [u64],
    relay_rss_peak_mb: f64,
    relay_cpu_s: f64,
    seconds: f64,
    rows_per_s: u64,
    verdict: &'static str,
}

impl Report {
    fn lost(&self) -> u64 {
        self.rows.saturating_sub(self.found.distinct)
    }

    fn duplicated(&self) -> u64 {
        self.found.records - self.found.distinct.min(self.found.records)
    }

    /// Whether a killed relay went on in the middle of the transaction rather than at its beginning.
    fn resumed(&self) -> bool {
        let before: u64 = self.killed_at.iter().sum();
        self.duplicated() as f64 <= REPEATED_MAX * before as f64
    }

    /// Whether nothing is missing, little came twice and memory stayed within its bound.
    pub fn passed(&self) -> bool {
        self.lost() == 0 && self.found.reordered == 0 && self.resumed() && self.usage.rss_peak_mib() < RSS_MAX_MIB
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        let tenths = |figure: f64| (figure * 10.0).round() / 10.0;
        let figures = Figures {
            rows: self.rows,
            lost: self.lost(),
            duplicated: self.duplicated(),
            reordered: self.found.reordered,
            kills: self.killed_at.len(),
            killed_at: &self.killed_at,
            relay_rss_peak_mb: tenths(self.usage.rss_peak_mib()),
            relay_cpu_s: tenths(self.usage.cpu.as_secs_f64()),
            seconds: tenths(self.seconds.as_secs_f64()),
            rows_per_s: (self.rows as f64 / self.seconds.as_secs_f64()) as u64,
            verdict: if self.passed() { "pass" } else { "fail" },
        };
        serde_json::to_string(&figures).expect("numbers and a name are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.as_secs_f64();
        writeln!(f)?;
        writeln!(
            f,
            "  rows          {:>12}   in one transaction, delivered {seconds:.0} s after its commit",
            self.rows
        )?;
        writeln!(f, "  lost          {:>12}", self.lost())?;
        writeln!(f, "  duplicated    {:>12}   SIGKILL after {:?} rows", self.duplicated(), self.killed_at)?;
        writeln!(f, "  reordered     {:>12}", self.found.reordered)?;
        let (rss, cpu) = (self.usage.rss_peak_mib(), self.usage.cpu.as_secs_f64());
        writeln!(f, "\n  relay: {rss:.1} MiB resident at most, of {RSS_MAX_MIB} allowed; {cpu:.1} CPU s\n")?;
        match self.passed() {
            true => write!(f, "  PASS  the transaction came whole, in bounded memory"),
            false => write!(f, "  FAIL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::large::reader::Found;
    use crate::large::report::Report;
    use crate::procfs::Usage;

    fn report(records: u64, distinct: u64, rss_peak_kib: u64) -> Report {
        Report {
            rows: 1000,
            found: Found { records, distinct, reordered: 0 },
            killed_at: vec![500],
            usage: Usage { rss_peak_kib, cpu: Duration::from_secs(1) },
            seconds: Duration::from_secs(2),
        }
    }

    #[test]
    fn what_is_lost_repeated_from_the_beginning_or_too_large_fails() {
        assert!(report(1020, 1000, 40_000).passed());
        assert!(!report(1020, 999, 40_000).passed());
        assert!(!report(1500, 1000, 40_000).passed());
        assert!(!report(1020, 1000, 200_000).passed());
        assert!(report(1500, 1000, 1).json().ends_with(r#""verdict":"fail"}"#));
    }
}
