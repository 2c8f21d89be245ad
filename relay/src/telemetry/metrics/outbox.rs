//! Metrics of the care of the outbox table.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// The partitions that the relay looks after, with `partitions.manage`.
    OutboxMetrics {
        partition_failures: IntCounter = counter("postrider_outbox_partition_failures_total", "Acts or looks of the care of partitions that failed; each is tried again.");
        partitions_waiting: IntGauge = level("postrider_outbox_partitions_waiting", "Partitions whose retention has passed and that cannot leave yet; the log says why.");
    }
}
