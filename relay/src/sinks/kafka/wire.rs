//! What goes over the wire to the brokers, from librdkafka's own
//! [statistics](https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md), every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tracing::debug;

use crate::telemetry::Metrics;

/// Between two reports, in milliseconds. Each costs a few kilobytes of JSON for every topic.
pub(super) const REPORT_INTERVAL_MS: &str = "5000";

/// The counters of one producer. Another begins at zero.
#[derive(Debug)]
pub(super) struct Wire {
    metrics: Arc<Metrics>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    sent_bytes: u64,
    connects: u64,
    retries: u64,
    /// Messages waited, and no broker was connected.
    cut_off: bool,
}

/// The part of a report that is looked at.
#[derive(Debug, Deserialize)]
struct Report {
    tx_bytes: u64,
    /// Messages that are not acknowledged yet.
    #[serde(default)]
    msg_cnt: u64,
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    #[serde(default)]
    source: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    connects: u64,
    #[serde(default)]
    txretries: u64,
    #[serde(default)]
    rtt: Window,
}

/// Microseconds over the time since the last report.
#[derive(Debug, Default, Deserialize)]
struct Window {
    #[serde(default)]
    avg: u64,
}

impl Wire {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, counted: Mutex::default() }
    }

    /// Takes a report over. Says whether messages wait while no broker is connected, in this report and in the one before:
    /// there are orders of events after which librdkafka never tells that all brokers are down.
    pub(super) fn report(&self, json: &[u8]) -> bool {
        let report: Report = match serde_json::from_slice(json) {
            Ok(report) => report,
            Err(error) => {
                debug!(%error, "librdkafka's statistics cannot be read");
                return false;
            }
        };
        let now = Counted {
            sent_bytes: report.tx_bytes,
            connects: report.brokers.values().map(|broker| broker.connects).sum(),
            retries: report.brokers.values().map(|broker| broker.txretries).sum(),
            cut_off: report.msg_cnt > 0 && !report.brokers.values().any(Broker::is_connected),
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *counted, now);
        let kafka = &self.metrics.kafka;
        kafka.sent_bytes.inc_by(now.sent_bytes.saturating_sub(before.sent_bytes));
        kafka.connects.inc_by(now.connects.saturating_sub(before.connects));
        kafka.retries.inc_by(now.retries.saturating_sub(before.retries));
        let slowest_us = report.brokers.values().map(|broker| broker.rtt.avg).max().unwrap_or(0);
        kafka.round_trip_seconds.set(slowest_us as f64 / 1e6);
        now.cut_off && before.cut_off
    }
}

impl Broker {
    /// What librdkafka keeps for itself counts as connected at all times.
    fn is_connected(&self) -> bool {
        self.source != "internal" && matches!(self.state.as_str(), "UP" | "UPDATE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_counted_by_what_they_add_and_the_slowest_broker_is_shown() {
        let metrics = Metrics::new();
        let wire = Wire::new(Arc::clone(&metrics));
        let report = |bytes: u64, connects: u64| {
            format!(
                r#"{{"name":"p","tx_bytes":{bytes},"topics":{{}},"brokers":{{
                    "a":{{"connects":{connects},"txretries":1,"rtt":{{"avg":1500,"cnt":2}}}},"b":{{"rtt":{{"avg":400}}}}}}}}"#
            )
        };
        wire.report(report(100, 1).as_bytes());
        wire.report(report(250, 2).as_bytes());
        wire.report(b"no report");
        let kafka = &metrics.kafka;
        assert_eq!((kafka.sent_bytes.get(), kafka.connects.get(), kafka.retries.get()), (250, 2, 1));
        assert!((kafka.round_trip_seconds.get() - 0.0015).abs() < 1e-9);
        // A producer that was started anew counts from zero.
        Wire::new(Arc::clone(&metrics)).report(report(40, 1).as_bytes());
        assert_eq!((kafka.sent_bytes.get(), kafka.connects.get()), (290, 3));
    }

    #[test]
    fn messages_that_wait_for_a_connection_over_two_reports_are_cut_off() {
        let wire = Wire::new(Metrics::new());
        let report = |messages: u64, state: &str| {
            let brokers = format!(
                r#"{{"b:9092/1":{{"source":"learned","state":"{state}"}},"":{{"source":"internal","state":"UP"}}}}"#
            );
            wire.report(format!(r#"{{"tx_bytes":0,"msg_cnt":{messages},"brokers":{brokers}}}"#).as_bytes())
        };
        assert!(!report(7, "DOWN"), "it may just have been lost");
        assert!(report(7, "TRY_CONNECT"));
        assert!(!report(7, "UP"));
        assert!(!report(0, "DOWN"));
        assert!(!report(0, "DOWN"), "nothing needs a connection");
    }
}
