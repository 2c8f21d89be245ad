//! Which topics the relay may publish to, and which of those that do not exist it may create: topic names are made of what
//! writers sent, so they are judged before a broker is asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::sinks::kafka::refusal::{Class, Refusal};

/// The longest topic name, in characters, that [Kafka allows].
///
/// [Kafka allows]: https://github.com/apache/kafka/blob/4.1/clients/src/main/java/org/apache/kafka/common/internals/Topic.java
const TOPIC_NAME_MAX: usize = 249;

/// What the names of Kafka's own topics begin with.
const RESERVED: &str = "__";

/// How many topics the relay creates by default. A platform has hundreds of aggregate types, a mistake has millions.
const TOPICS_MAX: usize = 1000;

/// How topics that do not exist come into being.
#[derive(Clone)]
pub struct TopicCreation {
    /// Whether the relay creates topics at all.
    pub create: bool,
    /// The names that it may create; any legal one if there is none.
    pub allow: Option<Regex>,
    /// Partitions of a new topic; -1 leaves it to the broker.
    pub partitions: i32,
    /// Replicas of a new topic; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// The `cleanup.policy` of a new topic; the broker's if there is none.
    pub cleanup_policy: Option<String>,
    /// The `retention.ms` of a new topic; the broker's if there is none.
    pub retention_ms: Option<i64>,
    /// Topics created at most while the process lives.
    pub topics_max: usize,
    /// Topics created so far; all openings of a sink share it.
    pub created: CreatedTopics,
}

/// How many topics were created. Its clones count together.
#[derive(Debug, Clone, Default)]
pub struct CreatedTopics(Arc<AtomicUsize>);

impl Default for TopicCreation {
    fn default() -> Self {
        Self {
            create: true,
            allow: None,
            partitions: -1,
            replication_factor: -1,
            cleanup_policy: None,
            retention_ms: None,
            topics_max: TOPICS_MAX,
            created: CreatedTopics::default(),
        }
    }
}

impl fmt::Debug for TopicCreation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicCreation")
            .field("create", &self.create)
            .field("allow", &self.allow.as_ref().map(Regex::as_str))
            .field("topics_max", &self.topics_max)
            .finish_non_exhaustive()
    }
}

impl TopicCreation {
    /// Whether the topic `name`, which is legal and does not exist, may be created; counts it if so.
    pub(super) fn permit(&self, name: &str) -> Result<(), Refusal> {
        let refuse = |class, reason: &str, help: String| Err(Refusal::new(class, reason.to_owned(), help));
        if !self.create {
            return refuse(
                Class::Missing,
                "the topic does not exist, and topics.create is false",
                format!("Create it: {}", self.command(name)),
            );
        }
        if let Some(allow) = &self.allow
            && !allow.is_match(name)
        {
            return refuse(
                Class::Missing,
                "the topic does not exist, and topics.allow does not match its name",
                format!("Create it, or widen topics.allow: {}", self.command(name)),
            );
        }
        let take = |created: usize| (created < self.topics_max).then_some(created + 1);
        if self.created.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return refuse(
                Class::TooMany,
                &format!("the topic does not exist, and this relay created {} topics already", self.topics_max),
                format!("If so many are meant, raise topics.topics_max; or create it: {}", self.command(name)),
            );
        }
        Ok(())
    }

    /// A creation that was permitted did not happen.
    pub(super) fn give_back(&self) {
        self.created.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The configuration of a new topic.
    pub(super) fn config(&self) -> Vec<(&'static str, String)> {
        let policy = self.cleanup_policy.clone().map(|policy| ("cleanup.policy", policy));
        let retention = self.retention_ms.map(|ms| ("retention.ms", ms.to_string()));
        policy.into_iter().chain(retention).collect()
    }

    /// The command that creates the topic as the relay would.
    pub(super) fn command(&self, name: &str) -> String {
        let mut command = format!("kafka-topics.sh --bootstrap-server … --create --topic {name}");
        if self.partitions > 0 {
            command.push_str(&format!(" --partitions {}", self.partitions));
        }
        if self.replication_factor > 0 {
            command.push_str(&format!(" --replication-factor {}", self.replication_factor));
        }
        for (key, value) in self.config() {
            command.push_str(&format!(" --config {key}={value}"));
        }
        command
    }
}

/// Whether events may go to a topic of that name at all: the relay's own progress and Kafka's own topics are no place for
/// them, whatever a writer calls its aggregates.
pub(super) fn check_name(name: &str, progress_topic: &str) -> Result<(), Refusal> {
    let refuse = |reason: String| {
        Err(Refusal::new(
            Class::Name,
            reason,
            "The topic's name follows from the event: correct the writer, or the topic template ([outbox] topic)."
                .into(),
        ))
    };
    if name.is_empty() || name == "." || name == ".." {
        return refuse(format!("{name:?} is not a topic's name"));
    }
    if name.len() > TOPIC_NAME_MAX {
        return refuse(format!("the topic's name has {} characters and {TOPIC_NAME_MAX} are allowed", name.len()));
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(is_legal) {
        return refuse("a topic's name has only letters, digits, dots, underscores and hyphens".into());
    }
    if name.starts_with(RESERVED) {
        return refuse("names that begin with two underscores are Kafka's own".into());
    }
    if name == progress_topic {
        return refuse("it is the topic that witnesses what was delivered".into());
    }
    Ok(())
}

/// The first of `others` that Kafka [would confuse] with `name` in its metrics, and therefore does not let stand beside it.
///
/// [would confuse]: https://kafka.apache.org/documentation/#operations_topics
pub(super) fn colliding<'o>(name: &str, mut others: impl Iterator<Item = &'o str>) -> Option<&'o str> {
    let plain = |name: &str| name.replace('.', "_");
    let own = plain(name);
    others.find(|other| *other != name && plain(other) == own)
}

/// Why topics are not used, remembered for a while, so that many events for one do not ask the broker as often.
#[derive(Debug, Default)]
pub(super) struct Unusable(HashMap<Box<str>, (Refusal, Instant)>);

impl Unusable {
    /// Names remembered at most.
    const NAMES_MAX: usize = 8192;

    /// Why the topic cannot be used, as the broker last said it.
    pub(super) fn find(&self, name: &str) -> Option<&Refusal> {
        self.0.get(name).map(|(refusal, _)| refusal)
    }

    /// Whether that was said so lately that it need not be asked again.
    pub(super) fn is_fresh(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|(_, until)| Instant::now() < *until)
    }

    pub(super) fn remember(&mut self, name: &str, refusal: Refusal, time: Duration) {
        if self.0.len() >= Self::NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(name.into(), (refusal, Instant::now() + time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for legal in ["a", "outbox.event.Order_2-x", "_a", &"t".repeat(249)] {
            assert_eq!(check_name(legal, "progress"), Ok(()), "{legal}");
        }
        for illegal in
            ["", ".", "..", "a b", "a/b", "ä", "a\0", "a\n", "__consumer_offsets", "progress", &"t".repeat(250)]
        {
            assert_eq!(
                check_name(illegal, "progress").map_err(|refusal| refusal.class),
                Err(Class::Name),
                "{illegal:?}"
            );
        }
    }

    #[test]
    fn only_so_many_topics_are_created_and_all_openings_count_together() {
        let creation = TopicCreation { topics_max: 2, ..TopicCreation::default() };
        let another = creation.clone();
        assert_eq!(creation.permit("a"), Ok(()));
        assert_eq!(another.permit("b"), Ok(()));
        let refusal = creation.permit("c").expect_err("two were created");
        assert_eq!(refusal.class, Class::TooMany);
        assert!(refusal.reason.contains('2') && refusal.help.contains("topics.topics_max"), "{refusal:?}");
        another.give_back();
        assert_eq!(creation.permit("c"), Ok(()));
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_the_command_that_creates_it() {
        let allow = Some(Regex::new("^(?:orders\\..*)$").expect("valid"));
        let creation = TopicCreation { allow, partitions: 3, retention_ms: Some(5), ..TopicCreation::default() };
        assert_eq!(creation.permit("orders.a"), Ok(()));
        let refusal = creation.permit("x.orders.a").expect_err("not matching");
        assert!(
            refusal.help.ends_with("--topic x.orders.a --partitions 3 --config retention.ms=5"),
            "{}",
            refusal.help
        );
        let off = TopicCreation { create: false, ..TopicCreation::default() };
        assert!(off.permit("a").expect_err("off").reason.contains("topics.create"));
    }

    #[test]
    fn names_that_differ_only_by_dots_and_underscores_collide() {
        assert_eq!(colliding("a.b_c", ["a.b", "a_b.c", "a.b_c"].into_iter()), Some("a_b.c"));
        assert_eq!(colliding("a.b", ["a.b", "a-b"].into_iter()), None);
    }
}
