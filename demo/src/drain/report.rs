//! What the contest came to: medians, spread and ratios, as a table and as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::drain::backlog::Backlog;
use crate::drain::contest::{Reader, Round};
use crate::figures::{median, median_ratio, rounded, spread, write_wanted};

/// Ratios and limits that are wanted.
const RATIO_NULL_MIN: f64 = 1.0;
const RATIO_KAFKA_MIN: f64 = 0.6;
const RSS_PEAK_MB_MAX: f64 = 64.0;
const START_MS_MAX: f64 = 150.0;

/// The figures of a contest.
#[derive(Debug)]
pub struct Report {
    events: u64,
    message_bytes: f64,
    rounds: Vec<Round>,
    startups: Vec<Duration>,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    events: u64,
    null_events_per_s: f64,
    kafka_events_per_s: f64,
    pg_recvlogical_events_per_s: f64,
    ratio_null: f64,
    ratio_kafka: f64,
    cpu_s_per_million: f64,
    rss_peak_mb: f64,
    start_to_first_event_ms: f64,
}

impl Report {
    pub(super) fn new(backlog: &Backlog, rounds: Vec<Round>, startups: Vec<Duration>) -> Self {
        Self { events: backlog.events, message_bytes: backlog.message_bytes, rounds, startups }
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.figures()).expect("numbers are always JSON")
    }

    fn figures(&self) -> Figures {
        let rate = |reader| median(&self.rates(reader)).round();
        let rss = [Reader::Nothing, Reader::Kafka]
            .into_iter()
            .flat_map(|reader| self.laps(reader).map(|lap| lap.usage.rss_peak_mib()));
        let starts: Vec<f64> = self.startups.iter().map(|start| start.as_secs_f64() * 1000.0).collect();
        Figures {
            events: self.events,
            null_events_per_s: rate(Reader::Nothing),
            kafka_events_per_s: rate(Reader::Kafka),
            pg_recvlogical_events_per_s: rate(Reader::Recvlogical),
            ratio_null: rounded(self.ratio(Reader::Nothing)),
            ratio_kafka: rounded(self.ratio(Reader::Kafka)),
            cpu_s_per_million: rounded(self.cpu_s_per_million(Reader::Kafka)),
            rss_peak_mb: rounded(rss.fold(0.0, f64::max)),
            start_to_first_event_ms: rounded(median(&starts)),
        }
    }

    fn laps(&self, reader: Reader) -> impl Iterator<Item = &crate::drain::contest::Lap> {
        self.rounds.iter().map(move |round| &round[reader as usize])
    }

    fn rates(&self, reader: Reader) -> Vec<f64> {
        self.laps(reader).map(|lap| lap.events_per_s).collect()
    }

    /// Beside `pg_recvlogical`.
    fn ratio(&self, reader: Reader) -> f64 {
        median_ratio(&self.rates(reader), &self.rates(Reader::Recvlogical))
    }

    fn cpu_s_per_million(&self, reader: Reader) -> f64 {
        let cpu: Vec<f64> = self.laps(reader).map(|lap| lap.usage.cpu.as_secs_f64()).collect();
        median(&cpu) * 1e6 / self.events as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        writeln!(
            f,
            "\n  {} transactions of one event, {:.0} bytes a message, {} rounds",
            self.events,
            self.message_bytes,
            self.rounds.len()
        )?;
        writeln!(
            f,
            "\n  reader                          median events/s      slowest      fastest   ratio   CPU s per million"
        )?;
        for reader in Reader::ALL {
            let rates = self.rates(reader);
            let (slowest, fastest) = spread(&rates);
            let (name, ratio, cpu) = (reader.name(), self.ratio(reader), self.cpu_s_per_million(reader));
            writeln!(
                f,
                "  {name:<30} {:>16.0} {slowest:>12.0} {fastest:>12.0} {ratio:>7.2} {cpu:>19.2}",
                median(&rates)
            )?;
        }
        writeln!(f)?;
        write_wanted(f, "ratio to nothing", figures.ratio_null, "≥", RATIO_NULL_MIN)?;
        write_wanted(f, "ratio to Kafka", figures.ratio_kafka, "≥", RATIO_KAFKA_MIN)?;
        write_wanted(f, "resident peak, MiB", figures.rss_peak_mb, "≤", RSS_PEAK_MB_MAX)?;
        write_wanted(f, "start to first record, ms", figures.start_to_first_event_ms, "≤", START_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::drain::contest::Lap;
    use crate::drain::report::Report;
    use crate::procfs::Usage;

    fn report() -> Report {
        let lap = |events_per_s| Lap { events_per_s, usage: Usage { rss_peak_kib: 2048, cpu: Duration::from_secs(4) } };
        let rounds = vec![
            [lap(100.0), lap(110.0), lap(60.0)],
            [lap(50.0), lap(60.0), lap(40.0)],
            [lap(100.0), lap(90.0), lap(70.0)],
        ];
        Report { events: 2_000_000, message_bytes: 450.0, rounds, startups: vec![Duration::from_millis(90)] }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(report().ratio(crate::drain::contest::Reader::Nothing), 1.1);
        assert_eq!(report().ratio(crate::drain::contest::Reader::Kafka), 0.7);
    }

    #[test]
    fn the_json_has_exactly_the_promised_keys_in_their_order() {
        let expected = r#"{"events":2000000,"null_events_per_s":90.0,"kafka_events_per_s":60.0,"pg_recvlogical_events_per_s":100.0,"ratio_null":1.1,"ratio_kafka":0.7,"cpu_s_per_million":2.0,"rss_peak_mb":2.0,"start_to_first_event_ms":90.0}"#;
        assert_eq!(report().json(), expected);
    }

    #[test]
    fn a_figure_that_misses_what_is_wanted_is_called_so() {
        let table = report().to_string();
        assert!(!table.contains("NOT MET"), "{table}");
        let slow = Report { startups: vec![Duration::from_millis(151)], ..report() };
        assert!(slow.to_string().contains("NOT MET"));
    }
}
