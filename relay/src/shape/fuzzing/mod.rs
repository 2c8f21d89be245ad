//! What fuzzers call here: whatever a writer put into its row, nothing panics, nothing is changed, and nothing is forged.

mod changes;
mod envelopes;
mod globs;
mod router;
mod types;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use regex::Regex;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::pipeline::Messages;
use crate::shape::content::{self, Members};
use crate::shape::filter::Filter;
use crate::shape::headers;
use crate::shape::outbox::{Committed, EVENT_TYPE, ID, MALFORMED_HEADERS, Outbox, OutboxOptions, POSITION, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::{OutboxRow, RowTypes};
use crate::shape::topic::Topics;
use crate::shape::unfit::Unshapable;

pub use changes::shape_changes;
pub use envelopes::read_envelopes;
pub use globs::match_globs;
pub use router::route_rows;
pub use types::write_types;

/// An event's headers against a whole JSON parser: the same names and values, and nothing taken for an object that is none.
///
/// # Panics
/// If the two differ.
pub fn read_headers(data: &[u8]) {
    let mut found: Vec<(Cow<'_, str>, Option<Cow<'_, str>>)> = Vec::new();
    let read = headers::read(data, &mut |name, value| found.push((name, value)));
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(data) else {
        // What only the raw text may hold, such as 1e400, is an object all the same; anything else is not.
        let raw = serde_json::from_slice::<HashMap<String, &RawValue>>(data);
        assert!(read.is_err() || raw.is_ok(), "read as headers, and not an object");
        return;
    };
    read.expect("an object is read");
    // Of a name that comes twice the last one counts, as for jsonb; it travels twice.
    let last: HashMap<_, _> = found.into_iter().collect();
    assert_eq!(last.len(), object.len());
    for (name, value) in &object {
        match (value, last[name.as_str()].as_deref()) {
            (Value::String(text), found) => assert_eq!(found, Some(text.as_str())),
            (Value::Null, found) => assert_eq!(found, None),
            (value, Some(raw)) => assert_eq!(serde_json::from_str::<Value>(raw).as_ref().ok(), Some(value)),
            (_, None) => unreachable!("only null has no text"),
        }
    }
}

/// A row's columns as a server could send them.
#[derive(Debug, Arbitrary)]
struct Row<'r> {
    id: Option<&'r [u8]>,
    aggregate_type: Option<&'r [u8]>,
    aggregate_id: Option<&'r [u8]>,
    event_type: Option<&'r [u8]>,
    payload: Option<&'r [u8]>,
    payload_bytes: Option<&'r [u8]>,
    headers: Option<&'r [u8]>,
}

/// Rows of an outbox table: what is published is what was written, and a row that cannot be leaves no trace.
///
/// # Panics
/// If it is not.
pub fn shape_rows(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut outbox = Outbox::new(&OutboxOptions::usual("t.{aggregate_type}")).expect("a template");
    // The rows lie in the batch's arena, as those of a chunk do.
    let mut messages = Messages::over(Bytes::copy_from_slice(data));
    for ordinal in 0..8 {
        let Ok(row) = Row::arbitrary(&mut input) else { break };
        let row = OutboxRow {
            id: row.id,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            event_type: row.event_type,
            payload: row.payload,
            payload_bytes: row.payload_bytes,
            headers: row.headers,
            further: &[],
        };
        let position = EventPosition::new(1, 2, ordinal);
        let count = messages.len();
        let committed = Committed { position, timestamp_ms: 0 };
        match outbox.shape(&row, &RowTypes::default(), committed, &mut messages) {
            Shaped::Unfit(why) => {
                assert_eq!(messages.unfit().last().map(|unfit| unfit.index), Some(count));
                assert_eq!(messages.at(count).expect("it is kept").header_count(), 0);
                match why {
                    Unshapable::NullInTopic(_) => assert_eq!(row.aggregate_type, None),
                    Unshapable::NotHex => assert!(row.payload.is_none() && row.payload_bytes.is_some()),
                    other => unreachable!("no row of this form is unfit like this: {other}"),
                }
            }
            shaped => assert_shaped(&row, &shaped, position, count, &messages),
        }
    }
}

fn assert_shaped(row: &OutboxRow<'_>, shaped: &Shaped, position: EventPosition, at: usize, messages: &Messages) {
    let message = messages.at(at).expect("it was added");
    let aggregate_type = String::from_utf8_lossy(row.aggregate_type.expect("or there is no topic"));
    assert_eq!(message.topic(), format!("t.{aggregate_type}"));
    assert_eq!(message.key(), row.aggregate_id);
    match (row.payload, row.payload_bytes) {
        (Some(payload), _) => assert_eq!(message.value(), Some(payload)),
        (None, Some(hex)) => {
            let value = message.value().expect("it has bytes");
            let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex[2..].eq_ignore_ascii_case(digits.as_bytes()));
        }
        (None, None) => assert_eq!(message.value(), None),
    }
    let own: Vec<_> = message.headers().take(3).collect();
    let hex = position.to_hex();
    assert_eq!(own, [(ID, row.id), (EVENT_TYPE, row.event_type), (POSITION, Some(&hex[..]))]);
    let further: Vec<_> = message.headers().skip(3).collect();
    let malformed = further.iter().filter(|(name, _)| *name == MALFORMED_HEADERS).count();
    assert_eq!(malformed, usize::from(*shaped == Shaped::HeadersMalformed));
    if *shaped == Shaped::HeadersMalformed {
        assert_eq!(further, [(MALFORMED_HEADERS, row.headers)]);
    } else {
        assert!(further.iter().all(|(name, _)| !name.starts_with("postrider-") && *name != ID && *name != EVENT_TYPE));
    }
}

/// A topic template (the first line) and rows (the others, their columns between bars): the topic is the template with each
/// column in its place.
///
/// # Panics
/// If it is not.
pub fn name_topics(data: &[u8]) {
    static PLACEHOLDER: OnceLock<Regex> = OnceLock::new();
    let placeholder = PLACEHOLDER.get_or_init(|| {
        Regex::new(r"\{(aggregate_type|aggregate_id|event_type|id|column:tenant)\}").expect("a pattern")
    });
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(text)) = lines.next().map(str::from_utf8) else { return };
    let Ok(mut topics) = Topics::parse(text, &["tenant".to_owned()]) else {
        assert!(text.is_empty() || placeholder.replace_all(text, "").contains(['{', '}']), "{text:?} is a template");
        return;
    };
    // Twice, so that what is kept of the first round is seen in the second.
    for line in lines.clone().chain(lines) {
        let mut columns = line.split(|byte| *byte == b'|');
        let (aggregate_type, aggregate_id, event_type) = (columns.next(), columns.next(), columns.next());
        let (id, tenant) = (columns.next(), [columns.next()]);
        let row = OutboxRow { aggregate_type, aggregate_id, event_type, id, further: &tenant, ..OutboxRow::default() };
        let value = |name: &str| match name {
            "aggregate_type" => aggregate_type,
            "aggregate_id" => aggregate_id,
            "event_type" => event_type,
            "id" => id,
            _ => tenant[0],
        };
        let (mut expected, mut null, mut last) = (Vec::new(), false, 0);
        for found in placeholder.captures_iter(text) {
            let (whole, name) = (found.get(0).expect("it matched"), &found[1]);
            expected.extend_from_slice(&text.as_bytes()[last..whole.start()]);
            expected.extend_from_slice(value(name).unwrap_or_default());
            null |= value(name).is_none();
            last = whole.end();
        }
        expected.extend_from_slice(&text.as_bytes()[last..]);
        match topics.topic(&row) {
            Ok(topic) => assert_eq!((&*topic, null), (&*String::from_utf8_lossy(&expected), false)),
            Err(_) => assert!(null, "a topic of no null"),
        }
    }
}

/// A pattern (the first line) against values (the others): it fits as it would by the definition.
///
/// # Panics
/// If it does not.
pub fn filter_values(data: &[u8]) {
    // The definition takes the product of both in time.
    let data = &data[..data.len().min(512)];
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(pattern)) = lines.next().map(str::from_utf8) else { return };
    let only = || (vec![pattern.to_owned()], Vec::new());
    let except = || (Vec::new(), vec![pattern.to_owned()]);
    let mut filters = [Filter::new(only(), Default::default()), Filter::new(Default::default(), except())];
    for value in lines.clone().chain(lines) {
        let row = OutboxRow { aggregate_type: Some(value), event_type: Some(value), ..OutboxRow::default() };
        let fits = fits(pattern.as_bytes(), value);
        assert_eq!(filters.each_mut().map(|filter| filter.passes(&row)), [fits, !fits], "{pattern:?}");
    }
}

/// Whether a pattern fits: `fits[p]` says whether it does with its first `p` bytes, as the text grows.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut fits = vec![true];
    fits.extend(pattern.iter().scan(true, |before, byte| {
        *before &= *byte == b'*';
        Some(*before)
    }));
    for letter in text {
        let shorter = std::mem::replace(&mut fits, vec![false; pattern.len() + 1]);
        for (p, byte) in pattern.iter().enumerate() {
            fits[p + 1] = if *byte == b'*' { fits[p] || shorter[p + 1] } else { shorter[p] && byte == letter };
        }
    }
    fits[pattern.len()]
}

/// The content of a logical message against a whole JSON parser.
///
/// # Panics
/// If the two differ.
pub fn read_messages(data: &[u8]) {
    let name = |name: &str| Some(name.to_owned());
    let members = Members {
        id: name("id"),
        aggregate_type: name("aggregate_type"),
        aggregate_id: name("aggregate_id"),
        event_type: name("event_type"),
        payload: name("payload"),
        payload_bytes: name("payload_bytes"),
        headers: name("headers"),
        further: vec!["tenant".to_owned()],
    };
    let own = |value: Option<&[u8]>| value.map(|value| String::from_utf8(value.to_vec()).expect("text"));
    let read = content::read(data, &members, |row| {
        let texts = [row.id, row.aggregate_type, row.aggregate_id, row.event_type, row.payload_bytes, row.further[0]];
        (texts.map(own), own(row.payload), own(row.headers))
    });
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(data) else {
        let raw = serde_json::from_slice::<HashMap<String, &RawValue>>(data);
        assert!(read.is_err() || raw.is_ok(), "read as a message, and not an object");
        return;
    };
    let (texts, payload, headers) = read.expect("an object is read");
    let names = ["id", "aggregate_type", "aggregate_id", "event_type", "payload_bytes", "tenant"];
    for (name, text) in names.into_iter().zip(texts) {
        match object.get(name) {
            None | Some(Value::Null) => assert_eq!(text, None, "{name}"),
            Some(Value::String(value)) => assert_eq!(text.as_ref(), Some(value), "{name}"),
            Some(value) => assert_eq!(parse(text).as_ref(), Some(value), "{name}"),
        }
    }
    assert_eq!(parse(payload).as_ref(), object.get("payload"));
    assert_eq!(parse(headers).as_ref(), object.get("headers").filter(|headers| !headers.is_null()));
}

fn parse(text: Option<String>) -> Option<Value> {
    text.map(|text| serde_json::from_str(&text).expect("a part of a JSON text is one"))
}
