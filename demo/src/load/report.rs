//! What the contest came to: medians, spread and ratios, as a table and as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::figures::{median, median_ratio, rounded, write_rates, write_wanted};
use crate::load::contest::{Racer, Round};

/// Ratios that are wanted.
const RATIO_NATIVE_MIN: f64 = 0.5;
const RATIO_JSON_MIN: f64 = 1.5;

/// The figures of a contest.
#[derive(Debug)]
pub struct Report {
    rows: u64,
    record_bytes: f64,
    rounds: Vec<Round>,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    rows: u64,
    rows_per_s: f64,
    ratio_native: f64,
    ratio_jsoneachrow: f64,
    wrong: u64,
}

impl Report {
    pub(super) fn new(rows: u64, record_bytes: f64, rounds: Vec<Round>) -> Self {
        Self { rows, record_bytes, rounds }
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.figures()).expect("numbers are always JSON")
    }

    /// Whether every row arrived once. What a machine achieves is no verdict.
    pub fn passed(&self) -> bool {
        self.figures().wrong == 0
    }

    fn figures(&self) -> Figures {
        Figures {
            rows: self.rows,
            rows_per_s: median(&self.rates(Racer::Loader)).round(),
            ratio_native: rounded(self.ratio(Racer::Native)),
            ratio_jsoneachrow: rounded(self.ratio(Racer::Json)),
            wrong: self.rounds.iter().flatten().map(|lap| lap.wrong).sum(),
        }
    }

    fn rates(&self, racer: Racer) -> Vec<f64> {
        self.rounds.iter().map(|round| round[racer as usize].rows_per_s).collect()
    }

    fn ratio(&self, yardstick: Racer) -> f64 {
        median_ratio(&self.rates(Racer::Loader), &self.rates(yardstick))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        writeln!(f, "\n  {} records of {:.0} bytes, {} rounds", self.rows, self.record_bytes, self.rounds.len())?;
        writeln!(f, "\n  {:<28} {:>14} {:>12} {:>12}", "who", "median rows/s", "slowest", "fastest")?;
        for racer in Racer::ALL {
            write_rates(f, racer.name(), &self.rates(racer))?;
        }
        let loader = || self.rounds.iter().map(|round| round[Racer::Loader as usize]);
        let of = |figure: &dyn Fn(_) -> f64| median(&loader().map(figure).collect::<Vec<_>>());
        writeln!(
            f,
            "\n  the loader: {:.1} s from its start to its first batch, {:.2} CPU s, {:.0} MiB",
            of(&|lap| lap.first.as_secs_f64()),
            of(&|lap| lap.usage.cpu.as_secs_f64()),
            of(&|lap| lap.usage.rss_peak_mib())
        )?;
        write_wanted(f, "beside Native", figures.ratio_native, "≥", RATIO_NATIVE_MIN)?;
        write_wanted(f, "beside JSONEachRow", figures.ratio_jsoneachrow, "≥", RATIO_JSON_MIN)?;
        writeln!(f, "  {:<28} {:>8}", "missing or twice", figures.wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::contest::Lap;
    use crate::procfs::Usage;

    #[test]
    fn the_json_has_exactly_the_promised_keys_in_their_order() {
        let lap = |rows_per_s, wrong| Lap { rows_per_s, usage: Usage::default(), first: Duration::ZERO, wrong };
        let rounds = vec![
            [lap(100.0, 0), lap(30.0, 0), lap(60.0, 1)],
            [lap(80.0, 0), lap(20.0, 0), lap(40.0, 0)],
            [lap(90.0, 0), lap(25.0, 0), lap(63.0, 0)],
        ];
        let report = Report { rows: 7, record_bytes: 2.0, rounds };
        assert_eq!(
            report.json(),
            r#"{"rows":7,"rows_per_s":60.0,"ratio_native":0.6,"ratio_jsoneachrow":2.0,"wrong":1}"#
        );
        assert!(!report.passed() && !report.to_string().contains("NOT MET"));
    }
}
