//! An event's own headers: a flat JSON object becomes record headers, without copying what needs no change.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why the headers of an event could not be read. Says nothing of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHeaders;

/// Reads the JSON object `json` and calls `each` with every name and value in order.
///
/// A string gives its text and `null` no value; a number, a boolean, an array or an object gives its JSON text as the
/// writer wrote it. A text without an escape is borrowed from `json`. After an error, `each` may have been called for
/// the headers before the malformed place.
pub fn read<'j>(
    json: &'j [u8],
    each: &mut dyn FnMut(Cow<'j, str>, Option<Cow<'j, str>>),
) -> Result<(), MalformedHeaders> {
    let text = str::from_utf8(json).map_err(|_| MalformedHeaders)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Flat { each }).map_err(|_| MalformedHeaders)?;
    deserializer.end().map_err(|_| MalformedHeaders)
}

/// Walks an object without building it.
struct Flat<'e, 'j> {
    each: &'e mut dyn FnMut(Cow<'j, str>, Option<Cow<'j, str>>),
}

/// A text that borrows where it can, which `Cow` alone does not do under serde.
#[derive(Deserialize)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

impl<'j> Visitor<'j> for Flat<'_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<Text<'j>, &'j RawValue>()? {
            let raw = value.get();
            let value = match raw.as_bytes().first() {
                Some(b'"') => Some(serde_json::from_str::<Text<'j>>(raw).map_err(serde::de::Error::custom)?.0),
                Some(b'n') => None,
                _ => Some(Cow::Borrowed(raw)),
            };
            (self.each)(name.0, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(json: &str) -> Result<Vec<(String, Option<String>)>, MalformedHeaders> {
        let mut found = Vec::new();
        read(json.as_bytes(), &mut |name, value| found.push((name.into_owned(), value.map(Cow::into_owned))))?;
        Ok(found)
    }

    #[test]
    fn each_kind_of_value_has_its_text() {
        for (json, value) in [
            (r#"{"h": "plain"}"#, Some("plain")),
            (r#"{"h": ""}"#, Some("")),
            (r#"{"h": "a \"quoted\" \u00e9\n"}"#, Some("a \"quoted\" é\n")),
            (r#"{"h": null}"#, None),
            (r#"{"h": 12345678901234567890.10}"#, Some("12345678901234567890.10")),
            (r#"{"h": true}"#, Some("true")),
            (r#"{"h": {"deep": [1, 2]}}"#, Some(r#"{"deep": [1, 2]}"#)),
        ] {
            assert_eq!(all(json), Ok(vec![("h".into(), value.map(str::to_owned))]), "{json}");
        }
        assert_eq!(all("{}"), Ok(vec![]));
        assert_eq!(all(r#"{"b": "1", "a": "2"}"#).map(|h| h[0].0.clone()), Ok("b".into()), "order is kept");
    }

    #[test]
    fn what_is_not_a_flat_object_is_malformed() {
        for json in ["", "null", "[]", "\"text\"", "7", "{", r#"{"a"}"#, r#"{"a": }"#, r#"{"a": "b"} x"#, "{a: 1}"] {
            assert_eq!(all(json), Err(MalformedHeaders), "{json}");
        }
        assert_eq!(read(b"{\"a\": \"\xff\"}", &mut |_, _| {}), Err(MalformedHeaders));
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        let json = br#"{"name": "value", "esc\u0061ped": "b\n"}"#;
        let mut borrowed = Vec::new();
        read(json, &mut |name, value| {
            borrowed.push((matches!(name, Cow::Borrowed(_)), matches!(value, Some(Cow::Borrowed(_)))));
        })
        .expect("well formed");
        assert_eq!(borrowed, [(true, true), (false, false)]);
    }
}
