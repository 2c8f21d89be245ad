//! What goes wrong while reading, in words: what, where, and what a person can do.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::pipeline::{End, Error, Kind};
use crate::sources::kafka::note::Unreadable;

/// How to see and set what a group has committed.
const SET_OFFSETS: &str = "kafka-consumer-groups.sh --bootstrap-server … --reset-offsets --execute";

/// A place in a topic, for words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whereabouts<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

impl Whereabouts<'_> {
    fn setting_offsets(&self, how: &str) -> String {
        format!("{SET_OFFSETS} --group {} --topic {}:{} {how}", self.group, self.topic, self.partition)
    }

    /// The note beside the committed offset cannot be relied on.
    pub(super) fn note(&self, offset: i64, why: Unreadable) -> Error {
        let Self { group, topic, partition } = self;
        let set = self.setting_offsets(&format!("--to-offset {offset}"));
        let (what, help) = match why {
            Unreadable::Foreign => (
                "was committed by another program",
                format!(
                    "Give this worker a group of its own (load.group, invalidate.group); or, if the other program has left the group for good, take its offset over: {set}"
                ),
            ),
            Unreadable::Newer => (
                "was committed by a later version of Postrider",
                format!(
                    "Run that version until it has stopped in order, or take the offset over without its note: {set}"
                ),
            ),
            Unreadable::Damaged => (
                "has a damaged note, so that nobody can tell how the batch after it was cut",
                format!(
                    "Take the offset over without its note: {set}. What was in flight may then be counted twice where tables only append."
                ),
            ),
        };
        let context = format!("the offset {offset} of group {group:?} in {topic:?}, partition {partition}, {what}");
        Error::new(End::Source, Kind::Setup, context).with_help(help)
    }

    /// Records are gone that were never read.
    pub(super) fn lost(&self, next: i64, low: i64) -> Error {
        let Self { group, topic, partition } = self;
        let count = low - next;
        let context = format!(
            "{count} offsets of topic {topic:?}, partition {partition}, were removed before group {group:?} read them: it stands at {next}, and the first that is there is {low}"
        );
        Error::new(End::Source, Kind::Gap, context).with_help(
            "Raise the topic's retention.ms and retention.bytes, take the tables in anew by a snapshot, or start once with --accept-gap, which goes on behind the gap.",
        )
    }

    /// The partition ends before the place that was read already.
    pub(super) fn ends_before(&self, next: i64, high: i64) -> Error {
        let Self { group, topic, partition } = self;
        let context = format!(
            "topic {topic:?}, partition {partition}, ends at {high}, though group {group:?} has read it up to {next}: the topic was deleted and created anew, or its log was cut off"
        );
        Error::new(End::Source, Kind::Gap, context).with_help(self.recreated_help())
    }

    /// Another record lies where the last one was that was delivered.
    pub(super) fn recreated(&self, offset: i64) -> Error {
        let Self { group, topic, partition } = self;
        let context = format!(
            "the record at offset {offset} of topic {topic:?}, partition {partition}, is not the one that group {group:?} delivered: the topic was deleted and created anew, or its log was cut off and written again"
        );
        Error::new(End::Source, Kind::Gap, context).with_help(self.recreated_help())
    }

    fn recreated_help(&self) -> String {
        let set = self.setting_offsets("--to-earliest");
        format!(
            "To read the new topic from its beginning, start once with --accept-gap, or set the offset: {set}. What the old one held and was not read is lost to this worker."
        )
    }

    /// The broker does not serve the partition to this member.
    pub(super) fn refused(&self, code: Code) -> Error {
        let Self { topic, partition, .. } = self;
        let (kind, help) = match code {
            Code::TopicAuthorizationFailed => (Kind::Setup, grant("topic", topic)),
            _ => (Kind::Broken, "See the broker's log.".to_owned()),
        };
        Error::new(End::Source, kind, format!("topic {topic:?}, partition {partition}, cannot be read"))
            .because(code)
            .with_help(help)
    }
}

/// A command that grants the right to read.
pub(super) fn grant(kind: &str, name: &str) -> String {
    format!(
        "Grant the worker Read on the {kind}: kafka-acls.sh --bootstrap-server … --add --allow-principal User:… --operation Read --{kind} {name}"
    )
}

/// What an error of the consumer as a whole means; `None` for what passes by itself. `reason` is librdkafka's, which names the topic.
pub(super) fn of_consumer(code: Code, reason: &str, group: &str, is_fatal: bool) -> Option<Error> {
    let setup = |what: String, help: String| {
        Some(Error::new(End::Source, Kind::Setup, what).because(reason.to_owned()).with_help(help))
    };
    match code {
        Code::GroupAuthorizationFailed => {
            setup(format!("the worker may not join the consumer group {group:?}"), grant("group", group))
        }
        Code::TopicAuthorizationFailed => {
            setup("the worker may not read a topic".into(), grant("topic", topic_in(reason)))
        }
        Code::InconsistentGroupProtocol => setup(
            format!("the consumer group {group:?} has members that share partitions in another way"),
            format!(
                "Give this worker a group of its own (load.group, invalidate.group), or end the other members first; they show by kafka-consumer-groups.sh --bootstrap-server … --describe --members --verbose --group {group}. All members must have the same consumer.protocol."
            ),
        ),
        Code::InvalidGroupId => setup(format!("the broker does not take the group name {group:?}"), "Set load.group or invalidate.group to another name.".into()),
        Code::InvalidSessionTimeout => setup(
            "the broker does not take the session timeout".into(),
            "Set consumer.session_timeout_ms between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms.".into(),
        ),
        Code::FencedInstanceId => Some(
            Error::new(
                End::Source,
                Kind::Fenced,
                format!("another member of group {group:?} took this one's name"),
            )
            .because(reason.to_owned())
            .with_help("Give each process its own consumer.instance_id."),
        ),
        Code::UnsupportedVersion if is_fatal => setup(
            "the broker does not know this way to share partitions".into(),
            "Set consumer.protocol = \"classic\": the other needs brokers from 4.0 on.".into(),
        ),
        _ if is_fatal => Some(
            Error::new(End::Source, Kind::Broken, format!("the consumer of group {group:?} is beyond use"))
                .because(reason.to_owned()),
        ),
        _ => None,
    }
}

/// The topic that librdkafka's words name, such as `Subscribed topic not available: orders: Broker: …`.
fn topic_in(reason: &str) -> &str {
    reason.split(": ").nth(1).unwrap_or("…")
}

/// A commit that no repetition mends; `None` for one that is repeated.
pub(super) fn of_commit(code: Code, group: &str, topic: &str) -> Option<Error> {
    let context = format!("offsets of topic {topic:?} cannot be committed for group {group:?}");
    let error = Error::new(End::Source, Kind::Setup, context).because(code);
    match code {
        Code::GroupAuthorizationFailed => Some(error.with_help(grant("group", group))),
        Code::TopicAuthorizationFailed => Some(error.with_help(grant("topic", topic))),
        Code::OffsetMetadataTooLarge => Some(error.with_help(
            "Raise the brokers' offset.metadata.max.bytes to its default of 4096: the note says how batches are cut, so that none counts twice.",
        )),
        Code::FencedInstanceId => of_consumer(code, &code.to_string(), group, true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Whereabouts<'static> = Whereabouts { group: "loader", topic: "cdc.users", partition: 2 };

    #[test]
    fn each_error_says_what_where_and_what_to_do() {
        for (error, words) in [
            (HERE.note(7, Unreadable::Foreign), vec!["another program", "load.group", "--to-offset 7"]),
            (HERE.note(7, Unreadable::Newer), vec!["later version"]),
            (HERE.note(7, Unreadable::Damaged), vec!["damaged", "--topic cdc.users:2"]),
            (HERE.lost(10, 30), vec!["20 offsets", "stands at 10", "is 30", "--accept-gap", "retention"]),
            (HERE.ends_before(10, 3), vec!["ends at 3", "up to 10", "deleted and created anew", "--accept-gap"]),
            (HERE.recreated(9), vec!["offset 9", "deleted and created anew"]),
            (HERE.refused(Code::TopicAuthorizationFailed), vec!["--operation Read", "--topic cdc.users"]),
        ] {
            let text = format!("{} | {}", error.chain(), error.help().unwrap_or_default());
            for word in words.into_iter().chain(["cdc.users", "2"]) {
                assert!(text.contains(word), "{word:?} is not said in: {text}");
            }
        }
    }

    #[test]
    fn what_passes_by_itself_is_no_error_and_the_rest_says_what_to_do() {
        assert!(of_consumer(Code::BrokerTransportFailure, "", "g", false).is_none());
        assert!(of_commit(Code::RebalanceInProgress, "g", "t").is_none());
        let reason = "Subscribed topic not available: cdc.users: Broker: Topic authorization failed";
        let error = of_consumer(Code::TopicAuthorizationFailed, reason, "g", false).expect("a person must mend it");
        assert!(error.help().is_some_and(|help| help.contains("--topic cdc.users")), "{error:?}");
        for code in [Code::GroupAuthorizationFailed, Code::InconsistentGroupProtocol, Code::FencedInstanceId] {
            assert!(of_consumer(code, "", "g", false).is_some_and(|error| error.help().is_some()), "{code:?}");
        }
    }
}
