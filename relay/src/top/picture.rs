//! The figures of a moment: rates and durations between two samples, levels of the newer one.

use std::time::Duration;

use crate::telemetry::metrics::Stage;
use crate::telemetry::metrics::quantile::quantile;
use crate::top::report::Report;
use crate::top::sample::Sample;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    /// Over how long the rates are taken.
    pub(super) over: Duration,
    pub(super) report: Report,
    pub(super) events_per_s: f64,
    pub(super) delivered_per_s: f64,
    pub(super) in_bytes_per_s: f64,
    pub(super) out_bytes_per_s: f64,
    pub(super) resident_bytes: f64,
    pub(super) cpu_share: f64,
    /// From the commit to durable, and then each stage: name, batches a second, and two quantiles in milliseconds.
    pub(super) stages: Vec<StageFigures>,
    pub(super) troubles: Vec<(&'static str, f64)>,
}

/// A line of the table of stages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StageFigures {
    pub(super) name: &'static str,
    pub(super) per_s: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Counters that stay at zero on a good day, and what they are called here.
const TROUBLES: &[(&str, &str)] = &[
    ("errors", "postrider_errors_total"),
    ("rewinds", "postrider_rewinds_total"),
    ("refused", "postrider_kafka_refused_total"),
    ("connection errors", "postrider_kafka_connection_errors_total"),
];

/// Levels that a relay has if it parks events.
const PARKED: &[(&str, &str)] = &[("parked events", "postrider_parked_events"), ("held keys", "postrider_held_keys")];

impl Picture {
    /// What happened between two samples that lie `over` apart.
    pub(super) fn new(report: Report, before: &Sample, now: &Sample, over: Duration) -> Self {
        let seconds = over.as_secs_f64().max(1e-3);
        // A relay that was started anew counts from zero again.
        let rate = |name: &str| (now.sum(name) - before.sum(name)).max(0.0) / seconds;
        let delivery = figures("commit to durable", &now.buckets(before, "postrider_delivery_seconds", ""), seconds);
        let stages = Stage::ALL.map(|stage| {
            let label = format!("stage=\"{}\"", stage.name());
            figures(stage.name(), &now.buckets(before, "postrider_stage_seconds", &label), seconds)
        });
        Self {
            over,
            report,
            events_per_s: rate("postrider_source_messages_total"),
            delivered_per_s: rate("postrider_delivered_messages_total"),
            in_bytes_per_s: rate("postrider_received_bytes_total"),
            out_bytes_per_s: rate("postrider_delivered_bytes_total"),
            resident_bytes: now.sum("postrider_process_resident_memory_bytes"),
            cpu_share: rate("postrider_process_cpu_seconds_total"),
            stages: std::iter::once(delivery).chain(stages).collect(),
            troubles: TROUBLES
                .iter()
                .map(|(name, metric)| (*name, now.sum(metric)))
                .chain(PARKED.iter().filter_map(|(name, metric)| Some((*name, now.get(metric)?))))
                .collect(),
        }
    }
}

fn figures(name: &'static str, buckets: &[(f64, f64)], seconds: f64) -> StageFigures {
    let count = buckets.last().map_or(0.0, |(_, count)| count.max(0.0));
    let ms = |share| quantile(buckets, share).map(|seconds| seconds * 1000.0);
    StageFigures { name, per_s: count / seconds, p50_ms: ms(0.5), p99_ms: ms(0.99) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::top::report::tests::ANSWER;

    /// Two seconds of a relay at work.
    pub(crate) fn picture() -> Picture {
        let before = Sample::parse("postrider_source_messages_total 100\npostrider_delivered_messages_total 100\n");
        let now = "postrider_source_messages_total 2100\npostrider_delivered_messages_total 2080\n\
            postrider_errors_total{end=\"sink\",kind=\"unavailable\"} 3\n\
            postrider_stage_seconds_bucket{stage=\"read\",le=\"0.001\"} 10\n\
            postrider_stage_seconds_bucket{stage=\"read\",le=\"+Inf\"} 10\n";
        let report = Report::parse(ANSWER).unwrap();
        Picture::new(report, &before, &Sample::parse(now), Duration::from_secs(2))
    }

    #[test]
    fn rates_are_what_was_counted_between_two_samples() {
        let picture = picture();
        assert_eq!((picture.events_per_s, picture.delivered_per_s), (1000.0, 990.0));
        let read = &picture.stages[1];
        assert_eq!((read.name, read.per_s, read.p50_ms), ("read", 5.0, Some(0.5)));
        assert_eq!(picture.stages[0].p50_ms, None, "nothing was delivered");
        assert_eq!(picture.troubles[0], ("errors", 3.0));
    }

    #[test]
    fn a_relay_that_started_anew_has_no_negative_rate() {
        let report = Report::parse(ANSWER).unwrap();
        let before = Sample::parse("postrider_source_messages_total 100\n");
        let now = Sample::parse("postrider_source_messages_total 5\n");
        assert_eq!(Picture::new(report, &before, &now, Duration::from_secs(1)).events_per_s, 0.0);
    }
}
