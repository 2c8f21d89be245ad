//! Every metric: its name, its labels and its help, and the handle that counts it.
//!
//! Cardinality is bounded: labels take values from enumerations of ours only. Topics, keys and tables come from outside
//! and are never labels.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::telemetry::process;

/// The name and the help of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Its name with its unit last.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
}

/// The label that names an end: `source` or `sink`.
pub const END: &str = "end";
/// The label that names a kind of error, in lower case.
pub const KIND: &str = "kind";

/// Upper bounds of the buckets of [`DELIVERY_SECONDS`]: from a good broker on the same host to an outage.
pub const DELIVERY_BUCKETS_SECONDS: [f64; 15] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];

macro_rules! descriptions {
    ($($constant:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Description = Description { name: $name, help: $help };)*

        /// All of them, in the order in which they are registered.
        pub const ALL: &[Description] = &[$($constant),*];
    };
}

descriptions! {
    UP = "postrider_up", "1 while events flow, 0 while an end is opening, failing or gone.";
    SOURCE_BATCHES = "postrider_source_batches_total", "Batches read from the source, idle advances included.";
    SOURCE_MESSAGES = "postrider_source_messages_total", "Messages read from the source, repeated ones included.";
    SOURCE_BYTES = "postrider_source_bytes_total", "Bytes of keys and values read from the source.";
    DELIVERED_MESSAGES = "postrider_delivered_messages_total", "Messages that the sink reported durable.";
    DELIVERED_BYTES = "postrider_delivered_bytes_total", "Bytes of keys and values that the sink reported durable.";
    IN_FLIGHT_BATCHES = "postrider_in_flight_batches", "Batches read and not yet durable.";
    IN_FLIGHT_BYTES = "postrider_in_flight_bytes", "Memory of the batches read and not yet durable.";
    DELIVERY_SECONDS = "postrider_delivery_seconds", "From the commit of a batch's oldest message until the batch was durable.";
    PROGRESS_RECORDS = "postrider_progress_records_total", "Progress notes that became durable.";
    ACKNOWLEDGEMENTS = "postrider_acknowledgements_total", "Positions that the source was told to forget.";
    REWINDS = "postrider_rewinds_total", "Returns to the last acknowledged position, by the end that failed.";
    REBUILDS = "postrider_rebuilds_total", "Ends opened anew after an error.";
    ERRORS = "postrider_errors_total", "Errors that stopped the flow, by end and kind.";
    HEADER_ERRORS = "postrider_header_errors_total", "Events whose headers were not a JSON object.";
    IGNORED_RELATIONS = "postrider_ignored_relations_total", "Row changes of tables that are not the outbox.";
    SLOT_CONFIRMED_LSN = "postrider_slot_confirmed_lsn", "The position confirmed to the slot, as a number of bytes of WAL.";
    SLOT_RETAINED_BYTES = "postrider_slot_retained_bytes", "WAL that the server keeps because of the slot.";
    SLOT_LAG_BYTES = "postrider_slot_lag_bytes", "WAL written after the position confirmed to the slot.";
    KAFKA_QUEUE_BYTES = "postrider_kafka_queue_bytes", "Estimated memory of the messages that Kafka has not acknowledged.";
    KAFKA_QUEUE_WAITS = "postrider_kafka_queue_waits_total", "Batches that waited for room in the producer's queue.";
    KAFKA_REFUSED = "postrider_kafka_refused_total", "Messages that the brokers refused.";
    KAFKA_DELIVERY_ERRORS = "postrider_kafka_delivery_errors_total", "Messages that were not delivered for other reasons, purged ones included.";
    KAFKA_CONNECTION_ERRORS = "postrider_kafka_connection_errors_total", "Failed or lost connections to brokers.";
    KAFKA_REACHABLE = "postrider_kafka_reachable", "0 from the moment when no broker can be reached until one acknowledges again.";
    PROCESS_RESIDENT_BYTES = "postrider_process_resident_memory_bytes", "Resident memory of the process.";
    PROCESS_RESIDENT_PEAK_BYTES = "postrider_process_resident_memory_peak_bytes", "Most memory that was resident at once.";
    PROCESS_CPU_SECONDS = "postrider_process_cpu_seconds_total", "Processor time that the process spent.";
}

/// The handles of all metrics, with a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process_resident_bytes: Gauge,
    process_resident_peak_bytes: Gauge,
    process_cpu_seconds: Counter,
    /// [`UP`]
    pub up: IntGauge,
    /// [`SOURCE_BATCHES`]
    pub source_batches: IntCounter,
    /// [`SOURCE_MESSAGES`]
    pub source_messages: IntCounter,
    /// [`SOURCE_BYTES`]
    pub source_bytes: IntCounter,
    /// [`DELIVERED_MESSAGES`]
    pub delivered_messages: IntCounter,
    /// [`DELIVERED_BYTES`]
    pub delivered_bytes: IntCounter,
    /// [`IN_FLIGHT_BATCHES`]
    pub in_flight_batches: IntGauge,
    /// [`IN_FLIGHT_BYTES`]
    pub in_flight_bytes: IntGauge,
    /// [`DELIVERY_SECONDS`]
    pub delivery_seconds: Histogram,
    /// [`PROGRESS_RECORDS`]
    pub progress_records: IntCounter,
    /// [`ACKNOWLEDGEMENTS`]
    pub acknowledgements: IntCounter,
    /// [`REWINDS`]; label [`END`]
    pub rewinds: IntCounterVec,
    /// [`REBUILDS`]; label [`END`]
    pub rebuilds: IntCounterVec,
    /// [`ERRORS`]; labels [`END`] and [`KIND`]
    pub errors: IntCounterVec,
    /// [`HEADER_ERRORS`]
    pub header_errors: IntCounter,
    /// [`IGNORED_RELATIONS`]
    pub ignored_relations: IntCounter,
    /// [`SLOT_CONFIRMED_LSN`]
    pub slot_confirmed_lsn: IntGauge,
    /// [`SLOT_RETAINED_BYTES`]
    pub slot_retained_bytes: IntGauge,
    /// [`SLOT_LAG_BYTES`]
    pub slot_lag_bytes: IntGauge,
    /// [`KAFKA_QUEUE_BYTES`]
    pub kafka_queue_bytes: IntGauge,
    /// [`KAFKA_QUEUE_WAITS`]
    pub kafka_queue_waits: IntCounter,
    /// [`KAFKA_REFUSED`]
    pub kafka_refused: IntCounter,
    /// [`KAFKA_DELIVERY_ERRORS`]
    pub kafka_delivery_errors: IntCounter,
    /// [`KAFKA_CONNECTION_ERRORS`]
    pub kafka_connection_errors: IntCounter,
    /// [`KAFKA_REACHABLE`]
    pub kafka_reachable: IntGauge,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let set = Set(&registry);
        Arc::new(Self {
            process_resident_bytes: set.gauge(PROCESS_RESIDENT_BYTES),
            process_resident_peak_bytes: set.gauge(PROCESS_RESIDENT_PEAK_BYTES),
            process_cpu_seconds: set.seconds(PROCESS_CPU_SECONDS),
            up: set.level(UP),
            source_batches: set.counter(SOURCE_BATCHES),
            source_messages: set.counter(SOURCE_MESSAGES),
            source_bytes: set.counter(SOURCE_BYTES),
            delivered_messages: set.counter(DELIVERED_MESSAGES),
            delivered_bytes: set.counter(DELIVERED_BYTES),
            in_flight_batches: set.level(IN_FLIGHT_BATCHES),
            in_flight_bytes: set.level(IN_FLIGHT_BYTES),
            delivery_seconds: set.histogram(DELIVERY_SECONDS, &DELIVERY_BUCKETS_SECONDS),
            progress_records: set.counter(PROGRESS_RECORDS),
            acknowledgements: set.counter(ACKNOWLEDGEMENTS),
            rewinds: set.family(REWINDS, &[END]),
            rebuilds: set.family(REBUILDS, &[END]),
            errors: set.family(ERRORS, &[END, KIND]),
            header_errors: set.counter(HEADER_ERRORS),
            ignored_relations: set.counter(IGNORED_RELATIONS),
            slot_confirmed_lsn: set.level(SLOT_CONFIRMED_LSN),
            slot_retained_bytes: set.level(SLOT_RETAINED_BYTES),
            slot_lag_bytes: set.level(SLOT_LAG_BYTES),
            kafka_queue_bytes: set.level(KAFKA_QUEUE_BYTES),
            kafka_queue_waits: set.counter(KAFKA_QUEUE_WAITS),
            kafka_refused: set.counter(KAFKA_REFUSED),
            kafka_delivery_errors: set.counter(KAFKA_DELIVERY_ERRORS),
            kafka_connection_errors: set.counter(KAFKA_CONNECTION_ERRORS),
            kafka_reachable: set.level(KAFKA_REACHABLE),
            registry,
        })
    }

    /// All metrics in Prometheus' [text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
    #[must_use]
    pub fn encode(&self) -> String {
        if let Some(usage) = process::usage() {
            self.process_resident_bytes.set(usage.resident_bytes as f64);
            self.process_resident_peak_bytes.set(usage.resident_peak_bytes as f64);
            // Two readers at once may both add; the difference is one scrape's worth and never negative.
            let spent = usage.processor.as_secs_f64() - self.process_cpu_seconds.get();
            self.process_cpu_seconds.inc_by(spent.max(0.0));
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("metrics with names checked at registration encode to text")
    }
}

/// Makes metrics and registers them.
struct Set<'a>(&'a Registry);

impl Set<'_> {
    fn counter(&self, of: Description) -> IntCounter {
        self.register(IntCounter::new(of.name, of.help))
    }

    fn level(&self, of: Description) -> IntGauge {
        self.register(IntGauge::new(of.name, of.help))
    }

    fn gauge(&self, of: Description) -> Gauge {
        self.register(Gauge::new(of.name, of.help))
    }

    fn seconds(&self, of: Description) -> Counter {
        self.register(Counter::new(of.name, of.help))
    }

    fn family(&self, of: Description, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(of.name, of.help), labels))
    }

    fn histogram(&self, of: Description, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(of.name, of.help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("names and labels are constants that a test checks");
        self.0.register(Box::new(metric.clone())).expect("each metric is registered once; a test checks it");
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_encoded_with_its_help() {
        let metrics = Metrics::new();
        // A family shows only once one of its members counted.
        metrics.rewinds.with_label_values(&["sink"]).inc();
        metrics.rebuilds.with_label_values(&["source"]).inc();
        metrics.errors.with_label_values(&["sink", "unavailable"]).inc();
        let text = metrics.encode();
        for description in ALL {
            let help = format!("# HELP {} {}", description.name, description.help);
            assert!(text.contains(&help), "{help:?} is missing in:\n{text}");
        }
        assert!(text.contains("postrider_errors_total{end=\"sink\",kind=\"unavailable\"} 1"), "{text}");
    }

    #[test]
    fn counters_end_in_total_and_nothing_else_does() {
        let metrics = Metrics::new();
        for family in metrics.registry.gather() {
            let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(is_counter, family.name().ends_with("_total"), "{}", family.name());
        }
    }
}
