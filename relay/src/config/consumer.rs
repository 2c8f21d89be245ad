//! `[consumer]`: how the workers read Kafka; what the guarantees rest on cannot be set. Where the brokers are says `[kafka]`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{
    kafka::{Properties, Security, matches_property},
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

const INSTANCE_ID: Key = Key {
    path: "consumer.instance_id",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Absent("each start is a new member of the group"),
    meaning: "A name of this process alone that survives its restart, such as its pod's in a StatefulSet. Killed and started again it goes on at once; without it the group first waits for the dead member, for `session_timeout_ms` and more.",
};
const START: Key = Key {
    path: "consumer.start",
    kind: Kind::Choice(&["earliest", "latest"]),
    fallback: Fallback::Value("earliest"),
    meaning: "Where a partition begins that the group never read: with the oldest record that is there, or with what is written from then on.",
};
/// Topics of captured tables come into being with their first event.
const MISSING_TOPICS: Key = Key {
    path: "consumer.missing_topics",
    kind: Kind::Choice(&["wait", "refuse"]),
    fallback: Fallback::Value("wait"),
    meaning: "What is done about a topic that does not exist: `wait` warns, reads the others, and it too when it appears; `refuse` ends the process.",
};
const PROTOCOL: Key = Key {
    path: "consumer.protocol",
    kind: Kind::Choice(&["classic", "consumer"]),
    fallback: Fallback::Value("classic"),
    meaning: "Who says which member reads what: `classic` a member (cooperative-sticky), `consumer` the broker (KIP-848, brokers from 4.0 on). All members of a group must have the same.",
};
/// A process that was killed without `instance_id` holds its group up for as long; its heartbeats have a thread of their own.
const SESSION_TIMEOUT_MS: Key = Key {
    path: "consumer.session_timeout_ms",
    kind: Kind::Integer { min: 1000, max: 1_800_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long the group waits for a member that went silent before others get its partitions, in milliseconds. With `protocol = \"consumer\"` the broker says it.",
};
const BATCH_RECORDS_MAX: Key = Key {
    path: "consumer.batch_records_max",
    kind: Kind::Integer { min: 1, max: 1_000_000 },
    fallback: Fallback::Absent(
        "100000 for `postrider load`, 500000 where its topic only appends, 5000 for `postrider invalidate`",
    ),
    meaning: "A batch is complete with so many records.",
};
const BATCH_BYTES_MAX: Key = Key {
    path: "consumer.batch_bytes_max",
    kind: Kind::Integer { min: 1024, max: 1_073_741_824 },
    fallback: Fallback::Absent(
        "50331648 for `postrider load`, 268435456 where its topic only appends, 4194304 for `postrider invalidate`",
    ),
    meaning: "A batch is complete with so many bytes of memory, as its records are read.",
};
const BATCH_AGE_MS: Key = Key {
    path: "consumer.batch_age_ms",
    kind: Kind::Integer { min: 0, max: 3_600_000 },
    fallback: Fallback::Absent("1000 for `postrider load`, 0 for `postrider invalidate`"),
    meaning: "A batch is complete so long after its first record was read, in milliseconds; 0: as soon as the sink takes it.",
};
const QUEUE_BYTES_MAX: Key = Key {
    path: "consumer.queue_bytes_max",
    kind: Kind::Integer { min: 1_048_576, max: 17_179_869_184 },
    fallback: Fallback::Value("67108864"),
    meaning: "Most bytes that are read and wait for the sink, with what it holds of batches that are not complete; fetched ahead comes as much again. When it is full, nothing is fetched, and the member stays in its group.",
};
const PROPERTIES: Key = Key {
    path: "consumer.properties",
    kind: Kind::Properties,
    fallback: Fallback::Absent("librdkafka's defaults hold"),
    meaning: "Further librdkafka properties of the consumer, beside those of `[kafka.properties]`. In the variable: name=value, separated by `;` or line breaks.",
};

pub(super) const KEYS: &[Key] = &[
    INSTANCE_ID,
    START,
    MISSING_TOPICS,
    PROTOCOL,
    SESSION_TIMEOUT_MS,
    BATCH_RECORDS_MAX,
    BATCH_BYTES_MAX,
    BATCH_AGE_MS,
    QUEUE_BYTES_MAX,
    PROPERTIES,
];

/// The properties the consumer sets itself, by name or by the start of it (`*`), and why they are not for configuration.
pub const OWNED_PROPERTIES: &[(&str, &str)] = &[
    ("group.id", "set load.group or invalidate.group"),
    ("group.instance.id", "set consumer.instance_id"),
    ("group.protocol", "set consumer.protocol"),
    ("partition.assignment.strategy", "a partition that need not move stays where it is"),
    ("session.timeout.ms", "set consumer.session_timeout_ms"),
    ("heartbeat.interval.ms", "it follows consumer.session_timeout_ms"),
    ("enable.auto.*", "an offset is committed when its record is durable, not before"),
    ("auto.commit.*", "an offset is committed when its record is durable, not before"),
    ("auto.offset.reset", "an offset that is gone is an error; where a new group begins says consumer.start"),
    ("isolation.level", "what a transaction aborted was never written"),
    ("enable.partition.eof", "the lag is measured by it"),
    ("queued.*", "set consumer.queue_bytes_max"),
    ("fetch.message.max.bytes", "it follows consumer.queue_bytes_max"),
    ("max.partition.fetch.bytes", "it follows consumer.queue_bytes_max"),
    ("statistics.interval.ms", "the lag is measured by it"),
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("client.id", "set kafka.client_id"),
    ("allow.auto.create.topics", "reading creates no topic"),
];

/// How the workers read Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// A name of this process that survives its restart.
    pub instance_id: Option<String>,
    /// Where a partition begins that the group never read.
    pub start: Start,
    /// What is done about a topic that does not exist.
    pub missing_topics: MissingTopics,
    /// Who says which member reads what.
    pub protocol: Protocol,
    /// How long the group waits for a silent member.
    pub session_timeout: Duration,
    /// Most records of a batch; `None` leaves it to the role.
    pub batch_records_max: Option<usize>,
    /// Most bytes of a batch; `None` leaves it to the role.
    pub batch_bytes_max: Option<usize>,
    /// How old a batch becomes before it leaves; `None` leaves it to the role.
    pub batch_age: Option<Duration>,
    /// Most bytes that wait for the sink.
    pub queue_bytes_max: usize,
    /// Further librdkafka properties; none of [`OWNED_PROPERTIES`].
    pub properties: Properties,
}

/// Where a partition begins that the group never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is there.
    Earliest,
    /// With what is written from then on.
    Latest,
}

/// What is done about a topic that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingTopics {
    /// The others are read, and it too when it appears.
    Wait,
    /// The process ends.
    Refuse,
}

/// Who says which member reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A member.
    Classic,
    /// The broker.
    Consumer,
}

impl Consumer {
    pub(super) fn from_settings(settings: &mut Settings, security: &Security) -> Self {
        let age = settings.integer(&BATCH_AGE_MS).and_then(|ms| u64::try_from(ms).ok());
        let instance = settings.parsed(&INSTANCE_ID, |text| is_topic_name(text).then(|| text.to_owned()));
        Self {
            instance_id: instance,
            start: [Start::Earliest, Start::Latest][settings.choice(&START)],
            missing_topics: [MissingTopics::Wait, MissingTopics::Refuse][settings.choice(&MISSING_TOPICS)],
            protocol: [Protocol::Classic, Protocol::Consumer][settings.choice(&PROTOCOL)],
            session_timeout: settings.milliseconds(&SESSION_TIMEOUT_MS),
            batch_records_max: size(settings, &BATCH_RECORDS_MAX),
            batch_bytes_max: size(settings, &BATCH_BYTES_MAX),
            batch_age: age.map(Duration::from_millis),
            queue_bytes_max: size(settings, &QUEUE_BYTES_MAX).unwrap_or_default(),
            properties: properties(settings, security),
        }
    }
}

fn size(settings: &mut Settings, key: &Key) -> Option<usize> {
    settings.integer(key).and_then(|size| usize::try_from(size).ok())
}

fn properties(settings: &mut Settings, security: &Security) -> Properties {
    let mut kept = BTreeMap::new();
    for (name, (value, origin)) in settings.properties(&PROPERTIES) {
        let owned = OWNED_PROPERTIES.iter().find(|(pattern, _)| matches_property(pattern, &name));
        if let Some((_, reason)) = owned {
            settings.refuse_at(origin, format!("`consumer.properties.{name}` is set by the worker: {reason}"));
        } else if let Some(key) = security.contradicts(&name) {
            let message =
                format!("`consumer.properties.{name}` says what `{key}` and the keys beside it say: keep one of them");
            settings.refuse_at(origin, message);
        } else {
            kept.insert(name, value);
        }
    }
    Properties::from(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge;

    fn consumer(text: &str, pairs: &[(&str, &str)]) -> Result<Consumer, Vec<String>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut settings = merge("postrider.toml", text, pairs).expect("valid TOML");
        let security = Security::from_settings(&mut settings, &|_| Ok(String::new()));
        let consumer = Consumer::from_settings(&mut settings, &security);
        settings.into_result(consumer).map_err(|error| error.problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_must_be_said() {
        let consumer = consumer("", &[]).expect("right");
        assert_eq!((consumer.start, consumer.protocol), (Start::Earliest, Protocol::Classic));
        assert_eq!((consumer.instance_id, consumer.batch_age), (None, None));
    }

    #[test]
    fn the_file_and_variables_say_the_rest() {
        let text =
            "[consumer]\nstart = 'latest'\nbatch_age_ms = 0\n[consumer.properties]\n'socket.nagle.disable' = true";
        let consumer = consumer(text, &[("POSTRIDER_CONSUMER_INSTANCE_ID", "load-0")]).expect("right");
        assert_eq!((consumer.start, consumer.batch_age), (Start::Latest, Some(Duration::ZERO)));
        assert_eq!(consumer.instance_id.as_deref(), Some("load-0"));
        assert_eq!(consumer.properties.iter().collect::<Vec<_>>(), [("socket.nagle.disable", "true")]);
    }

    #[test]
    fn what_the_guarantees_rest_on_is_refused_with_the_reason() {
        for (property, reason) in [
            ("enable.auto.commit", "when its record is durable"),
            ("auto.offset.reset", "consumer.start"),
            ("isolation.level", "aborted"),
            ("group.id", "load.group"),
        ] {
            let text = format!("[consumer.properties]\n'{property}' = 'x'");
            let problems = consumer(&text, &[]).expect_err("refused").join("\n");
            assert!(problems.contains(property) && problems.contains(reason), "{problems}");
        }
        assert!(consumer("consumer.batch_records_max = 0", &[]).is_err());
        assert!(consumer("consumer.instance_id = 'a b'", &[]).is_err());
    }
}
