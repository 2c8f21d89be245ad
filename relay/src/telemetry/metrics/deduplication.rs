//! Metrics of idempotency keys: events that a worker leaves out because they are there already.

use prometheus::IntCounter;

use crate::telemetry::metrics::section::section;

section! {
    /// What is left out, and what could not be looked up.
    DeduplicationMetrics {
        hits: IntCounter = counter("event_deduplication_hits_total", "Events that were left out, because another record with the same id and time is durable already.");
        unasked: IntCounter = counter("postrider_deduplication_unasked_total", "Idempotency keys that were neither looked up nor marked, because Redis did not answer: their events were passed on.");
    }
}
