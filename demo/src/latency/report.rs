//! What a latency benchmark came to, as a table and as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::figures::{ms, rounded};
use crate::latency::Percentiles;
use crate::latency::bench::Connections;
use crate::procfs::Usage;

/// Limits that are wanted, from the commit to the consumer.
const P50_MS_MAX: f64 = 3.0;
const P99_MS_MAX: f64 = 15.0;

/// The figures of every kind of connections that was measured.
#[derive(Debug)]
pub struct Report {
    measured: Vec<(Connections, Figures)>,
}

/// The figures of one; the keys are a contract with those who read them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Events a second that were written.
    rate: f64,
    /// Commit to consumer.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// From the moment when the event was due: writing and committing it included.
    due_p50_ms: f64,
    due_p99_ms: f64,
    /// How many events were counted.
    events: usize,
    /// The relay's processor seconds, start and warm-up included, and its most memory.
    cpu_s: f64,
    rss_peak_mb: f64,
}

impl Figures {
    pub(super) fn new(rate: f64, from_commit: &Percentiles, from_due: &Percentiles, usage: Usage) -> Self {
        Self {
            rate: rounded(rate),
            p50_ms: ms(from_commit.p50),
            p99_ms: ms(from_commit.p99),
            p999_ms: ms(from_commit.p999),
            max_ms: ms(from_commit.max),
            due_p50_ms: ms(from_due.p50),
            due_p99_ms: ms(from_due.p99),
            events: from_commit.count,
            cpu_s: rounded(usage.cpu.as_secs_f64()),
            rss_peak_mb: rounded(usage.rss_peak_mib()),
        }
    }

    fn met(&self) -> bool {
        self.p50_ms <= P50_MS_MAX && self.p99_ms <= P99_MS_MAX
    }
}

impl Report {
    pub(super) fn new(measured: Vec<(Connections, Figures)>) -> Self {
        Self { measured }
    }

    /// One line of JSON: the figures of the first kind of connections, and those of a second below its name.
    pub fn json(&self) -> String {
        let mut object = serde_json::Map::new();
        for (index, (connections, figures)) in self.measured.iter().enumerate() {
            let value = serde_json::to_value(figures).expect("numbers are JSON");
            match value {
                serde_json::Value::Object(fields) if index == 0 => {
                    object.insert("connections".into(), connections.name().into());
                    object.extend(fields);
                }
                value => drop(object.insert(connections.name().into(), value)),
            }
        }
        serde_json::Value::Object(object).to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  commit to consumer, ms       events/s      p50      p99    p99.9      max   due p50   due p99"
        )?;
        for (connections, figures) in &self.measured {
            let Figures { rate, p50_ms, p99_ms, p999_ms, max_ms, due_p50_ms, due_p99_ms, .. } = figures;
            writeln!(
                f,
                "  {:<26} {rate:>10.0} {p50_ms:>8.2} {p99_ms:>8.2} {p999_ms:>8.2} {max_ms:>8.2} {due_p50_ms:>9.2} {due_p99_ms:>9.2}",
                connections.name()
            )?;
        }
        writeln!(f)?;
        for (connections, figures) in &self.measured {
            let met = if figures.met() { "met" } else { "NOT MET" };
            writeln!(
                f,
                "  {:<6} wanted p50 \u{2264} {P50_MS_MAX} ms, p99 \u{2264} {P99_MS_MAX} ms   {met}",
                connections.name()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figures(p99_ms: u64) -> Figures {
        let of = |p99| Percentiles {
            count: 30_000,
            p50: Duration::from_micros(1500),
            p99: Duration::from_millis(p99),
            ..Percentiles::default()
        };
        Figures::new(999.6, &of(p99_ms), &of(p99_ms + 2), Usage::default())
    }

    #[test]
    fn the_json_begins_with_the_promised_figures_and_names_the_second_connections() {
        let report = Report::new(vec![(Connections::Plain, figures(4)), (Connections::Tls, figures(20))]);
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(
            (json["rate"].as_f64(), json["p50_ms"].as_f64(), json["p99_ms"].as_f64()),
            (Some(999.6), Some(1.5), Some(4.0))
        );
        assert_eq!((json["tls"]["p99_ms"].as_f64(), json["tls"]["due_p99_ms"].as_f64()), (Some(20.0), Some(22.0)));
    }

    #[test]
    fn a_limit_that_is_not_met_is_told() {
        let report = Report::new(vec![(Connections::Plain, figures(4)), (Connections::Tls, figures(20))]);
        let text = report.to_string();
        assert_eq!((text.matches("ms   met").count(), text.matches("NOT MET").count()), (1, 1), "{text}");
    }
}
