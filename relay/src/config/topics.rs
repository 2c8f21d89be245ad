//! `[topics]`: what becomes of an event whose topic does not exist.

use regex::Regex;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const CREATE: Key = Key {
    path: "topics.create",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "Whether the relay creates a topic that does not exist. If not, or if it may not, the event is refused. Brokers never create topics for the relay, whatever their `auto.create.topics.enable`.",
};
const ALLOW: Key = Key {
    path: "topics.allow",
    kind: Kind::Text("a regular expression of the crate regex"),
    fallback: Fallback::Absent("any legal name"),
    meaning: "The names of topics that the relay may create; the whole name must match. Topics that exist need not match. Set it where the aggregate types of events are not under your control.",
};
const PARTITIONS: Key = Key {
    path: "topics.partitions",
    kind: Kind::Integer { min: -1, max: 100_000 },
    fallback: Fallback::Value("-1"),
    meaning: "Partitions of a topic that the relay creates; -1 leaves it to the broker (`num.partitions`), 0 is refused.",
};
const REPLICATION_FACTOR: Key = Key {
    path: "topics.replication_factor",
    kind: Kind::Integer { min: -1, max: 100 },
    fallback: Fallback::Value("-1"),
    meaning: "Replicas of a topic that the relay creates; -1 leaves it to the broker (`default.replication.factor`), 0 is refused.",
};
const CLEANUP_POLICY: Key = Key {
    path: "topics.cleanup_policy",
    kind: Kind::Choice(&["delete", "compact", "compact,delete"]),
    fallback: Fallback::Absent("the broker's `log.cleanup.policy`"),
    meaning: "What becomes of old records in a topic that the relay creates. With `compact`, events without a key are refused.",
};
const RETENTION_MS: Key = Key {
    path: "topics.retention_ms",
    kind: Kind::Integer { min: -1, max: i64::MAX },
    fallback: Fallback::Absent("the broker's `log.retention.ms`"),
    meaning: "How long records stay in a topic that the relay creates, in milliseconds; -1 is for ever.",
};
/// A platform has hundreds of aggregate types; a mistake, such as an id in the type, has millions.
const TOPICS_MAX: Key = Key {
    path: "topics.topics_max",
    kind: Kind::Integer { min: 0, max: 100_000 },
    fallback: Fallback::Value("1000"),
    meaning: "Topics that the relay creates at most while the process lives; events that need more are refused.",
};
/// Long against the cost of asking, short against the time in which somebody expects more partitions to be used.
const REFRESH_INTERVAL_MS: Key = Key {
    path: "topics.refresh_interval_ms",
    kind: Kind::Integer { min: 100, max: 3_600_000 },
    fallback: Fallback::Value("30000"),
    meaning: "How often the topics in use are looked at for new limits and new numbers of partitions, in milliseconds. A refusal looks at once.",
};

pub(super) const KEYS: &[Key] =
    &[CREATE, ALLOW, PARTITIONS, REPLICATION_FACTOR, CLEANUP_POLICY, RETENTION_MS, TOPICS_MAX, REFRESH_INTERVAL_MS];

/// What becomes of an event whose topic does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Whether the relay creates it.
    pub create: bool,
    /// The names that it may create, as a regular expression that matches whole names.
    pub allow: Option<String>,
    /// Partitions of a new topic; -1 leaves it to the broker. Never 0.
    pub partitions: i32,
    /// Replicas of a new topic; -1 leaves it to the broker. Never 0.
    pub replication_factor: i32,
    /// The `cleanup.policy` of a new topic.
    pub cleanup_policy: Option<String>,
    /// The `retention.ms` of a new topic.
    pub retention_ms: Option<i64>,
    /// Topics created at most.
    pub topics_max: usize,
    /// How often the topics in use are looked at.
    pub refresh_interval: std::time::Duration,
}

impl Topics {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self {
            create: settings.boolean(&CREATE),
            allow: allow(settings),
            partitions: count(settings, &PARTITIONS),
            replication_factor: count(settings, &REPLICATION_FACTOR),
            cleanup_policy: cleanup_policy(settings),
            retention_ms: settings.given(&RETENTION_MS).is_some().then(|| settings.integer(&RETENTION_MS)).flatten(),
            topics_max: usize::try_from(settings.unsigned(&TOPICS_MAX)).unwrap_or(usize::MAX),
            refresh_interval: settings.milliseconds(&REFRESH_INTERVAL_MS),
        }
    }
}

/// The expression around the whole name, so that `a|b` means two names and not two beginnings.
fn allow(settings: &mut Settings) -> Option<String> {
    let given = settings.optional_text(&ALLOW)?;
    let whole = format!("^(?:{given})$");
    match Regex::new(&given).and_then(|_| Regex::new(&whole)) {
        Ok(_) => Some(whole),
        Err(error) => {
            // Its last line says what is wrong; those before show the expression.
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            settings.refuse(&ALLOW, &format!("is not a regular expression: {what}"));
            None
        }
    }
}

fn count(settings: &mut Settings, key: &Key) -> i32 {
    let count = settings.integer(key);
    if count == Some(0) {
        settings.refuse(key, "must be -1 for the broker's default, or at least 1");
    }
    count.and_then(|count| i32::try_from(count).ok()).unwrap_or_default()
}

fn cleanup_policy(settings: &mut Settings) -> Option<String> {
    settings.given(&CLEANUP_POLICY)?;
    let Kind::Choice(words) = CLEANUP_POLICY.kind else { return None };
    Some(words[settings.choice(&CLEANUP_POLICY)].to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{errors, parse_with};

    #[test]
    fn an_expression_must_match_the_whole_name() {
        let config = parse_with("topics.allow = 'orders|parcels'").expect("valid");
        assert_eq!(config.topics.allow.as_deref(), Some("^(?:orders|parcels)$"));
    }

    #[test]
    fn what_is_not_said_is_left_to_the_broker() {
        let topics = parse_with("").expect("valid").topics;
        assert!(topics.create);
        assert_eq!((topics.partitions, topics.replication_factor, topics.topics_max), (-1, -1, 1000));
        assert_eq!((topics.allow, topics.cleanup_policy, topics.retention_ms), (None, None, None));
        let topics =
            parse_with("topics.create = false\ntopics.cleanup_policy = 'compact,delete'\ntopics.retention_ms = -1");
        let topics = topics.expect("valid").topics;
        assert_eq!((topics.create, topics.retention_ms), (false, Some(-1)));
        assert_eq!(topics.cleanup_policy.as_deref(), Some("compact,delete"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        for (text, problem) in [
            ("topics.allow = '('", "3:16: `topics.allow` is not a regular expression: unclosed group"),
            ("topics.allow = 'a)(b'", "3:16: `topics.allow` is not a regular expression: unopened group"),
            ("topics.create = 'yes'", "3:17: `topics.create` must be true or false, not a string"),
            ("topics.partitions = 0", "3:21: `topics.partitions` must be -1 for the broker's default, or at least 1"),
            (
                "topics.cleanup_policy = 'keep'",
                "3:25: `topics.cleanup_policy` must be one of \"delete\", \"compact\", \"compact,delete\"",
            ),
        ] {
            let found = errors(parse_with(text));
            assert_eq!(found, [format!("postrider.toml:{problem}")], "{text}");
        }
    }
}
