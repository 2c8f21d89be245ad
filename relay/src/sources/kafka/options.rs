//! What an operator may choose about reading from Kafka, and the client properties that follow; what the guarantees rest on is
//! fixed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use tracing::level_filters::LevelFilter;

use crate::kafka::KafkaSecurity;
use crate::pipeline::{Assigned, Error, Gathered};
use crate::sources::kafka::note::fingerprint;

/// The most that is fetched ahead of a partition, in bytes.
const AHEAD_BYTES_MAX: usize = 8 << 20;

/// The least that is fetched ahead of a partition, in bytes.
const AHEAD_BYTES_MIN: usize = 64 << 10;

/// The most of one partition that a request asks for, in bytes: librdkafka's default. A larger record comes all the same.
const FETCH_BYTES: usize = 1 << 20;

/// Where, what and how to read.
#[derive(Clone)]
pub struct KafkaSourceOptions {
    /// Brokers to ask for the rest of the cluster: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// How the worker shows in the brokers' logs, metrics and quotas.
    pub client_id: String,
    /// The consumer group. Its members share the partitions, and its committed offsets say what was delivered.
    pub group: String,
    /// A name of this member that survives its restart: the group then waits for it, at most the session timeout, before its
    /// partitions go to others.
    pub instance_id: Option<String>,
    /// What to read.
    pub topics: Vec<Topic>,
    /// Where a partition begins that the group never committed.
    pub start: Start,
    /// What is done about a topic that is not there.
    pub missing: Missing,
    /// Who says which member reads what.
    pub protocol: Protocol,
    /// How long the group waits for a member that went silent.
    pub session_timeout: Duration,
    /// How long opening waits for a broker.
    pub connect_timeout: Duration,
    /// How long a broker may take to answer a request.
    pub request_timeout: Duration,
    /// How batches are cut, unless their topic says otherwise.
    pub cuts: Cuts,
    /// Whether a batch comes again exactly as it was cut, after whatever happens. Its cut is durable before it leaves, and a
    /// partition has one unacknowledged batch at most.
    pub repeatable: bool,
    /// Most memory of what was read and not handed over, in bytes. Fetched ahead comes as much again.
    pub queue_bytes_max: usize,
    /// Whether to go on where records are missing that were never read: once for each partition, when it is first read from.
    pub accept_gap: bool,
    /// Kept in step with the partitions that this member holds.
    pub assigned: Assigned,
    /// What the sink holds of batches that were handed over in part: counted as read and not handed over.
    pub gathered: Gathered,
    /// How brokers are reached safely.
    pub security: KafkaSecurity,
    /// Further librdkafka properties by name. The fixed ones win.
    pub properties: Vec<(String, String)>,
}

/// A topic to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// The number of the route that its records take.
    pub route: u16,
    /// How its batches are cut that are handed over in parts, as they are read, where cuts are repeatable.
    pub in_parts: Option<Cuts>,
}

/// Where a partition begins that the group never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest record that is there.
    #[default]
    Earliest,
    /// With what is written from now on.
    Latest,
}

/// What is done about a topic that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// The others are read, and it too when it appears: topics come into being with their first event.
    #[default]
    Wait,
    /// Nothing is read.
    Refuse,
}

/// Who says which member reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// A member of the group; what need not move stays where it is (`cooperative-sticky`).
    #[default]
    Classic,
    /// The broker ([KIP-848], brokers from 4.0 on).
    ///
    /// [KIP-848]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-848%3A+The+Next+Generation+of+the+Consumer+Rebalance+Protocol
    Consumer,
}

/// When a batch is complete: whichever of these comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// So many records.
    pub records_max: usize,
    /// So many bytes of memory; a record beyond it is the last of its batch.
    pub bytes_max: usize,
    /// So long after its first record was read. Zero: as soon as somebody takes it.
    pub age_max: Duration,
}

impl KafkaSourceOptions {
    /// The defaults, for these brokers and this group; no topic yet.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            client_id: "postrider".into(),
            group: group.into(),
            instance_id: None,
            topics: Vec::new(),
            start: Start::Earliest,
            missing: Missing::Wait,
            protocol: Protocol::Classic,
            session_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            cuts: Cuts { records_max: 100_000, bytes_max: 32 << 20, age_max: Duration::ZERO },
            repeatable: false,
            queue_bytes_max: 64 << 20,
            accept_gap: false,
            assigned: Assigned::default(),
            gathered: Gathered::default(),
            security: KafkaSecurity::default(),
            properties: Vec::new(),
        }
    }

    /// The properties of the client that looks whether the topics are there. It is in no group, whose properties must be in
    /// accord with each other all the same.
    ///
    /// # Errors
    /// If a secret cannot be read.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        let mut config = self.connection()?;
        config.set("max.poll.interval.ms", "300000");
        Ok(config)
    }

    fn connection(&self) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::new();
        // A broker that comes back is noticed within a second, whatever its absence.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "1000");
        config.set("retry.backoff.ms", "20");
        config.set("socket.keepalive.enable", "true");
        // A topic that appears is read within some seconds.
        config.set("topic.metadata.refresh.interval.ms", "3000");
        config.set("check.crcs", "true");
        // While a partition's queue is full only the others of its broker are asked for, and a question that nobody can answer yet
        // keeps the next one waiting: with the default of half a second a single full partition would stutter.
        config.set("fetch.wait.max.ms", "50");
        for (name, value) in self.properties.iter().chain(&self.security.properties()?) {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", &self.client_id)
            .set("socket.timeout.ms", self.request_timeout.as_millis().clamp(10, 300_000).to_string())
            .set("allow.auto.create.topics", "false")
            .set("enable.metrics.push", "false")
            .set_log_level(log_level());
        Ok(config)
    }

    /// The consumer's properties, where the topics have so many partitions each. Names and meanings: [librdkafka's CONFIGURATION.md].
    ///
    /// [librdkafka's CONFIGURATION.md]: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md
    ///
    /// # Errors
    /// If a secret cannot be read.
    pub(super) fn consumer(&self, topics: &BTreeMap<Arc<str>, usize>) -> Result<ClientConfig, Error> {
        let mut config = self.connection()?;
        // With a queue of its own for each partition, the limit holds for each.
        let partitions: usize = topics.values().sum();
        let ahead = (self.queue_bytes_max / partitions.max(1)).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
        config
            .set("group.id", &self.group)
            // What was delivered is known here, and committed with its note.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // An offset that is gone must not pass for another one.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", (ahead / 1024).to_string())
            .set("queued.min.messages", "10000000")
            .set("fetch.message.max.bytes", ahead.min(FETCH_BYTES).to_string())
            // With the default of a second a reader that keeps up would stutter.
            .set("fetch.queue.backoff.ms", "2")
            .set("statistics.interval.ms", "1000");
        match self.protocol {
            Protocol::Classic => {
                config
                    .set("group.protocol", "classic")
                    .set("partition.assignment.strategy", "cooperative-sticky")
                    .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
                    .set("heartbeat.interval.ms", (self.session_timeout.as_millis() / 10).clamp(100, 3000).to_string());
            }
            Protocol::Consumer => {
                config.set("group.protocol", "consumer");
            }
        }
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", format!("{instance}-{:08x}", member_of(topics)));
        }
        Ok(config)
    }
}

impl fmt::Debug for KafkaSourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The further properties may hold passwords: only their names are shown.
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaSourceOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("cuts", &self.cuts)
            .field("repeatable", &self.repeatable)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

/// A number for what a member of a lasting name reads. The broker gives such a member, started again, the partitions that it
/// had ([KIP-345]): with other topics, or more partitions of them, it must be another member, or the new ones were never read.
///
/// [KIP-345]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-345%3A+Introduce+static+membership+protocol+to+reduce+consumer+rebalances
fn member_of(topics: &BTreeMap<Arc<str>, usize>) -> u32 {
    let text: String = topics.iter().map(|(topic, partitions)| format!("{topic}:{partitions},")).collect();
    fingerprint(0, None, Some(text.as_bytes())) as u32
}

/// librdkafka formats only what will be shown, and why brokers hang up.
fn log_level() -> RDKafkaLogLevel {
    if LevelFilter::current() >= LevelFilter::DEBUG { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(partitions: usize) -> BTreeMap<Arc<str>, usize> {
        BTreeMap::from([(Arc::from("t"), partitions)])
    }

    #[test]
    fn a_lasting_name_is_of_a_member_that_reads_the_same() {
        let mut options = KafkaSourceOptions::new("127.0.0.1:9092", "g");
        let name = |options: &KafkaSourceOptions, partitions| {
            options.consumer(&topics(partitions)).expect("no secret").get("group.instance.id").map(str::to_owned)
        };
        assert_eq!(name(&options, 3), None);
        options.instance_id = Some("load-0".into());
        assert!(name(&options, 3).is_some_and(|name| name.starts_with("load-0-")));
        assert_eq!(name(&options, 3), name(&options, 3));
        assert_ne!(name(&options, 3), name(&options, 4));
    }

    #[test]
    fn what_the_guarantees_rest_on_cannot_be_overridden() {
        let mut options = KafkaSourceOptions::new("127.0.0.1:9092", "g");
        for (name, value) in [
            ("enable.auto.commit", "true"),
            ("isolation.level", "read_uncommitted"),
            ("auto.offset.reset", "latest"),
            ("group.id", "other"),
        ] {
            options.properties.push((name.into(), value.into()));
        }
        let config = options.consumer(&topics(1)).expect("no secret");
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.get("group.id"), Some("g"));
    }

    #[test]
    fn what_is_fetched_ahead_of_all_partitions_is_bounded_together() {
        let options = KafkaSourceOptions::new("127.0.0.1:9092", "g");
        let ahead = |partitions| {
            options
                .consumer(&topics(partitions))
                .expect("no secret")
                .get("queued.max.messages.kbytes")
                .map(str::to_owned)
        };
        assert_eq!(ahead(0).as_deref(), Some("8192"));
        assert_eq!(ahead(32).as_deref(), Some("2048"));
        assert_eq!(ahead(100_000).as_deref(), Some("64"));
    }

    #[test]
    fn debug_output_shows_no_value_of_a_property() {
        let mut options = KafkaSourceOptions::new("127.0.0.1:9092", "g");
        options.properties.push(("sasl.password".into(), "hunter2".into()));
        let shown = format!("{options:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
