//! Records as a worker finds them in a topic that anybody may write to.

use std::collections::HashMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::pipeline::{HeaderName, Message, Messages};
use crate::shape::record::{Op, POSITION, Raw, Record, Row};

#[derive(Debug, Arbitrary)]
struct Case<'c> {
    position: Option<&'c [u8]>,
    /// What is around the text: nothing, a payload with its schema, or an envelope.
    around: u8,
    text: &'c [u8],
}

impl Case<'_> {
    fn value(&self) -> Vec<u8> {
        let text = self.text;
        match self.around % 4 {
            0 => text.to_vec(),
            1 => [b"{\"schema\":null,\"payload\":", text, b"}"].concat(),
            2 => [b"{\"op\":\"u\",\"before\":null,\"after\":", text, b",\"source\":{\"lsn\":7}}"].concat(),
            _ => [b"{\"op\":\"d\",\"source\":", text, b",\"before\":{\"a\":1}}"].concat(),
        }
    }
}

/// A record is read as what it is, by a whole JSON parser; or the reason why not holds none of its bytes.
///
/// # Panics
/// If not.
pub fn read_envelopes(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let value = case.value();
    let mut messages = Messages::over(Bytes::new());
    let mark = messages.header_mark();
    if let Some(position) = case.position {
        let span = messages.keep(position);
        messages.header(HeaderName::Static(POSITION), Some(span));
    }
    let span = messages.keep(&value);
    let headers = mark..messages.header_mark();
    let message = Message {
        topic: Arc::from("t"),
        key: None,
        value: Some(span),
        headers,
        timestamp_ms: 0,
        position: 1,
        route: 0,
    };
    messages.push(message);
    let message = messages.at(0).expect("one was pushed");
    let whole = serde_json::from_slice::<Json>(&value);
    let record = Record::read(&message);
    assert!(record.is_err() || serde_json::from_slice::<&RawValue>(&value).is_ok(), "what is read is JSON");
    match record {
        Ok(Record::Event(row)) => agree(&row, whole.ok().as_ref().map(|whole| content(&value, whole))),
        Ok(Record::Change(change)) => {
            let whole = whole.ok();
            let envelope = whole.as_ref().map(|whole| content(&value, whole));
            if let (Some(after), Some(envelope)) = (&change.after, envelope.filter(|found| found["after"].is_object()))
            {
                agree(after, Some(&envelope["after"]));
            }
            assert!(change.op != Op::Delete || change.before.is_some() || case.around % 4 < 2);
        }
        Ok(Record::Tombstone) => assert!(whole.is_ok(), "a tombstone is no damaged text"),
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 200 && said.is_ascii(), "what is said of a record is ours: {said:?}");
        }
    }
}

/// The record without the schema that goes along: two members, none of them written twice.
fn content<'w>(value: &[u8], whole: &'w Json) -> &'w Json {
    let has_schema = Row::parse(value).is_ok_and(|row| row.len() == 2 && row.get("schema").is_some());
    if has_schema { whole.get("payload").unwrap_or(whole) } else { whole }
}

/// Whether each member is what a whole parser finds; it may find nothing where a number is beyond any it can hold.
fn agree(row: &Row<'_>, whole: Option<&Json>) {
    let Some(whole) = whole else { return };
    let whole = whole.as_object().expect("a row is an object");
    let last: HashMap<&str, &str> = row.iter().map(|(name, value)| (name, value.get())).collect();
    assert_eq!(last.len(), whole.len(), "as many members");
    for (name, value) in whole {
        let own: Json = serde_json::from_str(last[name.as_str()]).expect("JSON");
        assert_eq!(&own, value);
        assert_eq!(row.get(name).map(Raw::get), Some(last[name.as_str()]), "the last one holds");
    }
}
