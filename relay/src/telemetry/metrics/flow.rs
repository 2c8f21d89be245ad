//! Metrics of the pump and its supervisor: what goes through, and what stopped it.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::metrics::section::section;

/// The label that names an end: `source` or `sink`.
pub const END: &str = "end";
/// The label that names a kind of error, in lower case.
pub const KIND: &str = "kind";

/// Upper bounds of the buckets of a delivery's duration, in seconds: from a good broker on the same host to an outage.
pub const DELIVERY_BUCKETS_SECONDS: [f64; 17] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];

section! {
    /// The flow from the source to the sink.
    FlowMetrics {
        up: IntGauge = level("postrider_up", "1 while events flow, 0 while an end is opening, failing or gone.");
        stalled: IntGauge = level("postrider_stalled", "1 while something is in flight and nothing becomes durable for ten seconds and more.");
        source_batches: IntCounter = counter("postrider_source_batches_total", "Batches read from the source, idle advances included.");
        source_messages: IntCounter = counter("postrider_source_messages_total", "Messages read from the source, repeated ones included.");
        source_bytes: IntCounter = counter("postrider_source_bytes_total", "Bytes of keys and values read from the source.");
        delivered_messages: IntCounter = counter("postrider_delivered_messages_total", "Messages that the sink reported durable.");
        delivered_bytes: IntCounter = counter("postrider_delivered_bytes_total", "Bytes of keys and values that the sink reported durable.");
        in_flight_batches: IntGauge = level("postrider_in_flight_batches", "Batches read and not yet durable.");
        in_flight_bytes: IntGauge = level("postrider_in_flight_bytes", "Memory of the batches read and not yet durable.");
        held_back: IntGauge = level("postrider_held_back", "1 while the bound of the whole process, process.in_flight_bytes_max, keeps the relay from reading on.");
        delivery_seconds: Histogram = histogram("postrider_delivery_seconds", "From the commit of a batch's oldest message until the batch was durable.", &DELIVERY_BUCKETS_SECONDS);
        lag_seconds: Gauge = gauge("postrider_lag_seconds", "Age of the oldest commit that was read and is not durable yet; 0 if there is none.");
        progress_records: IntCounter = counter("postrider_progress_records_total", "Progress notes that became durable.");
        acknowledgements: IntCounter = counter("postrider_acknowledgements_total", "Positions that the source was told to forget.");
        rewinds: IntCounterVec = family("postrider_rewinds_total", "Returns to the last acknowledged position, by the end that failed.", &[END]);
        rebuilds: IntCounterVec = family("postrider_rebuilds_total", "Ends opened anew after an error.", &[END]);
        ended: IntGaugeVec = levels("postrider_ended_by_error", "1 once a relay, of several in the process, has ended by an error of this end and kind: it stays stopped until the process is started anew.", &[END, KIND]);
        errors: IntCounterVec = family("postrider_errors_total", "Errors that stopped the flow, by end and kind.", &[END, KIND]);
    }
}
