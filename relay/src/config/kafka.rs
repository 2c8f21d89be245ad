//! `[kafka]`: the brokers, the progress topic and the producer; what the guarantees rest on cannot be set.

mod delivery;
mod security;

use std::{collections::BTreeMap, fmt, io, path::Path, time::Duration};

use crate::config::{
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

const BOOTSTRAP_SERVERS: Key = Key {
    path: "kafka.bootstrap_servers",
    kind: Kind::Text("host:port, or several of them separated by commas"),
    fallback: Fallback::Required,
    meaning: "Brokers to ask for the rest of the cluster. `null:` instead publishes nowhere and acknowledges everything: only for measuring.",
};
const CLIENT_ID: Key = Key {
    path: "kafka.client_id",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Value("postrider"),
    meaning: "How the relay shows in the brokers' logs, metrics and quotas.",
};
const PROGRESS_TOPIC: Key = Key {
    path: "kafka.progress_topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Value("postrider.progress"),
    meaning: "The compacted topic that witnesses what was delivered. It must not be deleted while a slot lives; relays may share it.",
};
const PROGRESS_REPLICATION_FACTOR: Key = Key {
    path: "kafka.progress_replication_factor",
    kind: Kind::Integer { min: -1, max: 100 },
    fallback: Fallback::Value("-1"),
    meaning: "Replicas of the progress topic when the relay creates it; -1 leaves it to the broker, 0 is refused.",
};
/// As much as `source.in_flight_bytes_max`: what may be in flight fits.
const QUEUE_BYTES_MAX: Key = Key {
    path: "kafka.queue_bytes_max",
    kind: Kind::Integer { min: 1_048_576, max: 2_147_483_648 },
    fallback: Fallback::Value("16777216"),
    meaning: "Most bytes the producer's queue holds; when it is full, reading waits. Rounded up to whole KiB.",
};
/// Waiting only costs an idle outbox: measured, 1 ms adds more than that to every event. Under load records gather
/// anyway, because the reader hands on what arrived together and five requests at most are on their way.
const LINGER_MS: Key = Key {
    path: "kafka.linger_ms",
    kind: Kind::Number { min: 0.0, max: 100.0 },
    fallback: Fallback::Value("0"),
    meaning: "How long the producer waits for more records before it sends, in milliseconds, fractions allowed.",
};
/// Fast enough never to be the bottleneck, and JSON shrinks to a fraction.
const COMPRESSION: Key = Key {
    path: "kafka.compression",
    kind: Kind::Choice(&["lz4", "none"]),
    fallback: Fallback::Value("lz4"),
    meaning: "How record batches are compressed.",
};
/// librdkafka's own default: a broker that fails over needs some of it.
const REQUEST_TIMEOUT_MS: Key = Key {
    path: "kafka.request_timeout_ms",
    kind: Kind::Integer { min: 1000, max: 900_000 },
    fallback: Fallback::Value("30000"),
    meaning: "How long a broker may take to answer one request, in milliseconds. The record itself is tried for as long as the relay runs.",
};
const UNTIMELY: Key = Key {
    path: "kafka.untimely",
    kind: Kind::Choice(&["clamp", "refuse"]),
    fallback: Fallback::Value("clamp"),
    meaning: "What happens to an event whose commit time lies outside what its topic takes (`message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`): `clamp` publishes it with the nearest time that the topic takes, and its own in the header `postrider-commit-time`.",
};
const PROPERTIES: Key = Key {
    path: "kafka.properties",
    kind: Kind::Properties,
    fallback: Fallback::Absent("librdkafka's defaults hold"),
    meaning: "Further librdkafka properties, as a table. In the variable: name=value, separated by `;` or line breaks.",
};

pub(super) const KEYS: &[Key] = &[
    BOOTSTRAP_SERVERS,
    CLIENT_ID,
    PROGRESS_TOPIC,
    PROGRESS_REPLICATION_FACTOR,
    QUEUE_BYTES_MAX,
    LINGER_MS,
    COMPRESSION,
    REQUEST_TIMEOUT_MS,
    UNTIMELY,
    PROPERTIES,
];

pub use delivery::Delivery;
pub(super) use delivery::KEYS as DELIVERY_KEYS;
pub(super) use security::KEYS as SECURITY_KEYS;
pub use security::{ClientCertificate, Password, Sasl, Security, Tls};

/// The broker list that stands for no broker: everything is read and acknowledged, nothing published.
pub const NO_BROKER: &str = "null:";

/// The properties the relay sets itself, by name or by the start of it (`*`), and why they are not for configuration.
pub const OWNED_PROPERTIES: &[(&str, &str)] = &[
    ("acks", "an event counts as delivered only when every in-sync replica has it"),
    ("request.required.acks", "an event counts as delivered only when every in-sync replica has it"),
    ("enable.idempotence", "a retry must neither repeat nor reorder"),
    ("enable.gapless.guarantee", "the relay recovers from a gap itself"),
    ("max.in.flight*", "order for each key rests on it"),
    ("partitioner*", "a key must go to the partition where Java's clients would send it"),
    ("sticky.partitioning*", "a key must go to the partition where Java's clients would send it"),
    ("transactional.id", "set kafka.transactional_id"),
    ("transaction.timeout.ms", "set kafka.transaction_timeout_ms"),
    ("message.timeout.ms", "a record that timed out would be skipped and its successors delivered"),
    ("delivery.timeout.ms", "a record that timed out would be skipped and its successors delivered"),
    ("message.send.max.retries", "a record that ran out of retries would be skipped and its successors delivered"),
    ("retries", "a record that ran out of retries would be skipped and its successors delivered"),
    ("delivery.report.only.error", "a confirmed position rests on every delivery report"),
    ("queue.buffering.max.messages", "the queue is bounded in bytes: set kafka.queue_bytes_max"),
    ("queue.buffering.max.kbytes", "set kafka.queue_bytes_max"),
    ("queue.buffering.max.ms", "set kafka.linger_ms"),
    ("queue.buffering*", "the relay controls the queue itself"),
    ("linger.ms", "set kafka.linger_ms"),
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("client.id", "set kafka.client_id"),
    ("compression.codec", "set kafka.compression"),
    ("compression.type", "set kafka.compression"),
    ("request.timeout.ms", "set kafka.request_timeout_ms"),
    ("allow.auto.create.topics", "set topics.create"),
];

/// Where and how events are published.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// Brokers to ask for the rest, `host:port` separated by commas.
    pub bootstrap_servers: String,
    /// How the relay shows at the brokers.
    pub client_id: String,
    /// The compacted topic of the progress records.
    pub progress_topic: String,
    /// Replicas of that topic when it is created; -1 leaves it to the broker. Never 0.
    pub progress_replication_factor: i32,
    /// Most bytes in the producer's queue.
    pub queue_bytes_max: u64,
    /// How long the producer waits for more records before it sends.
    pub linger: Duration,
    /// How record batches are compressed.
    pub compression: Compression,
    /// How long a broker may take to answer one request.
    pub request_timeout: Duration,
    /// What happens to an event whose commit time its topic does not take.
    pub untimely: Untimely,
    /// How often an event may be published.
    pub delivery: Delivery,
    /// How brokers are reached safely.
    pub security: Security,
    /// Further librdkafka properties; none of [`OWNED_PROPERTIES`].
    pub properties: Properties,
}

/// What happens to an event whose commit time its topic does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untimely {
    /// It is published with the nearest time that the topic takes.
    Clamp,
    /// It is refused.
    Refuse,
}

/// A way to compress that this build of librdkafka has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4.
    Lz4,
    /// Not at all.
    None,
}

impl Compression {
    /// The name in librdkafka's `compression.codec`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }
}

/// librdkafka properties by name. `Debug` shows the names only: a value may be a password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl From<BTreeMap<String, String>> for Properties {
    fn from(properties: BTreeMap<String, String>) -> Self {
        Self(properties)
    }
}

impl Properties {
    /// The properties, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Kafka {
    /// Whether there are brokers to deliver to, and not only [`NO_BROKER`].
    #[must_use]
    pub fn has_broker(&self) -> bool {
        self.bootstrap_servers != NO_BROKER
    }

    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let security = Security::from_settings(settings, read);
        Self {
            bootstrap_servers: settings.checked(&BOOTSTRAP_SERVERS, are_brokers),
            client_id: settings.checked(&CLIENT_ID, is_topic_name),
            progress_topic: settings.checked(&PROGRESS_TOPIC, is_topic_name),
            progress_replication_factor: replication_factor(settings),
            queue_bytes_max: settings.unsigned(&QUEUE_BYTES_MAX),
            linger: Duration::from_secs_f64(settings.number(&LINGER_MS).unwrap_or_default() / 1000.0),
            compression: [Compression::Lz4, Compression::None][settings.choice(&COMPRESSION)],
            request_timeout: settings.milliseconds(&REQUEST_TIMEOUT_MS),
            untimely: [Untimely::Clamp, Untimely::Refuse][settings.choice(&UNTIMELY)],
            delivery: Delivery::from_settings(settings),
            properties: properties(settings, &security),
            security,
        }
    }
}

fn replication_factor(settings: &mut Settings) -> i32 {
    let factor = settings.integer(&PROGRESS_REPLICATION_FACTOR);
    if factor == Some(0) {
        settings.refuse(&PROGRESS_REPLICATION_FACTOR, "must be -1 for the broker's default, or at least 1");
    }
    factor.and_then(|factor| i32::try_from(factor).ok()).unwrap_or_default()
}

fn are_brokers(text: &str) -> bool {
    text == NO_BROKER || text.split(',').all(|broker| is_broker(broker.trim()))
}

fn is_broker(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let host_is_plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    host_is_plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn properties(settings: &mut Settings, security: &Security) -> Properties {
    let mut kept = BTreeMap::new();
    for (name, (value, origin)) in settings.properties(&PROPERTIES) {
        match OWNED_PROPERTIES.iter().find(|(pattern, _)| matches_property(pattern, &name)) {
            Some((_, reason)) => {
                settings.refuse_at(origin, format!("`kafka.properties.{name}` is set by the relay: {reason}"));
            }
            None => match security.contradicts(&name) {
                Some(key) => {
                    let message = format!(
                        "`kafka.properties.{name}` says what `{key}` and the keys beside it say: keep one of them"
                    );
                    settings.refuse_at(origin, message);
                }
                None => {
                    kept.insert(name, value);
                }
            },
        }
    }
    Properties(kept)
}

/// Whether `pattern`, exact or the start of a name with a `*`, means `name`.
pub(super) fn matches_property(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |prefix| name.starts_with(prefix))
}
