//! What Kafka will never take: known before a record enters the producer where it can be, and told by the broker else.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::pipeline::message::MessageRef;
use crate::pipeline::{End, Error, Kind, Messages};

/// The longest topic name, in characters, that [Kafka allows].
///
/// [Kafka allows]: https://github.com/apache/kafka/blob/4.1/clients/src/main/java/org/apache/kafka/common/internals/Topic.java
const TOPIC_NAME_MAX: usize = 249;

/// librdkafka's bound for what frames a record, in bytes: `RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`.
const RECORD_OVERHEAD_MAX: usize = 36;

/// The longest varint that gives a length, in bytes; a header has two of them.
const VARINT_MAX: usize = 5;

/// Memory that librdkafka spends on a message besides its bytes: the message, its list of headers, the allocator's share.
const MESSAGE_MEMORY: usize = 320;

/// Memory that librdkafka spends on a header besides its bytes.
const HEADER_MEMORY: usize = 80;

/// How much an error shows of what a writer chose, in bytes: more than any topic's name and any UUID.
const SHOWN_BYTES: usize = 256;

/// The header that carries an event's id.
pub(super) const ID_HEADER: &str = "id";

/// The header that carries an event's position.
pub(super) const POSITION_HEADER: &str = "postrider-position";

/// Refuses a batch of which one message can never be published. Else tells the memory it will take, in bytes.
pub(super) fn inspect(messages: &Messages, message_bytes_max: usize) -> Result<usize, Error> {
    let mut memory = 0;
    // Runs of messages go to the same topic, whose name is then the same memory.
    let mut allowed: *const str = "";
    for message in messages.iter() {
        let topic = message.topic();
        if !std::ptr::eq(allowed, topic) {
            check_topic(topic).map_err(|reason| refused(&message, &reason))?;
            allowed = topic;
        }
        let size = Size::of(&message).map_err(|reason| refused(&message, &reason))?;
        if size.wire > message_bytes_max {
            let reason = format!("it may take {} bytes and {message_bytes_max} are allowed", size.wire);
            return Err(refused(&message, &reason).with_help(
                "Raise message.max.bytes under [kafka.properties], and max.message.bytes of the topic with it.",
            ));
        }
        memory += size.memory;
    }
    Ok(memory)
}

/// Whether Kafka has no topic of that name, and why.
pub(super) fn check_topic(name: &str) -> Result<(), String> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(format!("{name:?} is not a topic's name"));
    }
    if name.len() > TOPIC_NAME_MAX {
        return Err(format!("the topic's name has {} characters and {TOPIC_NAME_MAX} are allowed", name.len()));
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name.bytes().all(is_legal) {
        true => Ok(()),
        false => Err("a topic's name has only letters, digits, dots, underscores and hyphens".into()),
    }
}

/// Names an event without telling what it says: its topic, its id and its position.
pub(super) fn name_event(topic: &str, id: Option<&[u8]>, position: Option<&[u8]>) -> String {
    let shown = |bytes: &[u8]| bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii().to_string();
    let text = |bytes: Option<&[u8]>| bytes.map_or("unknown".into(), shown);
    format!("event {} at position {} for topic \"{}\"", text(id), text(position), shown(topic.as_bytes()))
}

/// What a broker's or librdkafka's error says about a message that was not delivered.
pub(super) fn judge(code: Code) -> Verdict {
    match code {
        Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition => Verdict::Refused,
        // Of a request with several records the broker does not say, or not always, whose fault it was.
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat => Verdict::RequestRefused,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Verdict::Failed(Kind::Fenced),
        Code::ClusterAuthorizationFailed | Code::SaslAuthenticationFailed | Code::Authentication => {
            Verdict::Failed(Kind::Setup)
        }
        Code::Fatal | Code::GaplessGuarantee | Code::OutOfOrderSequenceNumber | Code::UnknownProducerId => {
            Verdict::Failed(Kind::Broken)
        }
        _ => Verdict::Failed(Kind::Unavailable),
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The record's own: sent again it would be refused again.
    Refused,
    /// The record's own or that of one that shared its request.
    RequestRefused,
    /// Not the record's.
    Failed(Kind),
}

fn refused(message: &MessageRef<'_>, reason: &str) -> Error {
    let event = name_event(message.topic(), message.header(ID_HEADER), message.header(POSITION_HEADER));
    Error::new(End::Sink, Kind::Refused, format!("kafka cannot take {event}: {reason}"))
}

/// What a message takes.
struct Size {
    /// In a request at most, in bytes; never less than librdkafka reckons.
    wire: usize,
    /// In librdkafka's queue, roughly, in bytes.
    memory: usize,
}

impl Size {
    fn of(message: &MessageRef<'_>) -> Result<Self, String> {
        let mut bytes = message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
        for (name, value) in message.headers() {
            if name.contains('\0') {
                return Err("the name of one of its headers holds a NUL character".into());
            }
            bytes += name.len() + value.map_or(0, <[u8]>::len);
        }
        let headers = message.header_count();
        Ok(Self {
            wire: bytes + RECORD_OVERHEAD_MAX + headers * 2 * VARINT_MAX,
            memory: bytes + MESSAGE_MEMORY + headers * HEADER_MEMORY,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::{HeaderName, Message};

    /// One message with an id, a position, another header and a value of `value_bytes`.
    fn one(topic: &str, header: &str, value_bytes: usize) -> Messages {
        let mut messages = Messages::over(Bytes::new());
        let id = messages.keep(b"0190-id");
        let position = messages.keep(b"0001/0/7");
        let name = messages.keep(header.as_bytes());
        let value = messages.keep(&vec![b'x'; value_bytes]);
        messages.header(HeaderName::Static(ID_HEADER), Some(id));
        messages.header(HeaderName::Static(POSITION_HEADER), Some(position));
        messages.header(HeaderName::Span(name), None);
        let headers = 0..messages.header_mark();
        messages.push(Message {
            topic: Arc::from(topic),
            key: None,
            value: Some(value),
            headers,
            timestamp_ms: 1,
            position: 7,
            route: 0,
        });
        messages
    }

    #[test]
    fn a_message_beyond_the_size_is_refused_by_name_and_without_its_value() {
        let error = inspect(&one("orders", "h", 2000), 1000).expect_err("too large");
        assert_eq!(error.kind(), Kind::Refused);
        let text = error.to_string();
        for part in ["0190-id", "0001/0/7", "orders", "1000"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("xx"), "{text}");
    }

    #[test]
    fn a_message_within_the_size_is_accounted_with_its_overhead() {
        let memory = inspect(&one("orders", "h", 500), 1000).expect("fits");
        assert!(memory > 500 + MESSAGE_MEMORY, "{memory}");
    }

    #[test]
    fn a_header_name_with_nul_is_refused() {
        let error = inspect(&one("orders", "a\0b", 1), 1000).expect_err("NUL");
        assert!(error.to_string().contains("NUL"), "{error}");
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for legal in ["a", "outbox.event.Order_2-x", &"t".repeat(249)] {
            assert_eq!(check_topic(legal), Ok(()), "{legal}");
        }
        for illegal in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"t".repeat(250)] {
            assert!(check_topic(illegal).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn an_illegal_topic_is_refused_before_anything_is_sent() {
        let error = inspect(&one("no topic", "h", 1), 1000).expect_err("illegal");
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("\"no topic\""), "{error}");
    }

    #[test]
    fn what_a_record_is_refused_for_is_told_from_what_ails_the_cluster() {
        assert_eq!(judge(Code::UnknownTopic), Verdict::Refused);
        assert_eq!(judge(Code::MessageSizeTooLarge), Verdict::RequestRefused);
        assert_eq!(judge(Code::PurgeQueue), Verdict::Failed(Kind::Unavailable));
        assert_eq!(judge(Code::Fenced), Verdict::Failed(Kind::Fenced));
        assert_eq!(judge(Code::Fatal), Verdict::Failed(Kind::Broken));
    }
}
