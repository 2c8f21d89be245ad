//! What a consumer receives: the headers and payload of a record, read into types, without a Kafka library.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::{Error, Field};
use crate::headers::{BAGGAGE, CAUSATION_ID, CORRELATION_ID, EVENT_TYPE, ID, POSITION, TRACEPARENT, TRACESTATE};
use crate::position::Position;

/// An event as its consumer sees it. It borrows from the record.
///
/// ```
/// use postrider::Envelope;
///
/// # fn main() -> Result<(), postrider::Error> {
/// # #[derive(serde::Deserialize)]
/// # struct OrderPlaced { total_cents: i64 }
/// // With rdkafka: `message.headers()` … `.iter().map(|header| (header.key, header.value))`.
/// let headers: [(&str, &[u8]); 3] = [
///     ("id", b"0190163d-8694-739b-aea5-966c26f8ad91"),
///     ("event_type", b"OrderPlaced"),
///     ("correlation-id", b"8f1c6a"),
/// ];
/// let envelope = Envelope::read(headers, Some(br#"{"total_cents": 1999}"#))?;
/// match envelope.event_type {
///     "OrderPlaced" => assert_eq!(envelope.json::<OrderPlaced>()?.total_cents, 1999),
///     _ => {} // An event type that this consumer does not know is not an error.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Envelope<'a> {
    /// The event's id: the same at every delivery. Give it to [`crate::inbox::first_time`].
    pub id: Uuid,
    /// What happened.
    pub event_type: &'a str,
    /// Where the event stands in the log; absent where the relay publishes in Debezium's form.
    pub position: Option<Position>,
    /// What ties together everything that one request set off.
    pub correlation_id: Option<&'a str>,
    /// The event or command that caused this one.
    pub causation_id: Option<&'a str>,
    /// The [W3C trace context](https://www.w3.org/TR/trace-context/) in which the event was written.
    pub traceparent: Option<&'a str>,
    /// What vendors add to the trace context.
    pub tracestate: Option<&'a str>,
    /// The [W3C baggage](https://www.w3.org/TR/baggage/).
    pub baggage: Option<&'a str>,
    /// The payload; `None` for a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    /// Reads the headers, in any order; those with other names are passed over. A header without value counts as absent.
    ///
    /// # Errors
    /// [`Error::Missing`] without `id` or `event_type`; [`Error::Refused`] for a header that appears twice, is not UTF-8, or
    /// does not hold what its name promises.
    pub fn read<V>(headers: impl IntoIterator<Item = (&'a str, V)>, payload: Option<&'a [u8]>) -> Result<Self, Error>
    where
        V: Into<Option<&'a [u8]>>,
    {
        const KNOWN: [&str; 8] =
            [ID, EVENT_TYPE, POSITION, CORRELATION_ID, CAUSATION_ID, TRACEPARENT, TRACESTATE, BAGGAGE];
        let mut values: [Option<&'a str>; 8] = [None; 8];
        for (name, value) in headers {
            let Some(index) = KNOWN.iter().position(|known| *known == name) else {
                continue;
            };
            let Some(value) = value.into() else { continue };
            let text = std::str::from_utf8(value).map_err(|_| refused(name, "is not UTF-8"))?;
            if values[index].replace(text).is_some() {
                return Err(refused(name, "appears twice"));
            }
        }
        let [id, event_type, position, correlation_id, causation_id, traceparent, tracestate, baggage] = values;
        let id = id.ok_or_else(|| missing(ID))?;
        Ok(Self {
            id: Uuid::try_parse(id).map_err(|_| refused(ID, "is not a UUID"))?,
            event_type: event_type.ok_or_else(|| missing(EVENT_TYPE))?,
            position: position.map(str::parse).transpose()?,
            correlation_id,
            causation_id,
            traceparent,
            tracestate,
            baggage,
            payload,
        })
    }

    /// Reads the payload as JSON. A tombstone reads as `null`, so it fits an `Option<T>`.
    ///
    /// # Errors
    /// [`Error::Json`] if the payload is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.payload.unwrap_or(b"null")).map_err(Error::Json)
    }
}

fn refused(name: &str, reason: &'static str) -> Error {
    Error::Refused { field: Field::Header(name.to_owned()), reason }
}

fn missing(name: &str) -> Error {
    Error::Missing { field: Field::Header(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID_TEXT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
    const REQUIRED: [(&str, &str); 2] = [(ID, ID_TEXT), (EVENT_TYPE, "OrderPlaced")];

    fn read<'a>(more: &[(&'a str, &'a str)]) -> Result<Envelope<'a>, Error> {
        let headers = REQUIRED.iter().chain(more).map(|(name, value)| (*name, value.as_bytes()));
        Envelope::read(headers.collect::<Vec<_>>(), None)
    }

    #[test]
    fn every_header_that_the_relay_writes_is_read() {
        let position = "000100000000016b3748000000000002";
        let envelope = read(&[
            (BAGGAGE, "b"),
            (TRACESTATE, "s"),
            (TRACEPARENT, "t"),
            (CAUSATION_ID, "ca"),
            (CORRELATION_ID, "co"),
            (POSITION, position),
            ("tenant", "acme"),
        ])
        .unwrap();
        assert_eq!(envelope.id.to_string(), ID_TEXT);
        assert_eq!(envelope.event_type, "OrderPlaced");
        assert_eq!(envelope.position.unwrap().to_string(), position);
        assert_eq!(envelope.correlation_id, Some("co"));
        assert_eq!(envelope.causation_id, Some("ca"));
        assert_eq!(envelope.traceparent, Some("t"));
        assert_eq!(envelope.tracestate, Some("s"));
        assert_eq!(envelope.baggage, Some("b"));
    }

    #[test]
    fn a_header_without_value_is_absent() {
        let headers: [(&str, Option<&[u8]>); 3] =
            [(ID, Some(ID_TEXT.as_bytes())), (EVENT_TYPE, Some(b"t")), (POSITION, None)];
        assert_eq!(Envelope::read(headers, None).unwrap().position, None);
        let headers: [(&str, Option<&[u8]>); 2] = [(ID, None), (EVENT_TYPE, Some(b"t"))];
        assert!(matches!(Envelope::read(headers, None), Err(Error::Missing { .. })));
    }

    #[test]
    fn what_is_missing_doubled_or_malformed_is_named() {
        let none: [(&str, &[u8]); 0] = [];
        let error = Envelope::read(none, None).unwrap_err();
        assert_eq!(error.to_string(), "header \"id\" is missing; is this a topic of outbox events?");
        for (header, reason) in [
            ((ID, ID_TEXT), "header \"id\" appears twice"),
            ((POSITION, "12"), "position is not 32 lowercase hexadecimal digits"),
        ] {
            assert_eq!(read(&[header]).unwrap_err().to_string(), reason);
        }
        let headers: [(&str, &[u8]); 1] = [(ID, b"\xff")];
        let error = Envelope::read(headers, None).unwrap_err();
        assert_eq!(error.to_string(), "header \"id\" is not UTF-8");
        let headers: [(&str, &[u8]); 2] = [(ID, b"7"), (EVENT_TYPE, b"t")];
        let error = Envelope::read(headers, None).unwrap_err();
        assert_eq!(error.to_string(), "header \"id\" is not a UUID");
    }

    #[test]
    fn a_tombstone_reads_as_null() {
        assert_eq!(read(&[]).unwrap().json::<Option<i32>>().unwrap(), None);
        assert!(matches!(read(&[]).unwrap().json::<i32>(), Err(Error::Json(_))));
    }
}
