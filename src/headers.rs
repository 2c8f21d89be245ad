//! The headers of an event: a flat map of text to text, which the relay copies to the Kafka record under the same names.
//!
//! In the column `headers` they are one JSON object of strings.

use std::collections::BTreeMap;

use crate::error::{Error, Field, check_bytes, check_text};
use crate::limits::{HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX};

/// Ties together everything that one request or one command set off.
pub const CORRELATION_ID: &str = "correlation-id";
/// The id of the event or command that caused this event.
pub const CAUSATION_ID: &str = "causation-id";
/// [W3C trace context](https://www.w3.org/TR/trace-context/#traceparent-header): the span that wrote the event.
pub const TRACEPARENT: &str = "traceparent";
/// [W3C trace context](https://www.w3.org/TR/trace-context/#tracestate-header): what vendors add to it.
pub const TRACESTATE: &str = "tracestate";
/// [W3C baggage](https://www.w3.org/TR/baggage/).
pub const BAGGAGE: &str = "baggage";

/// The event's id. The relay writes it.
pub const ID: &str = "id";
/// The event's type. The relay writes it.
pub const EVENT_TYPE: &str = "event_type";
/// The event's position in the log. The relay writes it.
pub const POSITION: &str = "postrider-position";
/// Names that begin so are the relay's.
pub const RESERVED_PREFIX: &str = "postrider-";

/// Checks each header and all together.
pub(crate) fn check(headers: &BTreeMap<String, String>) -> Result<(), Error> {
    if headers.len() > HEADERS_MAX {
        return Err(Error::TooLarge {
            field: Field::Headers,
            size: headers.len(),
            limit: HEADERS_MAX,
            unit: "headers",
        });
    }
    for (name, value) in headers {
        check_text(Field::HeaderName, name, HEADER_NAME_BYTES_MAX)?;
        check_header(name, value)?;
    }
    let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    check_bytes(Field::Headers, bytes, HEADERS_BYTES_MAX)
}

fn check_header(name: &str, value: &str) -> Result<(), Error> {
    let field = || Field::Header(name.to_owned());
    let refused = |reason| Err(Error::Refused { field: field(), reason });
    if name == ID || name == EVENT_TYPE || name.starts_with(RESERVED_PREFIX) {
        return refused("is reserved: the relay writes it");
    }
    if value.contains('\0') {
        return refused("holds a NUL character, which Postgres cannot store");
    }
    check_bytes(field(), value.len(), HEADER_VALUE_BYTES_MAX)?;
    if name == TRACEPARENT && !is_traceparent(value) {
        return refused("is not a W3C traceparent");
    }
    Ok(())
}

/// Whether `value` has the form of a [`traceparent`](https://www.w3.org/TR/trace-context/#traceparent-header-field-values):
/// `version-traceid-parentid-flags` in lowercase hexadecimal, neither id all zeros. A version after 00 may append fields.
#[must_use]
pub fn is_traceparent(value: &str) -> bool {
    let mut parts = value.splitn(5, '-');
    let mut part = |length: usize| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (part(2), part(32), part(16), part(2)) else {
        return false;
    };
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let appended = parts.next().is_some();
    version != "ff" && !is_zero(trace) && !is_zero(parent) && (version != "00" || !appended)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn one(name: &str, value: &str) -> Result<(), Error> {
        check(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn takes_the_traceparent_of_the_standard_and_of_later_versions() {
        assert!(is_traceparent(TRACE));
        assert!(is_traceparent(&TRACE.replacen("00", "cc", 1)));
        assert!(is_traceparent(&(TRACE.replacen("00", "cc", 1) + "-what-comes")));
    }

    #[test]
    fn refuses_a_traceparent_that_is_cut_padded_uppercase_or_zero() {
        for value in [
            String::new(),
            TRACE[1..].to_owned(),
            TRACE.to_uppercase(),
            format!("{TRACE}-more"),
            format!(" {TRACE}"),
            TRACE.replacen("00", "ff", 1),
            TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            TRACE.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ] {
            assert!(!is_traceparent(&value), "{value}");
        }
        assert!(matches!(
            one(TRACEPARENT, "1"),
            Err(Error::Refused { field: Field::Header(name), .. }) if name == TRACEPARENT
        ));
    }

    #[test]
    fn the_names_that_the_relay_writes_are_reserved() {
        for name in [ID, EVENT_TYPE, POSITION, "postrider-anything"] {
            assert!(matches!(one(name, "x"), Err(Error::Refused { .. })), "{name}");
        }
        one("identity", "x").unwrap();
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        one(&"n".repeat(HEADER_NAME_BYTES_MAX), "x").unwrap();
        assert!(one(&"n".repeat(HEADER_NAME_BYTES_MAX + 1), "x").is_err());
        one("n", &"v".repeat(HEADER_VALUE_BYTES_MAX)).unwrap();
        assert!(one("n", &"v".repeat(HEADER_VALUE_BYTES_MAX + 1)).is_err());
        assert!(matches!(one("", "x"), Err(Error::Empty { .. })));
        assert!(matches!(one("a\0", "x"), Err(Error::Refused { .. })));
        assert!(matches!(one("a", "\0"), Err(Error::Refused { .. })));
        one("empty", "").unwrap();

        let many = |count: usize| (0..count).map(|n| (format!("name-{n}"), String::new())).collect();
        check(&many(HEADERS_MAX)).unwrap();
        assert!(matches!(check(&many(HEADERS_MAX + 1)), Err(Error::TooLarge { unit: "headers", .. })));

        // Four values of 8191 bytes and four names of one byte are 32 768 bytes.
        let large =
            |last: usize| (0..4).map(|n| (n.to_string(), "v".repeat(if n == 3 { last } else { 8_191 }))).collect();
        check(&large(8_191)).unwrap();
        assert!(matches!(check(&large(8_192)), Err(Error::TooLarge { field: Field::Headers, size: 32_769, .. })));
    }
}
