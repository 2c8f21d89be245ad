//! What an operator may choose about Kafka, and the client properties that follow; what the guarantees rest on is fixed.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use tracing::level_filters::LevelFilter;

use crate::kafka::security::KafkaSecurity;
use crate::sinks::kafka::creation::TopicCreation;
use crate::sinks::kafka::transactions::TransactionOptions;
use crate::sinks::kafka::wire::REPORT_INTERVAL_MS;

/// The largest message by default, in bytes: what a broker with default limits takes (`max.message.bytes` is 1 048 588,
/// of which a batch of one record spends 61), hence every event that the writer library lets pass.
const MESSAGE_BYTES_MAX: usize = 1_048_500;

/// How record batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// LZ4: never the bottleneck, and JSON shrinks to a fraction.
    #[default]
    Lz4,
    /// Not at all.
    None,
}

/// Where and how to publish.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Brokers to ask for the rest of the cluster: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// How the relay shows in the brokers' logs, metrics and quotas.
    pub client_id: String,
    /// The compacted topic of the progress records; created if missing. Relays may share it.
    pub progress_topic: String,
    /// Whether the first progress value reached further than the second; the source knows. By default the later record
    /// does.
    pub progress_is_newer: fn(&[u8], &[u8]) -> bool,
    /// Replicas of the progress topic when it is created; -1 leaves it to the broker.
    pub progress_replication_factor: i32,
    /// Most memory of messages that are accepted and not yet durable, in bytes; a single larger batch passes alone.
    pub queue_bytes_max: usize,
    /// The largest message that is accepted: key, value, headers and framing, in bytes. The topics must allow it too.
    pub message_bytes_max: usize,
    /// How long a message may wait for others to share its request.
    pub linger: Duration,
    /// How record batches are compressed.
    pub compression: Compression,
    /// How long a broker may take to answer a request before the connection is given up and the request repeated.
    pub request_timeout: Duration,
    /// How long opening waits for a broker.
    pub connect_timeout: Duration,
    /// How topics that do not exist come into being.
    pub topics: TopicCreation,
    /// How often the topics in use are looked at again: their limits, and the number of their partitions.
    pub topic_refresh_interval: Duration,
    /// What happens to a message whose commit time a topic does not take.
    pub untimely: Untimely,
    /// Exactly-once delivery, if it is wanted.
    pub transactions: Option<TransactionOptions>,
    /// How brokers are reached safely.
    pub security: KafkaSecurity,
    /// What that is in librdkafka's words, with the secrets as they were when the sink was opened.
    pub(crate) secured: Vec<(String, String)>,
    /// Further librdkafka properties by name. The fixed ones win.
    pub properties: Vec<(String, String)>,
}

/// What happens to a message whose commit time lies outside what its topic takes: a database's clock is wrong, or the message
/// waited longer than the topic's window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Untimely {
    /// It is published with the nearest time that the topic takes; the header `postrider-commit-time` tells its own. Nothing
    /// is wrong with the event itself.
    #[default]
    Clamp,
    /// It is refused.
    Refuse,
}

impl KafkaOptions {
    /// The defaults, for these brokers.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            client_id: "postrider".into(),
            progress_topic: "postrider.progress".into(),
            progress_is_newer: |_, _| true,
            progress_replication_factor: -1,
            queue_bytes_max: 16 << 20,
            message_bytes_max: MESSAGE_BYTES_MAX,
            linger: Duration::ZERO,
            compression: Compression::Lz4,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            topics: TopicCreation::default(),
            topic_refresh_interval: Duration::from_secs(30),
            untimely: Untimely::Clamp,
            transactions: None,
            security: KafkaSecurity::default(),
            secured: Vec::new(),
            properties: Vec::new(),
        }
    }

    /// The producer's properties, with at most `batch_bytes` in a request of more than one record. Names and meanings: [librdkafka's CONFIGURATION.md].
    ///
    /// [librdkafka's CONFIGURATION.md]: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md
    pub(super) fn producer(&self, batch_bytes: u32) -> ClientConfig {
        let mut config = self.client();
        config
            // Order and no repetition within a producer's life: sequence numbers, at most five requests on their way,
            // and acknowledgement by every in-sync replica.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A refused request stops the producer instead of letting its successors overtake it.
            .set("enable.gapless.guarantee", "true")
            // A message never times out: librdkafka would skip it and deliver its successors.
            .set("message.timeout.ms", "0")
            .set("request.timeout.ms", self.request_timeout.as_millis().to_string())
            // Of what has no key: the partition of a key is told with each record.
            .set("partitioner", "murmur2_random")
            .set("compression.codec", self.compression.name())
            // Asked where a topic ends, it shall say where, and not where the first open transaction begins.
            .set("isolation.level", "read_uncommitted")
            .set("statistics.interval.ms", REPORT_INTERVAL_MS)
            .set("linger.ms", (self.linger.as_secs_f64() * 1000.0).to_string())
            .set("batch.size", batch_bytes.to_string())
            .set("message.max.bytes", self.message_bytes_max.to_string())
            // The bound that matters is ours, which counts overhead; this one only catches what it does not know.
            .set("queue.buffering.max.messages", "0")
            .set(
                "queue.buffering.max.kbytes",
                // A record beyond it would wait for room for ever.
                ((2 * self.queue_bytes_max + self.message_bytes_max) / 1024 + 1).min(i32::MAX as usize).to_string(),
            );
        if let Some(transactions) = &self.transactions {
            config
                .set("transactional.id", &transactions.id)
                .set("transaction.timeout.ms", transactions.timeout.as_millis().to_string())
                // A failure aborts the transaction: it leaves no gap.
                .set("enable.gapless.guarantee", "false")
                // librdkafka insists that a request may be tried once within a transaction.
                .set(
                    "socket.timeout.ms",
                    self.request_timeout.min(transactions.timeout).as_millis().clamp(10, 300_000).to_string(),
                );
        }
        config
    }

    /// The properties of the consumer that reads the progress topic once. It joins no group and commits nothing.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // librdkafka assigns partitions only to a client that names a group.
            .set("group.id", &self.progress_topic)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // An offset that is gone must not pass for the end of the topic.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            // The end of the topic is told by an empty answer: it should come at once.
            .set("fetch.wait.max.ms", "5")
            .set("fetch.error.backoff.ms", "20");
        config
    }

    /// The properties of the client that creates the progress topic.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A broker that comes back is noticed within a second, whatever its absence.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "1000");
        // A topic that was just created is asked for again soon.
        config.set("topic.metadata.refresh.fast.interval.ms", "20");
        config.set("retry.backoff.ms", "20");
        config.set("socket.keepalive.enable", "true");
        for (name, value) in self.properties.iter().chain(&self.secured) {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", &self.client_id)
            .set("socket.timeout.ms", self.request_timeout.as_millis().clamp(10, 300_000).to_string())
            // A topic is created by a request to do so, never by asking for it.
            .set("allow.auto.create.topics", "false")
            // Client metrics go to Prometheus, not through the brokers.
            .set("enable.metrics.push", "false")
            .set_log_level(log_level());
        config
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The further properties may hold passwords: only their names are shown.
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("progress_topic", &self.progress_topic)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }
}

/// librdkafka formats only what will be shown, and why brokers hang up.
fn log_level() -> RDKafkaLogLevel {
    if LevelFilter::current() >= LevelFilter::DEBUG { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guarantees_rest_on_cannot_be_overridden() {
        let mut options = KafkaOptions::new("127.0.0.1:9092");
        for (name, value) in [("acks", "1"), ("enable.idempotence", "false"), ("message.timeout.ms", "5")] {
            options.properties.push((name.into(), value.into()));
        }
        let config = options.producer(1_000_000);
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("message.timeout.ms"), Some("0"));
    }

    #[test]
    fn debug_output_shows_no_value_of_a_property() {
        let mut options = KafkaOptions::new("127.0.0.1:9092");
        options.properties.push(("sasl.password".into(), "hunter2".into()));
        let shown = format!("{options:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
