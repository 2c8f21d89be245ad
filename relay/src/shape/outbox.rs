//! A row of the outbox table becomes a message: topic, key, value, headers.
//!
//! Guarantee: a payload is published as Postgres prints it, byte for byte; `payload_bytes` as the writer gave them.

use std::borrow::Cow;

use thiserror::Error;

use crate::pipeline::{HeaderName, Message, Messages};
use crate::shape::headers;
use crate::shape::position::EventPosition;
use crate::shape::topic::TopicTemplate;

/// The header that carries the event's id.
pub const ID: &str = "id";
/// The header that carries the event's type.
pub const EVENT_TYPE: &str = "event_type";
/// The header that carries the event's position, see [`EventPosition`].
pub const POSITION: &str = "postrider-position";
/// What the names of the relay's further headers begin with; a writer's header cannot.
const RESERVED_PREFIX: &str = "postrider-";
/// The header that carries the text of an event's headers when they are not a flat JSON object.
pub const MALFORMED_HEADERS: &str = "postrider-malformed-headers";

/// The columns of one outbox row, in the text form in which Postgres sends them; `None` is SQL null.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboxRow<'r> {
    /// The event's id.
    pub id: Option<&'r [u8]>,
    /// What chooses the topic.
    pub aggregate_type: Option<&'r [u8]>,
    /// The key.
    pub aggregate_id: Option<&'r [u8]>,
    /// The event's type.
    pub event_type: Option<&'r [u8]>,
    /// The payload as text.
    pub payload: Option<&'r [u8]>,
    /// The payload as `bytea` in hex form, used where `payload` is null.
    pub payload_bytes: Option<&'r [u8]>,
    /// The event's own headers, a JSON object.
    pub headers: Option<&'r [u8]>,
}

/// Why a row cannot become a message. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unshapable {
    /// Without an aggregate type there is no topic.
    #[error("its aggregate type is null, so it has no topic")]
    NoAggregateType,
    /// The bytes are not in the form that the session asked for.
    #[error("its payload bytes are not in the hex form of bytea")]
    NotHex,
}

/// What became of a row's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shaped {
    /// All went well.
    Whole,
    /// The message carries the malformed text in [`MALFORMED_HEADERS`].
    HeadersMalformed,
}

/// Shapes the rows of one outbox table.
#[derive(Debug)]
pub struct Outbox {
    topic: TopicTemplate,
}

impl Outbox {
    /// Shapes rows to topics named by `topic`.
    #[must_use]
    pub fn new(topic: TopicTemplate) -> Self {
        Self { topic }
    }

    /// Adds the message of `row`, whose slices lie best in the arena of `messages`: then nothing is copied.
    ///
    /// A row without payload becomes a tombstone; a row without aggregate id a record without key.
    pub fn shape(
        &mut self,
        row: &OutboxRow<'_>,
        position: EventPosition,
        timestamp_ms: i64,
        messages: &mut Messages,
    ) -> Result<Shaped, Unshapable> {
        let topic = self.topic.topic(row.aggregate_type.ok_or(Unshapable::NoAggregateType)?);
        let value = match (row.payload, row.payload_bytes) {
            (Some(text), _) => Some(messages.span_of(text)),
            (None, Some(hex)) => {
                Some(hex.strip_prefix(b"\\x").and_then(|digits| messages.keep_hex(digits)).ok_or(Unshapable::NotHex)?)
            }
            (None, None) => None,
        };
        let mark = messages.header_mark();
        let id = row.id.map(|id| messages.span_of(id));
        messages.header(HeaderName::Static(ID), id);
        let event_type = row.event_type.map(|event_type| messages.span_of(event_type));
        messages.header(HeaderName::Static(EVENT_TYPE), event_type);
        let hex = messages.keep(&position.to_hex());
        messages.header(HeaderName::Static(POSITION), Some(hex));
        let shaped = row.headers.map_or(Shaped::Whole, |json| own_headers(json, messages));
        let key = row.aggregate_id.map(|key| messages.span_of(key));
        let headers = mark..messages.header_mark();
        messages.push(Message { topic, key, value, headers, timestamp_ms, position: position.as_u128(), route: 0 });
        Ok(shaped)
    }
}

/// Adds the event's own headers. A name that the relay writes itself is left out: a consumer must be able to trust it.
fn own_headers(json: &[u8], messages: &mut Messages) -> Shaped {
    if json == b"{}" {
        return Shaped::Whole;
    }
    let mark = messages.header_mark();
    let read = headers::read(json, &mut |name, value: Option<Cow<'_, str>>| {
        if !matches!(&*name, ID | EVENT_TYPE) && !name.starts_with(RESERVED_PREFIX) {
            let name = messages.span_of(name.as_bytes());
            let value = value.map(|value| messages.span_of(value.as_bytes()));
            messages.header(HeaderName::Span(name), value);
        }
    });
    if read.is_ok() {
        return Shaped::Whole;
    }
    messages.header_truncate(mark);
    let raw = messages.span_of(json);
    messages.header(HeaderName::Static(MALFORMED_HEADERS), Some(raw));
    Shaped::HeadersMalformed
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const FULL: OutboxRow<'static> = OutboxRow {
        id: Some(b"018f"),
        aggregate_type: Some(b"order"),
        aggregate_id: Some(b"42"),
        event_type: Some(b"OrderPlaced"),
        payload: Some(br#"{"total": 1.10}"#),
        payload_bytes: None,
        headers: Some(br#"{"correlation-id": "c-1"}"#),
    };

    fn shape(row: &OutboxRow<'_>) -> (Messages, Result<Shaped, Unshapable>) {
        let mut outbox = Outbox::new(TopicTemplate::parse("t.{aggregate_type}").expect("valid"));
        let mut messages = Messages::over(Bytes::new());
        let shaped = outbox.shape(row, EventPosition::new(1, 2, 3), 1_700_000_000_123, &mut messages);
        (messages, shaped)
    }

    fn header(messages: &Messages, name: &str) -> Option<String> {
        let message = messages.at(0).expect("shaped");
        message.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_row_becomes_topic_key_value_and_headers() {
        let (messages, shaped) = shape(&FULL);
        assert_eq!(shaped, Ok(Shaped::Whole));
        let message = messages.at(0).expect("shaped");
        assert_eq!(message.topic(), "t.order");
        assert_eq!(message.key(), Some(&b"42"[..]));
        assert_eq!(message.value(), FULL.payload);
        assert_eq!(message.timestamp_ms(), 1_700_000_000_123);
        let names: Vec<_> = message.headers().map(|(name, _)| name).collect();
        assert_eq!(names, [ID, EVENT_TYPE, POSITION, "correlation-id"]);
        assert_eq!(header(&messages, POSITION).as_deref(), Some("00010000000000000002000000000003"));
        assert_eq!(header(&messages, "correlation-id").as_deref(), Some("c-1"));
    }

    #[test]
    fn payload_bytes_are_the_writers_own_bytes() {
        let row = OutboxRow { payload: None, payload_bytes: Some(b"\\x00ff10"), ..FULL };
        let (messages, _) = shape(&row);
        assert_eq!(messages.at(0).expect("shaped").value(), Some(&[0, 255, 16][..]));
        let (_, shaped) = shape(&OutboxRow { payload: None, payload_bytes: Some(b"\\377"), ..FULL });
        assert_eq!(shaped, Err(Unshapable::NotHex));
    }

    #[test]
    fn nulls_are_a_tombstone_and_a_record_without_key() {
        let (messages, shaped) = shape(&OutboxRow { payload: None, aggregate_id: None, headers: None, ..FULL });
        assert_eq!(shaped, Ok(Shaped::Whole));
        let message = messages.at(0).expect("shaped");
        assert_eq!((message.key(), message.value()), (None, None));
    }

    #[test]
    fn without_an_aggregate_type_there_is_no_message() {
        let (messages, shaped) = shape(&OutboxRow { aggregate_type: None, ..FULL });
        assert_eq!(shaped, Err(Unshapable::NoAggregateType));
        assert!(messages.is_empty());
        assert_eq!(messages.header_mark(), 0);
    }

    #[test]
    fn malformed_headers_travel_as_text_and_the_event_is_not_lost() {
        let (messages, shaped) = shape(&OutboxRow { headers: Some(br#"{"a": "1", ["#), ..FULL });
        assert_eq!(shaped, Ok(Shaped::HeadersMalformed));
        assert_eq!(header(&messages, MALFORMED_HEADERS).as_deref(), Some(r#"{"a": "1", ["#));
        assert_eq!(header(&messages, "a"), None);
        assert_eq!(header(&messages, ID).as_deref(), Some("018f"));
    }

    #[test]
    fn a_writer_cannot_forge_the_headers_of_the_relay() {
        let forged = br#"{"postrider-position": "ffff", "postrider-malformed-headers": "{", "id": "x", "event_type": "y", "other": "z"}"#;
        let (messages, _) = shape(&OutboxRow { headers: Some(forged), ..FULL });
        let names: Vec<_> = messages.at(0).expect("shaped").headers().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, [ID, EVENT_TYPE, POSITION, "other"]);
        assert_eq!(header(&messages, ID).as_deref(), Some("018f"));
    }
}
