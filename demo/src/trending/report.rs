//! What the question took, as a table and as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::figures::median;
use crate::trending::Options;

/// How long the refreshed table may take.
const TRENDING_MS_MAX: f64 = 100.0;

/// The figures.
#[derive(Debug)]
pub struct Report {
    events: u64,
    hours: u64,
    posts: u64,
    refresh: Duration,
    asked: Vec<f64>,
    scanned: Vec<f64>,
    equal: bool,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    events: u64,
    trending_ms: f64,
    raw_scan_ms: f64,
    refresh_ms: f64,
    equal: bool,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        refresh: Duration,
        asked: Vec<Duration>,
        scanned: Vec<Duration>,
        equal: bool,
    ) -> Self {
        let ms = |times: Vec<Duration>| times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let Options { events, hours, posts } = *options;
        Self { events, hours, posts, refresh, asked: ms(asked), scanned: ms(scanned), equal }
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.figures()).expect("numbers are always JSON")
    }

    /// Whether both gave the same answer. What a machine achieves is no verdict.
    pub fn passed(&self) -> bool {
        self.equal
    }

    fn figures(&self) -> Figures {
        Figures {
            events: self.events,
            trending_ms: tenth(median(&self.asked)),
            raw_scan_ms: tenth(median(&self.scanned)),
            refresh_ms: tenth(self.refresh.as_secs_f64() * 1e3),
            equal: self.equal,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        let slowest = self.asked.iter().copied().fold(0.0, f64::max);
        let met = if figures.trending_ms <= TRENDING_MS_MAX { "met" } else { "NOT MET" };
        writeln!(
            f,
            "\n  {} events of {} posts over {} h, top 50 of the last hour",
            self.events, self.posts, self.hours
        )?;
        writeln!(
            f,
            "\n  trending_1h      {:>10.1} ms   (slowest {slowest:.1})   wanted ≤ {TRENDING_MS_MAX} {met}",
            figures.trending_ms
        )?;
        writeln!(f, "  raw events       {:>10.1} ms", figures.raw_scan_ms)?;
        writeln!(f, "  a refresh        {:>10.1} ms   (by the server, each minute)", figures.refresh_ms)?;
        writeln!(f, "  the same answer  {:>10}", if self.equal { "yes" } else { "NO" })
    }
}

/// To one digit after the point: finer is not measured.
fn tenth(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_exactly_the_promised_keys_in_their_order() {
        let options = Options { events: 7, hours: 1, posts: 3 };
        let ms = |times: &[u64]| times.iter().copied().map(Duration::from_millis).collect();
        let report = Report::new(&options, Duration::from_millis(40), ms(&[3, 9, 5]), ms(&[800]), true);
        assert_eq!(
            report.json(),
            r#"{"events":7,"trending_ms":5.0,"raw_scan_ms":800.0,"refresh_ms":40.0,"equal":true}"#
        );
        assert!(report.passed() && !report.to_string().contains("NOT MET"));
    }
}
