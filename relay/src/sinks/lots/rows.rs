//! A message as a row of `postrider.parked`, and a row as a message again.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio_postgres::Row;

use crate::pipeline::parking::{Cause, Entry, KeyHash, weight};
use crate::pipeline::{End, Error, HeaderName, Kind, Message, MessageRef, Messages, Span};

/// The header whose value is shown as the event's id.
const ID_HEADER: &str = "id";
/// The headers whose value is shown as the event's type: ours, and the one of Debezium's router.
const TYPE_HEADERS: [&str; 2] = ["event_type", "eventType"];
/// How much of an id or a type is shown, in bytes.
const SHOWN_BYTES: usize = 255;

/// The columns of entries, as the arrays that one statement takes.
#[derive(Default)]
pub(super) struct Columns<'m> {
    pub(super) position: Vec<String>,
    pub(super) route: Vec<&'m str>,
    pub(super) topic: Vec<Cow<'m, str>>,
    pub(super) key: Vec<Option<&'m [u8]>>,
    pub(super) key_hash: Vec<Option<String>>,
    pub(super) value: Vec<Option<&'m [u8]>>,
    pub(super) headers: Vec<String>,
    pub(super) committed_ms: Vec<i64>,
    pub(super) event_id: Vec<Option<String>>,
    pub(super) event_type: Vec<Option<String>>,
    pub(super) bytes: Vec<i64>,
    pub(super) state: Vec<&'static str>,
    pub(super) reason: Vec<Option<String>>,
    pub(super) help: Vec<Option<String>>,
    pub(super) unfit: Vec<bool>,
    pub(super) order_broken: Vec<bool>,
    pub(super) partition: Vec<Option<i32>>,
}

impl<'m> Columns<'m> {
    pub(super) fn of(entries: &[Entry<'m>]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.push(entry);
        }
        columns
    }

    fn push(&mut self, entry: &Entry<'m>) {
        let message = entry.message;
        let topic = storable(message.topic());
        self.position.push(position(message.position()));
        self.route.push(entry.route);
        self.key.push(message.key());
        self.partition.push(message.partition());
        self.key_hash.push(message.key().map(|key| KeyHash::of(&topic, key).to_string()));
        self.topic.push(topic);
        self.value.push(message.value());
        self.headers.push(headers(&message));
        self.committed_ms.push(message.timestamp_ms());
        self.event_id.push(shown(message.header(ID_HEADER)));
        self.event_type.push(TYPE_HEADERS.iter().find_map(|name| shown(message.header(name))));
        self.bytes.push(i64::try_from(weight(&message)).unwrap_or(i64::MAX));
        let (state, refused, unfit) = match entry.cause {
            Cause::Refused { refused, unfit } => ("parked", Some(refused), unfit),
            Cause::Waiting => ("waiting", None, false),
        };
        self.state.push(state);
        self.reason.push(refused.map(|refused| plain(&refused.reason)));
        self.help.push(refused.and_then(|refused| refused.help.as_deref()).map(plain));
        self.unfit.push(unfit);
        self.order_broken.push(refused.is_some_and(|refused| refused.overtaken));
    }
}

/// A position as the table spells it.
pub(super) fn position(position: u128) -> String {
    format!("{position:032x}")
}

/// Reads it back.
pub(super) fn parse_position(text: &str) -> Result<u128, Error> {
    u128::from_str_radix(text, 16).map_err(|error| unreadable("a position").because(error))
}

/// The text as Postgres takes it: without NUL, which no topic's name holds anyhow.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "?").into() } else { text.into() }
}

/// Our own words as a database of any encoding takes them.
pub(super) fn plain(text: &str) -> String {
    let plain = text.replace('…', "...");
    plain.chars().map(|c| if c.is_ascii() && c != '\0' { c } else { '?' }).collect()
}

/// The start of a value that came from the database, whose encoding then has all of it.
fn shown(value: Option<&[u8]>) -> Option<String> {
    let text = String::from_utf8_lossy(value?);
    Some(text[..text.floor_char_boundary(SHOWN_BYTES)].replace(['\0', '\u{fffd}'], "?"))
}

/// Headers in order, as JSON: `[["id", "…"], ["raw", {"hex": "00ff"}], ["none", null]]`.
fn headers(message: &MessageRef<'_>) -> String {
    let pairs = message.headers().map(|(name, value)| {
        let value = match value.map(|bytes| (bytes, str::from_utf8(bytes))) {
            None => Value::Null,
            Some((_, Ok(text))) => Value::from(text),
            Some((bytes, Err(_))) => serde_json::json!({ "hex": hex(bytes) }),
        };
        Value::from(vec![Value::from(name), value])
    });
    Value::from_iter(pairs).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written to it");
        text
    })
}

/// The messages of rows with `position`, `topic`, `key`, `value`, `headers` as text, `committed_ms` and `partition`.
pub(super) fn messages(rows: &[Row]) -> Result<Messages, Error> {
    let mut messages = Messages::over(Bytes::new());
    for row in rows {
        let topic: &str = read(row, "topic")?;
        let key = read::<Option<&[u8]>>(row, "key")?.map(|key| messages.keep(key));
        let value = read::<Option<&[u8]>>(row, "value")?.map(|value| messages.keep(value));
        let headers = keep_headers(read(row, "headers")?, &mut messages)?;
        let message = Message {
            topic: Arc::from(topic),
            key,
            value,
            headers,
            timestamp_ms: read(row, "committed_ms")?,
            position: parse_position(read(row, "position")?)?,
            route: 0,
        };
        messages.push(message);
        if let Some(partition) = read(row, "partition")? {
            messages.choose_partition(partition);
        }
    }
    Ok(messages)
}

fn keep_headers(json: &str, messages: &mut Messages) -> Result<std::ops::Range<u32>, Error> {
    let pairs: Vec<(String, Value)> =
        serde_json::from_str(json).map_err(|error| unreadable("headers").because(error))?;
    let mark = messages.header_mark();
    for (name, value) in pairs {
        let value = keep_value(&value, messages)?;
        let name = messages.keep(name.as_bytes());
        messages.header(HeaderName::Span(name), value);
    }
    Ok(mark..messages.header_mark())
}

fn keep_value(value: &Value, messages: &mut Messages) -> Result<Option<Span>, Error> {
    match (value, value["hex"].as_str()) {
        (Value::Null, _) => Ok(None),
        (Value::String(text), _) => Ok(Some(messages.keep(text.as_bytes()))),
        (_, Some(hex)) => messages.keep_hex(hex.as_bytes()).map(Some).ok_or_else(|| unreadable("headers")),
        _ => Err(unreadable("headers")),
    }
}

/// A column of a row.
pub(super) fn read<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, Error> {
    row.try_get(column).map_err(|error| unreadable(column).because(error))
}

fn unreadable(what: &str) -> Error {
    Error::new(End::Sink, Kind::Refused, format!("a row of postrider.parked cannot be read: {what}")).with_help(
        "Was it changed by hand, or by a newer version? `postrider parked skip` lets its key go on without it.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with these headers.
    fn one(pairs: &[(&str, Option<&[u8]>)]) -> Messages {
        let mut messages = Messages::over(Bytes::new());
        for (name, value) in pairs {
            let name = messages.keep(name.as_bytes());
            let value = value.map(|value| messages.keep(value));
            messages.header(HeaderName::Span(name), value);
        }
        let headers = 0..messages.header_mark();
        let topic = Arc::from("t");
        messages.push(Message { topic, key: None, value: None, headers, timestamp_ms: 0, position: 1, route: 0 });
        messages
    }

    #[test]
    fn headers_come_back_in_their_order_whatever_they_hold() {
        let pairs: [(&str, Option<&[u8]>); 6] = [
            ("id", Some(b"7")),
            ("id", Some(b"again")),
            ("none", None),
            ("empty", Some(b"")),
            ("raw", Some(&[0, 255, 7])),
            ("a\0b", Some("ä\0\"".as_bytes())),
        ];
        let messages = one(&pairs);
        let json = headers(&messages.at(0).unwrap());
        let mut back = Messages::over(Bytes::new());
        let range = keep_headers(&json, &mut back).unwrap();
        let topic = Arc::from("t");
        let message = Message { topic, key: None, value: None, headers: range, timestamp_ms: 0, position: 1, route: 0 };
        back.push(message);
        assert_eq!(back.at(0).unwrap().headers().collect::<Vec<_>>(), pairs);
    }

    #[test]
    fn headers_that_nobody_of_us_wrote_are_refused() {
        for json in ["", "{}", r#"[["a"]]"#, r#"[["a", 7]]"#, r#"[["a", {"hex": "0"}]]"#, r#"[["a", {"hex": "zz"}]]"#] {
            let error = keep_headers(json, &mut Messages::over(Bytes::new())).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{json}");
        }
    }

    #[test]
    fn a_text_with_nul_becomes_one_that_postgres_takes() {
        assert_eq!(storable("a\0b"), "a?b");
        assert_eq!(plain("--bootstrap-server … ä\0"), "--bootstrap-server ... ??");
        assert_eq!(shown(Some("xä".repeat(200).as_bytes())).as_deref(), Some(&*"xä".repeat(85)));
        assert!(matches!(storable("ab"), Cow::Borrowed("ab")));
        assert_eq!(shown(Some(&[b'x'; 300])).map(|text| text.len()), Some(SHOWN_BYTES));
    }
}
