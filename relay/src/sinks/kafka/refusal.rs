//! What a refusal says, and what an error of a broker means for a record.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::pipeline::Kind;
use crate::pipeline::message::MessageRef;

/// What frames the records of a batch, in bytes.
pub(super) const BATCH_OVERHEAD: usize = 61;

/// librdkafka's bound for what frames a record, in bytes: `RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`.
const RECORD_OVERHEAD_MAX: usize = 36;

/// The longest varint that gives a length, in bytes; a header has two of them.
const VARINT_MAX: usize = 5;

/// How much an error shows of what a writer chose, in bytes: more than any topic's name and any UUID.
const SHOWN_BYTES: usize = 256;

/// The header that carries an event's id.
pub(super) const ID_HEADER: &str = "id";

/// The header that carries an event's position.
pub(super) const POSITION_HEADER: &str = "postrider-position";

/// Why a message is not taken, by what a person would have to mend: the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// The topic's name is illegal, reserved, or collides with another's.
    Name,
    /// The topic does not exist and may not be created.
    Missing,
    /// The relay has no right to the topic.
    Denied,
    /// More topics than may be created.
    TooMany,
    /// It is larger than the topic or the relay allows.
    Size,
    /// Its headers cannot be written.
    Header,
    /// It has no key and the topic is compacted.
    Key,
    /// The partition that it names does not exist.
    Partition,
    /// It was committed at a time that the topic does not accept.
    Time,
    /// A broker refused it.
    Broker,
}

impl Class {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::TooMany => "too_many",
            Self::Size => "size",
            Self::Header => "header",
            Self::Key => "key",
            Self::Partition => "partition",
            Self::Time => "time",
            Self::Broker => "broker",
        }
    }
}

/// Why something is not taken, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) class: Class,
    pub(super) reason: String,
    pub(super) help: String,
}

impl Refusal {
    pub(super) fn new(class: Class, reason: String, help: String) -> Self {
        Self { class, reason, help }
    }
}

/// What a refused message is called: its topic, its id and its position; what it says stays out.
pub(super) fn name_message(message: &MessageRef<'_>) -> String {
    let position = format!("{:032x}", message.position());
    let position = message.header(POSITION_HEADER).unwrap_or(position.as_bytes());
    name_event(message.topic(), message.header(ID_HEADER), Some(position))
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
        Code::InvalidTopic | Code::TopicAuthorizationFailed => Verdict::Refused,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Verdict::TopicChanged,
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
    /// The topic was deleted or made anew since it was looked at: it must be looked at again.
    TopicChanged,
    /// Not the record's.
    Failed(Kind),
}

/// What a message takes in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// At most, in bytes; never less than librdkafka reckons.
    pub(super) most: usize,
    /// Alone in an uncompressed [record batch], in bytes: exactly what a broker holds against a topic's limit.
    ///
    /// [record batch]: https://kafka.apache.org/documentation/#recordbatch
    pub(super) alone: usize,
}

impl Size {
    pub(super) fn of(message: &MessageRef<'_>) -> Self {
        let (key, value) = (message.key().map(<[u8]>::len), message.value().map(<[u8]>::len));
        let bytes = key.unwrap_or(0) + value.unwrap_or(0);
        // Attributes, the difference to the batch's time and that to its offset, which are nought.
        let mut record = 3 + prefixed(key) + prefixed(value) + varint(message.header_count());
        let mut headers = 0;
        for (name, value) in message.headers() {
            let value = value.map(<[u8]>::len);
            headers += name.len() + value.unwrap_or(0);
            record += prefixed(Some(name.len())) + prefixed(value);
        }
        Self {
            most: bytes + headers + RECORD_OVERHEAD_MAX + message.header_count() * 2 * VARINT_MAX,
            alone: BATCH_OVERHEAD + varint(record) + record,
        }
    }
}

/// Bytes of a field with its length before it; null is the length -1.
fn prefixed(len: Option<usize>) -> usize {
    len.map_or(1, |len| varint(len) + len)
}

/// Bytes of a length as a zigzag varint, which doubles it.
fn varint(len: usize) -> usize {
    let bits = usize::BITS - (len << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::{HeaderName, Message, Messages};

    #[test]
    fn a_message_is_named_by_its_headers_or_its_position_and_never_by_its_value() {
        let mut messages = Messages::over(Bytes::new());
        let value = messages.keep(b"secret");
        for headers in [0..0, 0..2] {
            let message = Message {
                topic: Arc::from("orders"),
                key: None,
                value: Some(value),
                headers,
                timestamp_ms: 1,
                position: 0xabc,
                route: 0,
            };
            messages.push(message);
        }
        let (id, position) = (messages.keep(b"0190-id"), messages.keep(b"0001/7"));
        messages.header(HeaderName::Static(ID_HEADER), Some(id));
        messages.header(HeaderName::Static(POSITION_HEADER), Some(position));
        let names: Vec<String> = messages.iter().map(|message| name_message(&message)).collect();
        assert_eq!(names[0], "event unknown at position 00000000000000000000000000000abc for topic \"orders\"");
        assert_eq!(names[1], "event 0190-id at position 0001/7 for topic \"orders\"");
    }

    #[test]
    fn a_record_alone_takes_what_the_format_says() {
        let mut messages = Messages::over(Bytes::new());
        let value = messages.keep(&[b'x'; 100]);
        messages.push(Message {
            topic: Arc::from("t"),
            key: None,
            value: Some(value),
            headers: 0..0,
            timestamp_ms: 1,
            position: 0,
            route: 0,
        });
        let size = Size::of(&messages.at(0).expect("one"));
        // Length 2; attributes, times, offset 3; no key 1; value 2 + 100; no headers 1.
        assert_eq!(size.alone, BATCH_OVERHEAD + 2 + 3 + 1 + 102 + 1);
        assert!(size.most >= 100 + RECORD_OVERHEAD_MAX);
        assert_eq!([varint(0), varint(63), varint(64), varint(8191), varint(8192)], [1, 1, 2, 2, 3]);
    }

    #[test]
    fn what_a_record_is_refused_for_is_told_from_what_ails_the_cluster() {
        assert_eq!(judge(Code::TopicAuthorizationFailed), Verdict::Refused);
        assert_eq!(judge(Code::MessageSizeTooLarge), Verdict::RequestRefused);
        assert_eq!(judge(Code::UnknownTopic), Verdict::TopicChanged);
        assert_eq!(judge(Code::PurgeQueue), Verdict::Failed(Kind::Unavailable));
        assert_eq!(judge(Code::Fenced), Verdict::Failed(Kind::Fenced));
        assert_eq!(judge(Code::Fatal), Verdict::Failed(Kind::Broken));
    }
}
