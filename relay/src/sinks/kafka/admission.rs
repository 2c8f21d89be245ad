//! What a topic will never take, decided before the record enters the producer.

use crate::pipeline::Messages;
use crate::pipeline::message::MessageRef;
use crate::sinks::kafka::options::{Compression, KafkaOptions, Untimely};
use crate::sinks::kafka::refusal::{Class, Refusal, Size};
use crate::sinks::kafka::topic::Topic;

/// What frames a batch of one record beyond the bytes that [`Messages::bytes`] counts, in bytes, and more.
const FRAME_MAX: usize = 256;

/// What the relay was told that decides about messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    message_bytes_max: usize,
    compression: Compression,
    untimely: Untimely,
}

impl Rules {
    pub(super) fn new(options: &KafkaOptions) -> Self {
        Self {
            message_bytes_max: options.message_bytes_max,
            compression: options.compression,
            untimely: options.untimely,
        }
    }

    /// Why the topic will never take the message; `largest` is [`largest_of`] its batch.
    pub(super) fn check(
        &self,
        topic: &Topic,
        message: &MessageRef<'_>,
        largest: usize,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        if message.headers().any(|(name, _)| name.contains('\0')) {
            return Err(Refusal::new(
                Class::Header,
                "the name of one of its headers holds a NUL character".into(),
                "Correct the writer: Kafka's clients cannot read such a name.".into(),
            ));
        }
        if largest > self.message_bytes_max.min(topic.limits.batch_bytes_max) {
            self.check_size(topic, message)?;
        }
        if topic.limits.keyed && message.key().is_none() {
            return Err(Refusal::new(
                Class::Key,
                "it has no key, and the topic is compacted".into(),
                format!("Write a key (aggregate_id), or: {} cleanup.policy=delete", alter(&topic.name)),
            ));
        }
        let partitions = topic.partition_count();
        if message.partition().is_some_and(|chosen| usize::try_from(chosen).map_or(true, |chosen| chosen >= partitions))
        {
            return Err(Refusal::new(
                Class::Partition,
                format!("it names a partition that topic {:?} does not have: there are {partitions}", topic.name),
                "Correct the column that names the partition, or add partitions to the topic.".into(),
            ));
        }
        if self.untimely == Untimely::Refuse && topic.limits.clamp(message.timestamp_ms(), now_ms).is_some() {
            return Err(Refusal::new(
                Class::Time,
                "it was committed at a time that the topic does not take".into(),
                format!(
                    "Correct the database's clock, let the relay publish with the nearest time (kafka.untimely = \"clamp\"), or: {} \
                     message.timestamp.before.max.ms=…,message.timestamp.after.max.ms=…",
                    alter(&topic.name)
                ),
            ));
        }
        Ok(())
    }

    fn check_size(&self, topic: &Topic, message: &MessageRef<'_>) -> Result<(), Refusal> {
        let (size, own, its) = (Size::of(message), self.message_bytes_max, topic.limits.batch_bytes_max);
        if size.most > own {
            return Err(Refusal::new(
                Class::Size,
                format!("it may take {} bytes and the relay sends {own} at most", size.most),
                "Raise message.max.bytes under [kafka.properties], and max.message.bytes of the topic with it.".into(),
            ));
        }
        // Compressed it may pass: then the topic is the judge, and nothing else is on its way meanwhile.
        if size.alone > its && self.compression == Compression::None {
            return Err(Refusal::new(
                Class::Size,
                format!("it takes {} bytes and the topic allows {its}", size.alone),
                raise_limit(&topic.name, Some(size.alone)),
            ));
        }
        Ok(())
    }
}

/// What one message of a batch takes in a request at most, in bytes: usually far less than any limit, so that no message needs
/// to be measured.
pub(super) fn largest_of(messages: &Messages) -> usize {
    messages.bytes() + FRAME_MAX
}

/// Whether the topic must be asked by sending the message alone: uncompressed it is too large.
pub(super) fn must_go_alone(topic: &Topic, message: &MessageRef<'_>, largest: usize) -> bool {
    largest > topic.limits.batch_bytes_max && Size::of(message).alone > topic.limits.batch_bytes_max
}

/// The command that makes a topic take larger records.
pub(super) fn raise_limit(topic: &str, bytes: Option<usize>) -> String {
    let bytes = bytes.map_or("…".to_owned(), |bytes| bytes.to_string());
    format!("Raise the topic's limit: {} max.message.bytes={bytes}", alter(topic))
}

fn alter(topic: &str) -> String {
    format!("kafka-configs.sh --bootstrap-server … --alter --topic {topic} --add-config")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::{HeaderName, Message};
    use crate::sinks::kafka::topic::{Description, Limits};

    const NOW_MS: i64 = 1_800_000_000_000;

    /// One message with a header of this name and a value of so many bytes.
    fn one(header: &str, value_bytes: usize, key: Option<&[u8]>) -> Messages {
        let mut messages = Messages::over(Bytes::new());
        let name = messages.keep(header.as_bytes());
        let value = messages.keep(&vec![b'x'; value_bytes]);
        let key = key.map(|key| messages.keep(key));
        messages.header(HeaderName::Span(name), None);
        messages.push(Message {
            topic: Arc::from("orders"),
            key,
            value: Some(value),
            headers: 0..1,
            timestamp_ms: NOW_MS,
            position: 7,
            route: 0,
        });
        messages
    }

    fn check(options: &KafkaOptions, limits: Limits, messages: &Messages) -> Result<(), Refusal> {
        let topic = Topic::new("orders".into(), &Description { partitions: 1, limits });
        Rules::new(options).check(&topic, &messages.at(0).expect("one"), largest_of(messages), NOW_MS)
    }

    fn class(outcome: Result<(), Refusal>) -> Option<Class> {
        outcome.err().map(|refusal| refusal.class)
    }

    #[test]
    fn a_message_beyond_the_relays_or_the_topics_size_is_refused_with_both_numbers() {
        let mut options = KafkaOptions::new("broker:9092");
        options.message_bytes_max = 1000;
        let refusal = check(&options, Limits::UNKNOWN, &one("h", 2000, None)).expect_err("too large");
        assert!(refusal.reason.contains("1000") && refusal.help.contains("message.max.bytes"), "{refusal:?}");
        assert_eq!(check(&options, Limits::UNKNOWN, &one("h", 500, None)), Ok(()));

        options.message_bytes_max = 1_000_000;
        let limits = Limits { batch_bytes_max: 1000, ..Limits::UNKNOWN };
        assert_eq!(check(&options, limits, &one("h", 2000, None)), Ok(()), "compressed it may pass");
        options.compression = Compression::None;
        let refusal = check(&options, limits, &one("h", 2000, None)).expect_err("too large");
        assert!(refusal.reason.contains("allows 1000"), "{refusal:?}");
        assert!(refusal.help.contains("kafka-configs.sh") && refusal.help.contains("--topic orders"), "{refusal:?}");
        assert_eq!(check(&options, limits, &one("h", 900, None)), Ok(()));
    }

    #[test]
    fn what_the_topic_cannot_hold_is_refused_whatever_its_size() {
        let options = KafkaOptions::new("broker:9092");
        assert_eq!(class(check(&options, Limits::UNKNOWN, &one("a\0b", 1, None))), Some(Class::Header));
        let compacted = Limits { keyed: true, ..Limits::UNKNOWN };
        assert_eq!(class(check(&options, compacted, &one("h", 1, None))), Some(Class::Key));
        assert_eq!(check(&options, compacted, &one("h", 1, Some(b""))), Ok(()), "an empty key is a key");
    }

    #[test]
    fn an_untimely_message_is_refused_only_where_that_is_asked_for() {
        let mut options = KafkaOptions::new("broker:9092");
        let past = Limits { before_max_ms: 1000, ..Limits::UNKNOWN };
        let mut late = Messages::over(Bytes::new());
        late.push(Message {
            topic: Arc::from("orders"),
            key: None,
            value: None,
            headers: 0..0,
            timestamp_ms: NOW_MS - 5000,
            position: 8,
            route: 0,
        });
        assert_eq!(check(&options, past, &late), Ok(()));
        options.untimely = Untimely::Refuse;
        assert_eq!(class(check(&options, past, &late)), Some(Class::Time));
        assert_eq!(check(&options, Limits::UNKNOWN, &late), Ok(()));
    }
}
