//! Metrics that the workers behind Kafka share, whatever they write to.

use prometheus::{Histogram, IntCounterVec};

use crate::telemetry::metrics::clickhouse::CLASS;
use crate::telemetry::metrics::section::section;

/// Upper bounds of the buckets of a batch's processing, in seconds: from a pipeline to Redis to an outage.
const PROCESSING_BUCKETS_SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

section! {
    /// What a worker does with batches.
    WorkerMetrics {
        processing_seconds: Histogram = histogram("event_processing_duration_seconds", "From the moment when a worker's sink was handed a batch until the batch was durable.", &PROCESSING_BUCKETS_SECONDS);
        processing_errors: IntCounterVec = family("event_processing_errors_total", "Batches of a worker that failed, by what the error means.", &[CLASS]);
    }
}
