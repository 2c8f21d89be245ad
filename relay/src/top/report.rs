//! The answer of `/status` as its reader knows it, and as text for a person.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::top::unit;

/// What a relay tells of itself. A relay of another version may tell more, which is passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Report {
    /// Its version.
    pub version: String,
    /// The slot it reads.
    pub slot: Option<String>,
    /// What it reads.
    pub source: String,
    /// What it writes.
    pub sink: String,
    /// Where it stands in its life, such as `streaming`.
    pub state: String,
    /// Since when, in milliseconds since 1970.
    pub state_since_ms: u64,
    /// How long it has been at work.
    pub uptime_ms: u64,
    /// Whether events flow.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The newest failure, even if it was overcome.
    pub last_error: Option<LastError>,
    /// Batches accepted and not durable yet.
    pub in_flight_batches: u64,
    /// Their bytes.
    pub in_flight_bytes: u64,
    /// Messages durable since the start.
    pub delivered_messages: u64,
    /// The newest acknowledged position.
    pub acknowledged: Option<String>,
    /// Events that are parked.
    #[serde(default)]
    pub parked_events: u64,
    /// Keys whose events wait because one is parked.
    #[serde(default)]
    pub held_keys: u64,
    /// Dead letters that are neither replayed nor dropped.
    #[serde(default)]
    pub dead_letters: u64,
    /// The circuit breakers of its ends.
    #[serde(default)]
    pub breakers: Vec<Breaker>,
    /// Age of the oldest commit that is not durable.
    pub lag_seconds: f64,
    /// WAL after the confirmed position.
    pub lag_bytes: i64,
    /// WAL kept because of the slot.
    pub retained_bytes: i64,
    /// WAL that may still be written before the slot is given up.
    pub safe_bytes: Option<i64>,
    /// Whether a broker can be reached.
    pub broker_reachable: bool,
    /// From the commit to durable.
    pub delivery: Summary,
    /// Each stage since the start.
    pub stages: Vec<Stage>,
}

/// The circuit breaker of an end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Breaker {
    /// `source` or `sink`.
    pub end: String,
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it opened.
    pub opened: u64,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LastError {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `source` or `sink`.
    pub end: String,
    /// What happened.
    pub message: String,
    /// What a person can do about it.
    pub help: Option<String>,
}

/// A distribution.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Summary {
    /// How often something was measured.
    pub count: u64,
    /// Half were no slower, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were no slower, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// A stage and its durations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// How long it takes.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What a process tells: of its only relay, or of each.
#[derive(Debug, Clone, PartialEq)]
pub enum Reports {
    /// The only one.
    One(Box<Report>),
    /// Each, by its name.
    Several {
        /// Whether each is ready.
        ready: bool,
        /// Which are not, and why.
        reason: Option<String>,
        /// What each tells.
        relays: BTreeMap<String, Report>,
    },
}

/// The answer of a process with several relays.
#[derive(Debug, Deserialize)]
struct OfSeveral {
    ready: bool,
    reason: Option<String>,
    relays: BTreeMap<String, Report>,
}

impl Reports {
    /// Reads the JSON text of an answer.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // Which of the two it is shows by the key that only one of them has, so that a mistake is told of the right one.
        if serde_json::from_str::<serde_json::Value>(text)?.get("relays").is_none() {
            return Ok(Self::One(Box::new(Report::parse(text)?)));
        }
        let OfSeveral { ready, reason, relays } = serde_json::from_str(text)?;
        Ok(Self::Several { ready, reason, relays })
    }

    /// Why not every relay is ready; `None` if each is.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        let (ready, reason, otherwise) = match self {
            Self::One(report) => (report.ready, &report.reason, report.state.as_str()),
            Self::Several { ready, reason, .. } => (*ready, reason, "not all relays are"),
        };
        (!ready).then(|| reason.clone().unwrap_or_else(|| otherwise.to_owned()))
    }
}

impl fmt::Display for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(report) => report.fmt(f),
            Self::Several { relays, .. } => {
                for (index, (name, report)) in relays.iter().enumerate() {
                    let gap = if index == 0 { "" } else { "\n" };
                    write!(f, "{gap}relay        {name}\n{report}")?;
                }
                Ok(())
            }
        }
    }
}

impl Report {
    /// Reads the JSON text of an answer.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// How long ago that moment was, in milliseconds since 1970.
    pub(super) fn since(ms: u64) -> Duration {
        let then = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        then.elapsed().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<12} {value}");
        let since = unit::duration(Self::since(self.state_since_ms));
        let uptime = unit::duration(Duration::from_millis(self.uptime_ms));
        row("state", format!("{} for {since}; postrider {} up {uptime}", self.state, self.version))?;
        if let Some(reason) = &self.reason {
            row("not ready", reason.clone())?;
        }
        row("source", self.source.clone())?;
        row("sink", format!("{}{}", self.sink, if self.broker_reachable { "" } else { " (unreachable)" }))?;
        row("position", self.acknowledged.clone().unwrap_or_else(|| "nothing acknowledged since the start".into()))?;
        row("lag", format!("{:.1} s, {} of WAL", self.lag_seconds, unit::bytes(self.lag_bytes as f64)))?;
        let limit = self.safe_bytes.map_or_else(String::new, |safe| {
            format!("; {} more may be written before the slot is lost", unit::bytes(safe as f64))
        });
        row("retained", format!("{} of WAL{limit}", unit::bytes(self.retained_bytes as f64)))?;
        let bytes = unit::bytes(self.in_flight_bytes as f64);
        row("in flight", format!("{} batches, {bytes}", self.in_flight_batches))?;
        if self.parked_events > 0 {
            let more = "see `postrider parked list`";
            row("parked", format!("{} events, {} keys wait; {more}", self.parked_events, self.held_keys))?;
        }
        if self.dead_letters > 0 {
            let more = "see `postrider dlq list`";
            row("dead letters", format!("{}, {} keys wait; {more}", self.dead_letters, self.held_keys))?;
        }
        for breaker in self.breakers.iter().filter(|breaker| breaker.state != "closed" || breaker.opened > 0) {
            let (since, opened) = (unit::duration(Self::since(breaker.since_ms)), breaker.opened);
            row("breaker", format!("{} {} for {since}; opened {opened} times", breaker.end, breaker.state))?;
        }
        let (p50, p99) = (unit::milliseconds(self.delivery.p50_ms), unit::milliseconds(self.delivery.p99_ms));
        row("delivered", format!("{} events; commit to durable p50 {p50} ms, p99 {p99} ms", self.delivered_messages))?;
        for Stage { stage, summary } in &self.stages {
            let (p50, p99) = (unit::milliseconds(summary.p50_ms), unit::milliseconds(summary.p99_ms));
            row(&format!("  {stage}"), format!("p50 {p50} ms, p99 {p99} ms"))?;
        }
        if let Some(error) = &self.last_error {
            let ago = unit::duration(Self::since(error.at_ms));
            row("last error", format!("{ago} ago, {}: {}", error.end, error.message))?;
            if let Some(help) = &error.help {
                row("  help", help.clone())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer with everything in it.
    pub(crate) const ANSWER: &str = r#"{"version":"0.1.0","slot":"orders","source":"slot orders in database shop",
        "sink":"kafka b:9092","state":"retrying","state_since_ms":0,"uptime_ms":61000,"ready":false,"reason":"gone",
        "last_error":{"at_ms":0,"end":"sink","message":"broker gone","help":"Start it."},"in_flight_batches":2,
        "in_flight_bytes":2048,"parked_events":3,"held_keys":1,"dead_letters":4,
        "breakers":[{"end":"source","state":"closed","since_ms":0,"opened":0},{"end":"sink","state":"open","since_ms":0,"opened":2,"probe_in_ms":2000}],"delivered_messages":7,"acknowledged":"commit 0/1","lag_seconds":1.5,"lag_bytes":1024,
        "retained_bytes":3145728,"safe_bytes":1048576,"broker_reachable":false,"told_by_a_newer_one":1,
        "delivery":{"count":7,"p50_ms":1.25,"p99_ms":2.5},"stages":[{"stage":"read","count":7,"p50_ms":0.5,"p99_ms":null}]}"#;

    #[test]
    fn of_several_relays_each_is_shown_below_its_name() {
        let text = format!(
            "{{\"version\":\"1\",\"ready\":false,\"reason\":\"us: gone\",\"relays\":{{\"eu\":{ANSWER},\"us\":{ANSWER}}}}}"
        );
        let reports = Reports::parse(&text).unwrap();
        assert_eq!(reports.why_not().as_deref(), Some("us: gone"));
        let shown = reports.to_string();
        assert!(shown.starts_with("relay        eu\nstate "), "{shown}");
        assert!(shown.contains("\n\nrelay        us\nstate "), "{shown}");
        assert_eq!(Reports::parse(ANSWER).unwrap().why_not().as_deref(), Some("gone"));
    }

    #[test]
    fn a_person_reads_all_of_it_and_what_a_newer_relay_adds_is_passed_over() {
        let text = Report::parse(ANSWER).unwrap().to_string();
        for line in [
            "not ready    gone\n",
            "sink         kafka b:9092 (unreachable)\n",
            "lag          1.5 s, 1.0 KiB of WAL\n",
            "retained     3.0 MiB of WAL; 1.0 MiB more may be written before the slot is lost\n",
            "in flight    2 batches, 2.0 KiB\n",
            "parked       3 events, 1 keys wait; see `postrider parked list`\n",
            "dead letters 4, 1 keys wait; see `postrider dlq list`\n",
            "; opened 2 times\n",
            "delivered    7 events; commit to durable p50 1.25 ms, p99 2.50 ms\n",
            "  read       p50 0.50 ms, p99 - ms\n",
            "sink: broker gone\n",
            "  help       Start it.\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
