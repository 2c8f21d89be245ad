//! Metrics of the Kafka sink.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// The producer and its connections.
    KafkaMetrics {
        queue_bytes: IntGauge = level("postrider_kafka_queue_bytes", "Estimated memory of the messages that Kafka has not acknowledged.");
        queue_waits: IntCounter = counter("postrider_kafka_queue_waits_total", "Batches that waited for room in the producer's queue.");
        refused: IntCounter = counter("postrider_kafka_refused_total", "Messages that the brokers refused.");
        delivery_errors: IntCounter = counter("postrider_kafka_delivery_errors_total", "Messages that were not delivered for other reasons, purged ones included.");
        connection_errors: IntCounter = counter("postrider_kafka_connection_errors_total", "Failed or lost connections to brokers.");
        reachable: IntGauge = level("postrider_kafka_reachable", "0 from the moment when no broker can be reached until one acknowledges again.");
    }
}
