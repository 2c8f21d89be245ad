//! Metrics of the Kafka sink.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::section::section;

/// The label that says why an event was refused before it was sent: `name`, `missing`, `denied`, `too_many`, `size`, `header`,
/// `key`, `time`, or `broker` for one that a broker had refused when it was sent before.
pub(super) const REASON: &str = "reason";

/// The label that says how a transaction ended: `committed` or `aborted`.
const OUTCOME: &str = "outcome";

/// From a commit on a quiet cluster to one that waits for brokers to come back.
const TRANSACTION_BUCKETS_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0];

section! {
    /// The producer and its connections.
    KafkaMetrics {
        queue_bytes: IntGauge = level("postrider_kafka_queue_bytes", "Estimated memory of the messages that Kafka has not acknowledged.");
        queue_waits: IntCounter = counter("postrider_kafka_queue_waits_total", "Batches that waited for room in the producer's queue.");
        refused: IntCounter = counter("postrider_kafka_refused_total", "Messages that the brokers refused.");
        delivery_errors: IntCounter = counter("postrider_kafka_delivery_errors_total", "Messages that were not delivered for other reasons, purged ones included.");
        connection_errors: IntCounter = counter("postrider_kafka_connection_errors_total", "Failed or lost connections to brokers.");
        reachable: IntGauge = level("postrider_kafka_reachable", "0 from the moment when no broker can be reached until one acknowledges again.");
        sent_bytes: IntCounter = counter("postrider_kafka_sent_bytes_total", "Bytes sent to the brokers, compressed and with all overheads; taken over every five seconds.");
        connects: IntCounter = counter("postrider_kafka_connects_total", "Connections that were opened to brokers.");
        retries: IntCounter = counter("postrider_kafka_retries_total", "Requests that were sent to a broker again.");
        round_trip_seconds: Gauge = gauge("postrider_kafka_round_trip_seconds", "Mean time that the slowest broker took to answer a request, over five seconds.");
        admission_refused: IntCounterVec = family("postrider_kafka_admission_refused_total", "Messages refused before they were sent, by reason; each attempt counts.", &[REASON]);
        topics: IntGauge = level("postrider_kafka_topics", "Topics in use.");
        topics_created: IntCounter = counter("postrider_kafka_topics_created_total", "Topics that the relay created.");
        partition_changes: IntCounter = counter("postrider_kafka_partition_changes_total", "Changes of a topic's number of partitions that were taken over.");
        transactions: IntCounterVec = family("postrider_kafka_transactions_total", "Transactions that were ended, by outcome; only with exactly-once delivery.", &[OUTCOME]);
        transaction_seconds: Histogram = histogram("postrider_kafka_transaction_seconds", "How long ending a transaction took: its last deliveries and the brokers' answer.", &TRANSACTION_BUCKETS_SECONDS);
        clamped: IntCounter = counter("postrider_kafka_clamped_times_total", "Messages published with another time than their commit's, which the topic does not take.");
    }
}
