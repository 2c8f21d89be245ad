//! An event as a service writes it. An [`Event`] that exists is valid: every limit was checked when it was built.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::error::{Error, Field, check_bytes, check_text};
use crate::limits::{AGGREGATE_ID_BYTES_MAX, AGGREGATE_TYPE_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::{headers, jsonb};

/// An event that is valid: Postgres will store it and a broker with default limits will take it.
///
/// ```
/// use postrider::Event;
///
/// # fn main() -> Result<(), postrider::Error> {
/// #[derive(serde::Serialize)]
/// struct OrderPlaced {
///     total_cents: i64,
/// }
///
/// let event = Event::json("Order", 42, "OrderPlaced", &OrderPlaced { total_cents: 1999 })
///     .correlation_id("8f1c6a")
///     .header("tenant", "acme")
///     .build()?;
/// assert_eq!(event.aggregate_id(), "42");
/// assert_eq!(event.id().get_version_num(), 7);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    id: Uuid,
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    payload: Payload,
    headers: BTreeMap<String, String>,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// JSON text, stored as `jsonb` and published as Postgres prints it.
    Json(String),
    /// Bytes of any format, published as they are.
    Bytes(Vec<u8>),
    /// Nothing: a record with a null value, which removes its key from a compacted topic.
    Tombstone,
}

impl Event {
    /// An event whose payload is `payload`, written as JSON by serde.
    ///
    /// `aggregate_type` names the topic, `aggregate_id` is the record's key: events of one aggregate stay in order.
    /// Note that serde_json writes a floating-point NaN or infinity as `null`.
    pub fn json(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Display,
        event_type: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
    ) -> EventBuilder {
        let payload = serde_json::to_string(payload).map(Payload::Json);
        EventBuilder::new(
            aggregate_type.into(),
            aggregate_id.to_string(),
            event_type.into(),
            payload.map_err(Error::Json),
        )
    }

    /// An event whose payload is JSON already, for example from a [`serde_json::value::RawValue`].
    ///
    /// The text is not re-typed on its way: no number is rounded, no null is dropped.
    pub fn json_text(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Display,
        event_type: impl Into<String>,
        payload: impl Into<String>,
    ) -> EventBuilder {
        let text = payload.into();
        let grammar = serde_json::from_str::<IgnoredAny>(&text);
        EventBuilder::new(
            aggregate_type.into(),
            aggregate_id.to_string(),
            event_type.into(),
            grammar.map(|_| Payload::Json(text)).map_err(Error::Json),
        )
    }

    /// An event whose payload is bytes: Avro, Protobuf, or whatever its readers agreed on.
    pub fn bytes(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Display,
        event_type: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> EventBuilder {
        EventBuilder::new(
            aggregate_type.into(),
            aggregate_id.to_string(),
            event_type.into(),
            Ok(Payload::Bytes(payload.into())),
        )
    }

    /// An event without payload: a record with a null value, which removes its key from a compacted topic.
    ///
    /// JSON's `null` is something else: a payload of four bytes.
    pub fn tombstone(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Display,
        event_type: impl Into<String>,
    ) -> EventBuilder {
        EventBuilder::new(aggregate_type.into(), aggregate_id.to_string(), event_type.into(), Ok(Payload::Tombstone))
    }

    /// The event's id, by which consumers recognise a repeated delivery.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The kind of thing that the event is about.
    #[must_use]
    pub fn aggregate_type(&self) -> &str {
        &self.aggregate_type
    }

    /// The thing that the event is about.
    #[must_use]
    pub fn aggregate_id(&self) -> &str {
        &self.aggregate_id
    }

    /// What happened to it.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// What the event says.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The headers, by name.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// The headers as the column `headers` holds them.
    pub(crate) fn headers_json(&self) -> String {
        serde_json::to_string(&self.headers).expect("a map of strings is always JSON")
    }
}

/// An event in the making. Nothing is checked before [`EventBuilder::build`].
#[derive(Debug)]
#[must_use = "an event is made by `build` and travels only when it is written"]
pub struct EventBuilder {
    id: Option<Uuid>,
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    payload: Result<Payload, Error>,
    headers: BTreeMap<String, String>,
}

impl EventBuilder {
    fn new(aggregate_type: String, aggregate_id: String, event_type: String, payload: Result<Payload, Error>) -> Self {
        Self { id: None, aggregate_type, aggregate_id, event_type, payload, headers: BTreeMap::new() }
    }

    /// Uses this id instead of a new UUID v7, for example one that was derived from a command so that a retry makes the same event.
    ///
    /// Writing a second event with the same id fails.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the header `correlation-id`: it ties together everything that one request set off.
    pub fn correlation_id(self, id: impl Display) -> Self {
        self.header(headers::CORRELATION_ID, id.to_string())
    }

    /// Sets the header `causation-id`: the event or command that caused this one.
    pub fn causation_id(self, id: impl Display) -> Self {
        self.header(headers::CAUSATION_ID, id.to_string())
    }

    /// Sets the header [`traceparent`](https://www.w3.org/TR/trace-context/#traceparent-header) of the W3C trace context.
    ///
    /// A value of another form is refused by [`EventBuilder::build`]; test what comes from outside with
    /// [`headers::is_traceparent`] first, if a caller's bad header should not fail the write.
    pub fn traceparent(self, value: impl Into<String>) -> Self {
        self.header(headers::TRACEPARENT, value)
    }

    /// Sets the header [`tracestate`](https://www.w3.org/TR/trace-context/#tracestate-header) of the W3C trace context.
    pub fn tracestate(self, value: impl Into<String>) -> Self {
        self.header(headers::TRACESTATE, value)
    }

    /// Sets the header [`baggage`](https://www.w3.org/TR/baggage/).
    pub fn baggage(self, value: impl Into<String>) -> Self {
        self.header(headers::BAGGAGE, value)
    }

    /// Sets a header. A second value for the same name replaces the first.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Checks every field and makes the event.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::TooLarge`] or [`Error::Refused`] for the first field that does not keep its limit, and
    /// [`Error::Json`] for a payload that is not JSON.
    pub fn build(self) -> Result<Event, Error> {
        check_aggregate_type(&self.aggregate_type)?;
        check_text(Field::AggregateId, &self.aggregate_id, AGGREGATE_ID_BYTES_MAX)?;
        check_text(Field::EventType, &self.event_type, EVENT_TYPE_BYTES_MAX)?;
        headers::check(&self.headers)?;
        let payload = self.payload?;
        let payload_bytes = match &payload {
            Payload::Json(text) => jsonb::printed_bytes(text)?,
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Tombstone => 0,
        };
        check_bytes(Field::Payload, payload_bytes, PAYLOAD_BYTES_MAX)?;
        Ok(Event {
            id: self.id.unwrap_or_else(Uuid::now_v7),
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            event_type: self.event_type,
            payload,
            headers: self.headers,
        })
    }
}

/// An aggregate type becomes part of a topic's name, so it may hold only
/// [what such a name may hold](https://kafka.apache.org/documentation/#topicconfigs).
fn check_aggregate_type(value: &str) -> Result<(), Error> {
    let field = Field::AggregateType;
    check_text(field.clone(), value, AGGREGATE_TYPE_BYTES_MAX)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reason = if value == "." || value == ".." {
        "is '.' or '..', which a topic's name must not be"
    } else if !value.bytes().all(allowed) {
        "holds more than letters, digits, '.', '_' and '-', of which a topic's name is made"
    } else {
        return Ok(());
    };
    Err(Error::Refused { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(aggregate_type: &str, aggregate_id: &str, event_type: &str) -> Result<Event, Error> {
        Event::json_text(aggregate_type, aggregate_id, event_type, "{}").build()
    }

    #[test]
    fn ids_are_version_7_and_rise() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| order("Order", "1", "OrderPlaced").unwrap().id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn a_given_id_is_kept() {
        let id = Uuid::from_u128(7);
        let event = Event::tombstone("Order", 1, "OrderGone").id(id).build().unwrap();
        assert_eq!(event.id(), id);
    }

    #[test]
    fn each_name_holds_its_limit_at_the_edge() {
        order(&"a".repeat(AGGREGATE_TYPE_BYTES_MAX), "1", "t").unwrap();
        order("a", &"ü".repeat(AGGREGATE_ID_BYTES_MAX / 2), "t").unwrap();
        order("a", "1", &"t".repeat(EVENT_TYPE_BYTES_MAX)).unwrap();
        for (result, expected) in [
            (order(&"a".repeat(201), "1", "t"), Field::AggregateType),
            (order("a", &("ü".repeat(256) + "x"), "t"), Field::AggregateId),
            (order("a", "1", &"t".repeat(256)), Field::EventType),
        ] {
            assert!(matches!(result, Err(Error::TooLarge { field, .. }) if field == expected));
        }
        for (result, expected) in [
            (order("", "1", "t"), Field::AggregateType),
            (order("a", "", "t"), Field::AggregateId),
            (order("a", "1", ""), Field::EventType),
        ] {
            assert!(matches!(result, Err(Error::Empty { field }) if field == expected));
        }
        for (result, expected) in [
            (order("a b", "1", "t"), Field::AggregateType),
            (order("Ärger", "1", "t"), Field::AggregateType),
            (order("..", "1", "t"), Field::AggregateType),
            (order("a", "1\0", "t"), Field::AggregateId),
            (order("a", "1", "\0t"), Field::EventType),
        ] {
            assert!(matches!(result, Err(Error::Refused { field, .. }) if field == expected));
        }
    }

    #[test]
    fn a_payload_is_measured_as_postgres_prints_it() {
        // `[1,1,…]` grows by a space after each comma: n elements print as 3n bytes.
        let ones = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        Event::json_text("a", 1, "t", ones(PAYLOAD_BYTES_MAX / 3)).build().unwrap();
        let error = Event::json_text("a", 1, "t", ones(PAYLOAD_BYTES_MAX / 3 + 1)).build();
        assert!(matches!(error, Err(Error::TooLarge { field: Field::Payload, size: 1_000_002, .. })));
        Event::bytes("a", 1, "t", vec![0; PAYLOAD_BYTES_MAX]).build().unwrap();
        assert!(Event::bytes("a", 1, "t", vec![0; PAYLOAD_BYTES_MAX + 1]).build().is_err());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{} {}", "nul", "\"\u{1}\"", "01", "'a'"] {
            let result = Event::json_text("a", 1, "t", text).build();
            assert!(matches!(result, Err(Error::Json(_))), "{text}");
        }
        let keys = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Event::json("a", 1, "t", &keys).build(), Err(Error::Json(_))));
    }

    #[test]
    fn errors_do_not_repeat_what_was_refused() {
        let secret = "hunter2 ".repeat(100);
        let error = order("Order", &secret, "t").unwrap_err().to_string();
        assert_eq!(error, "aggregate_id: 800 bytes; at most 512 are allowed");
        let error = Event::json_text("a", 1, "t", "{}").header("h", secret.repeat(20)).build();
        assert!(!error.unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn headers_become_one_flat_json_object() {
        let event = Event::bytes("a", 1, "t", [0])
            .correlation_id("c")
            .causation_id(Uuid::nil())
            .header("tenant", "first")
            .header("tenant", "\"acme\"")
            .build()
            .unwrap();
        assert_eq!(
            event.headers_json(),
            r#"{"causation-id":"00000000-0000-0000-0000-000000000000","correlation-id":"c","tenant":"\"acme\""}"#
        );
    }
}
