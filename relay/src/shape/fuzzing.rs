//! What fuzzers call here: whatever a writer put into its row, nothing panics, nothing is changed, and nothing is forged.

use std::borrow::Cow;
use std::collections::HashMap;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::pipeline::Messages;
use crate::shape::headers;
use crate::shape::outbox::{Committed, EVENT_TYPE, ID, MALFORMED_HEADERS, Outbox, OutboxOptions, POSITION, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::{OutboxRow, RowTypes};
use crate::shape::topic::Topics;
use crate::shape::unfit::Unshapable;

/// The placeholder that topics are fuzzed with.
const PLACEHOLDER: &str = "{aggregate_type}";

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
                    other => panic!("no row of this form is unfit like this: {other}"),
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

/// A topic template (the first line) and aggregate types (the others): the topic is the template with the type in its place.
///
/// # Panics
/// If it is not.
pub fn name_topics(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(text)) = lines.next().map(str::from_utf8) else { return };
    let others = ["{aggregate_id}", "{event_type}", "{id}"];
    if others.iter().any(|other| text.contains(other)) {
        return;
    }
    let Ok(mut topics) = Topics::parse(text, &[]) else {
        assert!(text.is_empty() || text.replace(PLACEHOLDER, "").contains(['{', '}']), "{text:?} is a template");
        return;
    };
    // Twice, so that what is kept of the first round is seen in the second.
    for aggregate_type in lines.clone().chain(lines) {
        let row = OutboxRow { aggregate_type: Some(aggregate_type), ..OutboxRow::default() };
        let topic = topics.topic(&row).expect("no null");
        assert_eq!(*topic, *text.replace(PLACEHOLDER, &String::from_utf8_lossy(aggregate_type)));
    }
}
