//! `[dead_letter]`: where a worker puts the records that it gives up, and when.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

const TOPIC: Key = Key {
    path: "dead_letter.topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Absent("the consumer group's name and `-dlq`"),
    meaning: "The topic of the records that the worker's group gives up. Beside it stands one of its name and `-orders`, which holds what was replayed and dropped, when and by whom. Both are made if they do not exist.",
};
const ATTEMPTS: Key = Key {
    path: "dead_letter.attempts",
    kind: Kind::Integer { min: 1, max: 1000 },
    fallback: Fallback::Value("3"),
    meaning: "How often the service may refuse a record, before it is given up. What can be told before anything is sent, such as a value that no column takes, is told once.",
};
const ORDER: Key = Key {
    path: "dead_letter.order",
    kind: Kind::Choice(&["auto", "key", "none"]),
    fallback: Fallback::Value("auto"),
    meaning: "Whether later records of a key become dead letters too while an earlier one is (`key`), or go on (`none`). `auto`: they wait where the rows of captured tables are loaded; events, and whatever makes a cached page stale, go on.",
};
const SHAPE: Key = Key {
    path: "dead_letter.shape",
    kind: Kind::Choice(&["original", "event"]),
    fallback: Fallback::Value("original"),
    meaning: "The value of a dead letter: the record's own bytes, or `{original_event, error, failed_at, retry_count}`. Key and headers are the record's own either way, and a replay delivers the record's own bytes.",
};
const RETENTION_DAYS: Key = Key {
    path: "dead_letter.retention_days",
    kind: Kind::Integer { min: 14, max: 3650 },
    fallback: Fallback::Value("30"),
    meaning: "How long dead letters are kept, in days, if the worker makes their topic.",
};
const REPLICATION_FACTOR: Key = Key {
    path: "dead_letter.replication_factor",
    kind: Kind::Integer { min: -1, max: 100 },
    fallback: Fallback::Value("-1"),
    meaning: "Replicas of the two topics, if the worker makes them; -1 leaves it to the broker (`default.replication.factor`), 0 is refused.",
};
const LETTERS_MAX: Key = Key {
    path: "dead_letter.letters_max",
    kind: Kind::Integer { min: 0, max: 10_000_000 },
    fallback: Fallback::Value("100000"),
    meaning: "Most dead letters that are neither replayed nor dropped. When more would be, the stream waits: so many are a fault of the set-up. 0 gives nothing up.",
};
const POLL_INTERVAL_MS: Key = Key {
    path: "dead_letter.poll_interval_ms",
    kind: Kind::Integer { min: 10, max: 3_600_000 },
    fallback: Fallback::Value("500"),
    meaning: "How often a worker looks whether `postrider dlq` asked for something, in milliseconds.",
};

pub(super) const KEYS: &[Key] =
    &[TOPIC, ATTEMPTS, ORDER, SHAPE, RETENTION_DAYS, REPLICATION_FACTOR, LETTERS_MAX, POLL_INTERVAL_MS];

/// Where records go that are given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Their topic, if it is not called after the group.
    pub topic: Option<String>,
    /// How often the service may refuse a record.
    pub attempts: u32,
    /// Whether later records of a key wait.
    pub order: Order,
    /// The form of a letter's value.
    pub shape: Shape,
    /// How long letters are kept.
    pub retention: Duration,
    /// Replicas of the topics; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// Most letters that are not settled.
    pub letters_max: usize,
    /// How often to look whether something was asked for.
    pub poll_interval: Duration,
}

/// Whether later records of a key wait while an earlier one is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By what the topic is.
    Auto,
    /// They wait.
    Key,
    /// They go on.
    None,
}

/// The form of a letter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The record's own bytes.
    Original,
    /// An object with the event, the error, the time and the number of attempts.
    Event,
}

impl DeadLetter {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let replication_factor = settings.integer(&REPLICATION_FACTOR).unwrap_or(-1);
        if replication_factor == 0 {
            settings.refuse(&REPLICATION_FACTOR, "must not be 0: -1 leaves it to the broker");
        }
        Self {
            topic: settings.parsed(&TOPIC, |topic| is_topic_name(topic).then(|| topic.to_owned())),
            attempts: u32::try_from(settings.unsigned(&ATTEMPTS)).unwrap_or(u32::MAX),
            order: [Order::Auto, Order::Key, Order::None][settings.choice(&ORDER)],
            shape: [Shape::Original, Shape::Event][settings.choice(&SHAPE)],
            retention: Duration::from_secs(settings.unsigned(&RETENTION_DAYS) * 24 * 60 * 60),
            replication_factor: i32::try_from(replication_factor).unwrap_or(-1),
            letters_max: usize::try_from(settings.unsigned(&LETTERS_MAX)).unwrap_or(usize::MAX),
            poll_interval: settings.milliseconds(&POLL_INTERVAL_MS),
        }
    }

    /// The topic of the letters of a group.
    #[must_use]
    pub fn topic_of(&self, group: &str) -> String {
        self.topic.clone().unwrap_or_else(|| format!("{group}-dlq"))
    }
}
