//! How far behind: in records, by librdkafka's view of where partitions end, and in seconds, by the timestamps of what waits.

use std::time::SystemTime;

use crate::sources::kafka::events::Report;
use crate::sources::kafka::lane::Lane;
use crate::sources::kafka::options::Topic;
use crate::telemetry::Metrics;

/// Sets the gauges of each topic.
pub(super) fn show(topics: &[Topic], lanes: &[Lane], report: &Report, metrics: &Metrics) {
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    for topic in topics {
        let (mut records, mut seconds) = (0, 0.0_f64);
        for lane in lanes.iter().filter(|lane| lane.topic.name == topic.name) {
            records += records_behind(lane, report);
            if let Some(since) = lane.book.waiting_ms() {
                seconds = seconds.max(now_ms.saturating_sub(since).max(0) as f64 / 1000.0);
            }
        }
        metrics.consumer.lag_records.with_label_values(&[&topic.name]).set(records);
        metrics.consumer.lag_seconds.with_label_values(&[&topic.name]).set(seconds);
    }
}

fn records_behind(lane: &Lane, report: &Report) -> i64 {
    // Behind the last record may lie a transaction's marker, which nobody reads.
    if lane.book.at_end && lane.book.waiting_ms().is_none() {
        return 0;
    }
    let Some(bounds) = report.bounds(&lane.topic.name, lane.partition) else { return 0 };
    let end = if bounds.ls_offset >= 0 { bounds.ls_offset } else { bounds.hi_offset };
    (end - lane.book.ledger.base().max(bounds.lo_offset)).max(0)
}
