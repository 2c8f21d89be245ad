//! The content of a logical message that stands for a row: one JSON object, read in place.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::shape::row::OutboxRow;
use crate::shape::unfit::Unshapable;

/// The names of an object's members that hold the parts of an event; `None` for what messages never have.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The event's id.
    pub id: Option<String>,
    /// The kind of thing that the event is about.
    pub aggregate_type: Option<String>,
    /// The thing that the event is about.
    pub aggregate_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The payload: any JSON value, whose text is published as it is.
    pub payload: Option<String>,
    /// The payload as `bytea` prints it in hexadecimal digits.
    pub payload_bytes: Option<String>,
    /// The event's own headers.
    pub headers: Option<String>,
    /// The further ones, in the order of [`OutboxRow::further`].
    pub further: Vec<String>,
}

/// Reads `content` and gives the row that it stands for to `with`, as long as the texts that had to be unescaped live.
///
/// A member that is not there is null. Of the payload, JSON's null is a payload; everywhere else it is null. A string is its
/// text; a number, a boolean, an array or an object its JSON text as it stands.
///
/// # Errors
/// What is not such an object; says nothing of its content.
pub fn read<T>(content: &[u8], members: &Members, with: impl FnOnce(&OutboxRow<'_>) -> T) -> Result<T, Unshapable> {
    let malformed = |why: &str| Unshapable::MalformedMessage(why.to_owned());
    let text = str::from_utf8(content).map_err(|_| malformed("it is not UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let wrong = |error: serde_json::Error| {
        malformed(&format!("it stops being one at line {}, column {}", error.line(), error.column()))
    };
    let mut found = Found { further: vec![None; members.further.len()], ..Found::default() };
    deserializer.deserialize_map(Object { members, found: &mut found }).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    let further: Vec<Option<&[u8]>> = found.further.iter().map(as_bytes).collect();
    Ok(with(&OutboxRow {
        id: as_bytes(&found.id),
        aggregate_type: as_bytes(&found.aggregate_type),
        aggregate_id: as_bytes(&found.aggregate_id),
        event_type: as_bytes(&found.event_type),
        payload: found.payload.map(str::as_bytes),
        payload_bytes: as_bytes(&found.payload_bytes),
        headers: found.headers.map(str::as_bytes),
        further: &further,
    }))
}

fn as_bytes<'t>(value: &'t Option<Cow<'_, str>>) -> Option<&'t [u8]> {
    value.as_deref().map(str::as_bytes)
}

/// What was found so far.
#[derive(Default)]
struct Found<'c> {
    id: Option<Cow<'c, str>>,
    aggregate_type: Option<Cow<'c, str>>,
    aggregate_id: Option<Cow<'c, str>>,
    event_type: Option<Cow<'c, str>>,
    payload: Option<&'c str>,
    payload_bytes: Option<Cow<'c, str>>,
    headers: Option<&'c str>,
    further: Vec<Option<Cow<'c, str>>>,
}

/// Walks the object without building it.
struct Object<'f, 'm, 'c> {
    members: &'m Members,
    found: &'f mut Found<'c>,
}

/// A text that borrows where it can.
#[derive(Deserialize)]
struct Text<'c>(#[serde(borrow)] Cow<'c, str>);

impl<'c> Visitor<'c> for Object<'_, '_, 'c> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'c>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { members, found } = self;
        while let Some((Text(name), value)) = map.next_entry::<Text<'c>, &'c RawValue>()? {
            let is = |member: &Option<String>| member.as_deref() == Some(&*name);
            let raw = value.get();
            if is(&members.payload) {
                found.payload = Some(raw);
            } else if is(&members.headers) {
                found.headers = (raw != "null").then_some(raw);
            } else if is(&members.id) {
                found.id = text(raw).map_err(serde::de::Error::custom)?;
            } else if is(&members.aggregate_type) {
                found.aggregate_type = text(raw).map_err(serde::de::Error::custom)?;
            } else if is(&members.aggregate_id) {
                found.aggregate_id = text(raw).map_err(serde::de::Error::custom)?;
            } else if is(&members.event_type) {
                found.event_type = text(raw).map_err(serde::de::Error::custom)?;
            } else if is(&members.payload_bytes) {
                found.payload_bytes = text(raw).map_err(serde::de::Error::custom)?;
            }
            if let Some(index) = members.further.iter().position(|member| **member == *name) {
                found.further[index] = text(raw).map_err(serde::de::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// The text of a member's value; `None` for null.
fn text(raw: &str) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Text<'_>>(raw).map(|text| Some(text.0)),
        Some(b'n') => Ok(None),
        _ => Ok(Some(Cow::Borrowed(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        let some = |name: &str| Some(name.to_owned());
        Members {
            id: some("id"),
            aggregate_type: some("aggregate_type"),
            aggregate_id: some("aggregate_id"),
            event_type: some("event_type"),
            payload: some("payload"),
            payload_bytes: some("payload_bytes"),
            headers: some("headers"),
            further: vec!["tenant".to_owned(), "id".to_owned()],
        }
    }

    fn read_with<T>(content: &str, with: impl FnOnce(&OutboxRow<'_>) -> T) -> Result<T, Unshapable> {
        read(content.as_bytes(), &members(), with)
    }

    #[test]
    fn each_member_is_found_wherever_it_stands_and_a_payload_is_not_touched() {
        let content = r#"{"payload": {"total": 12345678901234567890.10, "a":[ 1 ]}, "id": "018f", "extra": {"x": [1]},
            "aggregate_type": "order", "aggregate_id": "a\u0022b", "event_type": 7, "headers": {"h": "v"}, "tenant": "acme"}"#;
        let checked = read_with(content, |row| {
            assert_eq!(row.payload, Some(&br#"{"total": 12345678901234567890.10, "a":[ 1 ]}"#[..]));
            assert_eq!(row.id, Some(&b"018f"[..]));
            assert_eq!(row.aggregate_type, Some(&b"order"[..]));
            assert_eq!(row.aggregate_id, Some(&b"a\"b"[..]));
            assert_eq!(row.event_type, Some(&b"7"[..]));
            assert_eq!(row.headers, Some(&br#"{"h": "v"}"#[..]));
            assert_eq!(row.further, [Some(&b"acme"[..]), Some(b"018f")]);
            // In place: nothing of it is copied.
            let place = row.payload.expect("there").as_ptr().addr() - content.as_ptr().addr();
            assert_eq!(place, content.find("{\"total").expect("there"));
        });
        assert_eq!(checked, Ok(()));
    }

    #[test]
    fn what_is_not_there_is_null_and_a_null_payload_is_a_payload() {
        let parts = |content| {
            read_with(content, |row| (row.id.is_some(), row.payload.map(<[u8]>::to_vec), row.headers.is_some()))
        };
        assert_eq!(parts("{}"), Ok((false, None, false)));
        assert_eq!(
            parts(r#"{"id": null, "payload": null, "headers": null}"#),
            Ok((false, Some(b"null".to_vec()), false))
        );
    }

    #[test]
    fn what_is_no_object_is_told_without_its_content() {
        for content in
            ["", "null", "[]", "\"x\"", "{", r#"{"id" "secret"}"#, r#"{"id": "secret"} x"#, r#"{"id": "\ud800"}"#]
        {
            let error = read_with(content, |_| ()).expect_err(content);
            assert!(matches!(error, Unshapable::MalformedMessage(_)), "{content}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(read(b"{\"id\": \"\xff\"}", &members(), |_| ()).is_err());
    }
}
