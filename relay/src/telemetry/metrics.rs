//! Every metric, by section: a metric is one line in its section's file, with its field, its name and its help.
//!
//! Cardinality is bounded: labels take values from enumerations of ours only, and from what a worker's configuration names, such
//! as its topics. Topics, keys and tables that come from outside are never labels.

mod breaker;
mod clickhouse;
mod consumer;
mod dead_letters;
mod deduplication;
mod flow;
mod guard;
mod incremental;
mod kafka;
mod lease;
mod outbox;
mod parking;
mod polling;
mod process;
pub mod quantile;
mod redis;
mod section;
mod snapshot;
mod stages;
mod traces;
mod wal;
mod worker;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::telemetry::metrics::section::Set;

pub use breaker::BreakerMetrics;
pub use clickhouse::{CLASS, ClickHouseMetrics, REASON};
pub use consumer::{ConsumerMetrics, TOPIC};
pub use dead_letters::DeadLetterMetrics;
pub use deduplication::DeduplicationMetrics;
pub use flow::{DELIVERY_BUCKETS_SECONDS, END, FlowMetrics, KIND};
pub use guard::GuardMetrics;
pub use incremental::IncrementalMetrics;
pub use kafka::KafkaMetrics;
pub use lease::LeaseMetrics;
pub use outbox::OutboxMetrics;
pub use parking::{OUTCOME, ParkingMetrics, WHY};
pub use polling::PollingMetrics;
pub use process::ProcessMetrics;
pub use redis::{PASS, RESULT, RedisMetrics, STRATEGY};
pub use section::Description;
pub use snapshot::SnapshotMetrics;
pub use stages::{BatchMetrics, STAGE, Stage, StageMetrics};
pub use traces::TraceMetrics;
pub use wal::WalMetrics;
pub use worker::WorkerMetrics;

/// The label that names a relay, where one process has several.
pub const RELAY: &str = "relay";

/// All of them, section by section.
pub const ALL: &[&[Description]] = &[
    FlowMetrics::ALL,
    LeaseMetrics::ALL,
    BreakerMetrics::ALL,
    BatchMetrics::ALL,
    WalMetrics::ALL,
    PollingMetrics::ALL,
    IncrementalMetrics::ALL,
    GuardMetrics::ALL,
    SnapshotMetrics::ALL,
    KafkaMetrics::ALL,
    ConsumerMetrics::ALL,
    ParkingMetrics::ALL,
    DeadLetterMetrics::ALL,
    OutboxMetrics::ALL,
    RedisMetrics::ALL,
    WorkerMetrics::ALL,
    ClickHouseMetrics::ALL,
    DeduplicationMetrics::ALL,
    ProcessMetrics::ALL,
    TraceMetrics::ALL,
];

/// The handles of all metrics, with a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What is the process's, whichever of several relays it is asked of.
    of_process: Registry,
    process: ProcessMetrics,
    /// The oldest commit that was read and is not durable, in microseconds since 1970; 0 if there is none.
    waiting_us: AtomicI64,
    /// The pump and its supervisor.
    pub flow: FlowMetrics,
    /// Whose turn it is.
    pub lease: LeaseMetrics,
    /// The circuit breakers.
    pub breaker: BreakerMetrics,
    /// The stages of a batch.
    pub stages: StageMetrics,
    /// The source that reads a slot.
    pub wal: WalMetrics,
    /// What the slot costs against its budget.
    pub guard: GuardMetrics,
    /// The source that polls a table.
    pub polling: PollingMetrics,
    /// Snapshots beside the stream.
    pub incremental: IncrementalMetrics,
    /// The rows that were there before.
    pub snapshot: SnapshotMetrics,
    /// The Kafka sink.
    pub kafka: KafkaMetrics,
    /// The source that reads Kafka.
    pub consumer: ConsumerMetrics,
    /// What is set aside.
    pub parking: ParkingMetrics,
    /// What workers give up.
    pub dead_letters: DeadLetterMetrics,
    /// What the workers behind Kafka share.
    pub worker: WorkerMetrics,
    /// The loader.
    pub clickhouse: ClickHouseMetrics,
    /// Events that are here already.
    pub deduplication: DeduplicationMetrics,
    /// Care of the outbox table.
    pub outbox: OutboxMetrics,
    /// What is invalidated in Redis.
    pub redis: RedisMetrics,
    /// Spans.
    pub traces: TraceMetrics,
}

impl Metrics {
    /// All metrics at zero, but for those where zero would say something.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::of(Registry::new())
    }

    /// The same, told apart from those of other relays of the process by the label [`RELAY`].
    #[must_use]
    pub fn of_relay(name: &str) -> Arc<Self> {
        let labels = HashMap::from([(RELAY.to_owned(), name.to_owned())]);
        Self::of(Registry::new_custom(None, Some(labels)).expect("without a prefix there is nothing to refuse"))
    }

    fn of(registry: Registry) -> Arc<Self> {
        let of_process = Registry::new();
        let set = Set(&registry);
        let process = ProcessMetrics::new(&Set(&of_process));
        process.begin();
        let wal = WalMetrics::new(&set);
        wal.slot_seconds_to_limit.set(-1);
        Arc::new(Self {
            flow: FlowMetrics::new(&set),
            lease: LeaseMetrics::new(&set),
            breaker: BreakerMetrics::new(&set),
            stages: StageMetrics::new(&set),
            wal,
            guard: GuardMetrics::new(&set),
            polling: PollingMetrics::new(&set),
            incremental: IncrementalMetrics::new(&set),
            snapshot: SnapshotMetrics::new(&set),
            kafka: KafkaMetrics::new(&set),
            consumer: ConsumerMetrics::new(&set),
            parking: ParkingMetrics::new(&set),
            dead_letters: DeadLetterMetrics::new(&set),
            worker: WorkerMetrics::new(&set),
            clickhouse: ClickHouseMetrics::new(&set),
            deduplication: DeduplicationMetrics::new(&set),
            outbox: OutboxMetrics::new(&set),
            redis: RedisMetrics::new(&set),
            traces: TraceMetrics::new(&set),
            process,
            waiting_us: AtomicI64::new(0),
            registry,
            of_process,
        })
    }

    /// Notes when the oldest of what is not durable was committed, in microseconds since 1970; `None` if nothing waits.
    pub fn waiting_since(&self, committed_us: Option<i64>) {
        self.waiting_us.store(committed_us.unwrap_or(0), Ordering::Relaxed);
    }

    /// The age of the oldest commit that was read and is not durable yet; zero if there is none.
    #[must_use]
    pub fn lag(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match u64::try_from(self.waiting_us.load(Ordering::Relaxed)) {
            Ok(since @ 1..) => now.saturating_sub(Duration::from_micros(since)),
            _ => Duration::ZERO,
        }
    }

    /// All metrics in Prometheus' [text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
    #[must_use]
    pub fn encode(&self) -> String {
        Self::encode_all(&[self])
    }

    /// The metrics of several relays of one process as one text: each metric once, with a series for each relay.
    #[must_use]
    pub fn encode_all(all: &[&Self]) -> String {
        let mut families = BTreeMap::<String, MetricFamily>::new();
        if let Some(first) = all.first() {
            first.process.refresh();
            families.extend(first.of_process.gather().into_iter().map(|family| (family.name().to_owned(), family)));
        }
        for metrics in all {
            metrics.flow.lag_seconds.set(metrics.lag().as_secs_f64());
            for mut family in metrics.registry.gather() {
                match families.entry(family.name().to_owned()) {
                    Entry::Vacant(place) => drop(place.insert(family)),
                    Entry::Occupied(mut same) => same.get_mut().mut_metric().extend(family.take_metric()),
                }
            }
        }
        let families: Vec<_> = families.into_values().collect();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("metrics with names checked at registration encode to text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_encoded_with_its_help() {
        let metrics = Metrics::new();
        // A family shows only once one of its members counted.
        metrics.flow.ended.with_label_values(&["source", "gap"]).set(1);
        metrics.wal.unfit_events.with_label_values(&["payload_not_hex"]).inc();
        metrics.incremental.rereads.with_label_values(&["behind"]).inc();
        metrics.incremental.ended.with_label_values(&["done"]).inc();
        metrics.flow.rewinds.with_label_values(&["sink"]).inc();
        metrics.flow.rebuilds.with_label_values(&["source"]).inc();
        metrics.flow.errors.with_label_values(&["sink", "unavailable"]).inc();
        metrics.kafka.admission_refused.with_label_values(&["size"]).inc();
        metrics.kafka.transactions.with_label_values(&["committed"]).inc();
        metrics.breaker.state.with_label_values(&["sink"]).set(2);
        metrics.breaker.opened.with_label_values(&["sink"]).inc();
        metrics.breaker.open_seconds.with_label_values(&["sink"]).inc_by(0.5);
        metrics.breaker.probes.with_label_values(&["sink", "failed"]).inc();
        metrics.consumer.lag_seconds.with_label_values(&["cdc.users"]).set(1.0);
        metrics.consumer.lag_records.with_label_values(&["cdc.users"]).set(1);
        metrics.parking.parked.with_label_values(&["refused"]).inc();
        metrics.redis.counted("keys", "removed", 1);
        metrics.redis.second_pass_hits.with_label_values(&["keys"]).inc();
        metrics.redis.stale_detected.with_label_values(&["1m"]).inc();
        metrics.redis.pass_seconds.with_label_values(&["first"]).observe(0.0);
        metrics.parking.retried.with_label_values(&["delivered"]).inc();
        metrics.dead_letters.condemned.with_label_values(&["type"]).inc();
        metrics.dead_letters.replayed.with_label_values(&["delivered"]).inc();
        metrics.worker.processing_errors.with_label_values(&["away"]).inc();
        metrics.clickhouse.errors.with_label_values(&["away"]).inc();
        metrics.clickhouse.query_errors.with_label_values(&["away"]).inc();
        metrics.clickhouse.refused.with_label_values(&["misfit"]).inc();
        let text = metrics.encode();
        for description in ALL.iter().flat_map(|section| *section) {
            let help = format!("# HELP {} {}", description.name, description.help);
            assert!(text.contains(&help), "{help:?} is missing in:\n{text}");
        }
        assert!(text.contains("postrider_errors_total{end=\"sink\",kind=\"unavailable\"} 1"), "{text}");
    }

    #[test]
    fn of_several_relays_each_metric_is_told_once_with_a_series_for_each() {
        let (eu, us) = (Metrics::of_relay("eu"), Metrics::of_relay("us"));
        us.flow.up.set(1);
        us.flow.ended.with_label_values(&["source", "gap"]).set(1);
        let text = Metrics::encode_all(&[&eu, &us]);
        for line in [
            "# HELP postrider_up ",
            "postrider_up{relay=\"eu\"} 0\n",
            "postrider_up{relay=\"us\"} 1\n",
            "postrider_ended_by_error{end=\"source\",kind=\"gap\",relay=\"us\"} 1\n",
            "\npostrider_process_resident_memory_bytes ",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line:?} in\n{text}");
        }
    }

    #[test]
    fn counters_end_in_total_and_nothing_else_does() {
        let metrics = Metrics::new();
        for family in metrics.registry.gather().into_iter().chain(metrics.of_process.gather()) {
            let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(is_counter, family.name().ends_with("_total"), "{}", family.name());
        }
    }
}
