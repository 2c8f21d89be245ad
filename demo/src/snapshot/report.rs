//! What the contest came to: medians, spread and ratios, as a table and as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::figures::{median, median_ratio, rounded, write_rates, write_wanted};
use crate::snapshot::contest::{Racer, Round};
use crate::snapshot::rows::Rows;

/// Ratios that are wanted.
const RATIO_NULL_MIN: f64 = 0.5;
const RATIO_KAFKA_MIN: f64 = 0.6;

/// The figures of a contest.
#[derive(Debug)]
pub struct Report {
    rows: u64,
    row_bytes: f64,
    record_bytes: f64,
    rounds: Vec<Round>,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    rows: u64,
    copy_rows_per_s: f64,
    null_ratio: f64,
    kafka_ratio: f64,
    lost: u64,
}

impl Report {
    pub(super) fn new(rows: &Rows, record_bytes: f64, rounds: Vec<Round>) -> Self {
        Self { rows: rows.rows, row_bytes: rows.row_bytes, record_bytes, rounds }
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.figures()).expect("numbers are always JSON")
    }

    /// Whether every row arrived. What a machine achieves is no verdict.
    pub fn passed(&self) -> bool {
        self.figures().lost == 0
    }

    fn figures(&self) -> Figures {
        Figures {
            rows: self.rows,
            copy_rows_per_s: median(&self.rates(Racer::Copy)).round(),
            null_ratio: rounded(self.ratio(Racer::Nothing, Racer::Copy)),
            kafka_ratio: rounded(self.ratio(Racer::Kafka, Racer::Producer)),
            lost: self.rounds.iter().flatten().map(|lap| lap.lost).sum(),
        }
    }

    fn rates(&self, racer: Racer) -> Vec<f64> {
        self.rounds.iter().map(|round| round[racer as usize].rows_per_s).collect()
    }

    fn ratio(&self, racer: Racer, yardstick: Racer) -> f64 {
        median_ratio(&self.rates(racer), &self.rates(yardstick))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        let (rows, row_bytes, record_bytes) = (self.rows, self.row_bytes, self.record_bytes);
        let runs = self.rounds.len();
        writeln!(f, "\n  {rows} rows of {row_bytes:.0} bytes, records of {record_bytes:.0} bytes, {runs} rounds")?;
        writeln!(f, "\n  {:<28} {:>14} {:>12} {:>12}", "who", "median rows/s", "slowest", "fastest")?;
        for racer in Racer::ALL {
            write_rates(f, racer.name(), &self.rates(racer))?;
        }
        writeln!(f)?;
        write_wanted(f, "nothing to COPY", figures.null_ratio, "≥", RATIO_NULL_MIN)?;
        write_wanted(f, "Kafka to its producer test", figures.kafka_ratio, "≥", RATIO_KAFKA_MIN)?;
        writeln!(f, "  {:<28} {:>8}", "lost", figures.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Usage;
    use crate::snapshot::contest::Lap;

    #[test]
    fn the_json_has_exactly_the_promised_keys_in_their_order() {
        let lap = |rows_per_s, lost| Lap { rows_per_s, usage: Usage::default(), lost };
        let rounds = vec![
            [lap(100.0, 0), lap(60.0, 0), lap(50.0, 0), lap(40.0, 1)],
            [lap(80.0, 0), lap(40.0, 0), lap(50.0, 0), lap(30.0, 0)],
            [lap(90.0, 0), lap(63.0, 0), lap(50.0, 0), lap(35.0, 0)],
        ];
        let report = Report { rows: 7, row_bytes: 1.0, record_bytes: 2.0, rounds };
        assert_eq!(report.json(), r#"{"rows":7,"copy_rows_per_s":90.0,"null_ratio":0.6,"kafka_ratio":0.7,"lost":1}"#);
        assert!(!report.passed() && !report.to_string().contains("NOT MET"));
    }
}
