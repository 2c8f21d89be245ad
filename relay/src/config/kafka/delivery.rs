//! How often an event may be published: `delivery` of `[kafka]`, and what its transactions need.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const DELIVERY: Key = Key {
    path: "kafka.delivery",
    kind: Kind::Choice(&["at-least-once", "exactly-once"]),
    fallback: Fallback::Value("at-least-once"),
    meaning: "Whether an event may be published again after a crash, or becomes visible to readers of the committed (`isolation.level = read_committed`) exactly once, by Kafka's transactions: see [exactly once](exactly-once.md).",
};
const TRANSACTIONAL_ID: Key = Key {
    path: "kafka.transactional_id",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Absent("`postrider.` and the name of the slot"),
    meaning: "With exactly-once delivery: the relay's name at the brokers. Of all that use one name the newest delivers, and the others are refused; it must stay what it is, and be no other slot's.",
};
/// Measured in docs/exactly-once.md: a shorter one costs throughput, and an event that is alone is committed at once anyway.
const TRANSACTION_INTERVAL_MS: Key = Key {
    path: "kafka.transaction_interval_ms",
    kind: Kind::Integer { min: 1, max: 10_000 },
    fallback: Fallback::Value("100"),
    meaning: "With exactly-once delivery: how long a transaction collects events at most, in milliseconds. When the stream has nothing more to add it is committed earlier.",
};
/// Kafka's own default for producers; brokers allow up to `transaction.max.timeout.ms`, 15 minutes.
const TRANSACTION_TIMEOUT_MS: Key = Key {
    path: "kafka.transaction_timeout_ms",
    kind: Kind::Integer { min: 1000, max: 900_000 },
    fallback: Fallback::Value("60000"),
    meaning: "With exactly-once delivery: after how long the brokers give up a transaction that nobody ends, in milliseconds; at most their `transaction.max.timeout.ms`. After a crash readers of the committed wait so long, unless a relay of the slot starts before.",
};

pub(in crate::config) const KEYS: &[Key] =
    &[DELIVERY, TRANSACTIONAL_ID, TRANSACTION_INTERVAL_MS, TRANSACTION_TIMEOUT_MS];

/// How often an event may be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Exactly once, by transactions; else at least once.
    pub exactly_once: bool,
    /// The relay's name at the brokers; none: derived from the slot's.
    pub transactional_id: Option<String>,
    /// How long a transaction collects events at most.
    pub transaction_interval: Duration,
    /// After how long the brokers give up a transaction that nobody ends.
    pub transaction_timeout: Duration,
}

impl Delivery {
    /// The name at the brokers of the relay that delivers for `slot`; none if it delivers without transactions.
    #[must_use]
    pub fn id(&self, slot: &str) -> Option<String> {
        let id = || self.transactional_id.clone().unwrap_or_else(|| format!("postrider.{slot}"));
        self.exactly_once.then(id)
    }

    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let delivery = Self {
            exactly_once: settings.choice(&DELIVERY) == 1,
            transactional_id: settings
                .parsed(&TRANSACTIONAL_ID, |text| super::is_topic_name(text).then(|| text.to_owned())),
            transaction_interval: settings.milliseconds(&TRANSACTION_INTERVAL_MS),
            transaction_timeout: settings.milliseconds(&TRANSACTION_TIMEOUT_MS),
        };
        if delivery.transaction_interval >= delivery.transaction_timeout && !delivery.transaction_timeout.is_zero() {
            settings.refuse(&TRANSACTION_INTERVAL_MS, "must be less than `kafka.transaction_timeout_ms`");
        }
        delivery
    }
}
