//! Envelopes of ours and of Debezium, flat rows, events, and what is none of them.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::pipeline::{HeaderName, Message, Messages};

/// A batch of one record.
fn one(value: Option<&str>, position: Option<&str>) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    let mark = messages.header_mark();
    if let Some(position) = position {
        let span = messages.keep(position.as_bytes());
        messages.header(HeaderName::Static(POSITION), Some(span));
    }
    let value = value.map(|value| messages.keep(value.as_bytes()));
    messages.push(Message {
        topic: Arc::from("t"),
        key: None,
        value,
        headers: mark..messages.header_mark(),
        timestamp_ms: 7,
        position: 5,
        route: 0,
    });
    messages
}

fn change(messages: &Messages) -> Change<'_> {
    match Record::read(&messages.at(0).expect("one")) {
        Ok(Record::Change(change)) => change,
        other => panic!("{other:?}"),
    }
}

fn unreadable(value: &str) -> String {
    Record::read(&one(Some(value), None).at(0).expect("one")).expect_err("unreadable").to_string()
}

#[test]
fn an_envelope_of_ours_has_the_version_of_its_header() {
    let value = r#"{"before":null,"after":{"id":12345678901234567890,"n":1.10},"source":{"lsn":9,"schema":"public","table":"users","ts_us":1500},"op":"c","ts_ms":2}"#;
    let messages = one(Some(value), Some("00010000000000000009000000000002"));
    let change = change(&messages);
    assert_eq!((change.op, change.op.letter()), (Op::Create, "c"));
    assert_eq!(change.version, Some(0x0001_0000_0000_0000_0009_0000_0000_0002));
    assert_eq!((change.schema.as_deref(), change.table.as_deref()), (Some("public"), Some("users")));
    assert_eq!((change.committed_us, change.before.is_none()), (Some(1500), true));
    let after = change.after.expect("there");
    assert_eq!(after.get("id").map(Raw::get), Some("12345678901234567890"), "not rounded");
    assert_eq!(after.get("n").map(Raw::get), Some("1.10"), "as written");
    assert_eq!(after.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["id", "n"]);
}

#[test]
fn debeziums_envelope_has_a_version_of_its_lsn_and_its_offset_and_may_carry_a_schema() {
    let payload = r#"{"before":{"id":1},"after":null,"source":{"lsn":9,"ts_ms":3},"op":"d"}"#;
    let value = format!(r#"{{"schema":{{"type":"struct"}},"payload":{payload}}}"#);
    let messages = one(Some(&value), None);
    let change = change(&messages);
    assert_eq!(change.version, Some(9 << 48 | 5));
    assert_eq!(change.committed_us, Some(3000));
    assert_eq!(change.fields.map(Raw::get), Some(r#"{"type":"struct"}"#));
    assert_eq!(change.before.expect("there").get("id").map(Raw::get), Some("1"));
}

#[test]
fn a_flat_row_is_a_change_without_what_was_added_to_it() {
    let messages = one(Some(r#"{"id":1,"__deleted":"true","__lsn":4,"__table":"t"}"#), None);
    let change = change(&messages);
    assert_eq!((change.op, change.table.as_deref(), change.version), (Op::Delete, Some("t"), Some(4 << 48 | 5)));
    assert_eq!(change.before.expect("the row").iter().map(|(name, _)| name).collect::<Vec<_>>(), ["id"]);
}

#[test]
fn any_other_object_is_an_event_and_no_value_is_a_tombstone() {
    let messages = one(Some(r#"{"action":"view","op":"zoom","a\u0062":1,"a":1,"a":2}"#), None);
    let Ok(Record::Event(row)) = Record::read(&messages.at(0).expect("one")) else { panic!("no event") };
    assert_eq!(row.get("ab").map(Raw::get), Some("1"));
    assert_eq!(row.get("a").map(Raw::get), Some("2"), "the last one holds");
    for value in [None, Some("null"), Some(r#"{"schema":null,"payload":null}"#)] {
        assert!(matches!(Record::read(&one(value, None).at(0).expect("one")), Ok(Record::Tombstone)), "{value:?}");
    }
}

#[test]
fn what_cannot_be_read_says_why_and_nothing_of_the_content() {
    assert_eq!(unreadable("{\"secret\": tru"), "the value is not valid JSON at line 1, column 14");
    assert_eq!(unreadable("[1]"), "the value is not a JSON object");
    assert_eq!(unreadable("{\"op\":\"x\",\"after\":null}"), "`op` of the change is not one of c, u, d, r, t, m");
    assert_eq!(unreadable("{\"op\":\"c\",\"after\":3}"), "`after` of the change is not an object or null");
    assert_eq!(
        unreadable("{\"op\":\"c\",\"source\":3,\"after\":null}"),
        "`source` of the change is not a source block"
    );
    let messages = one(Some("{\"op\":\"c\",\"after\":null}"), Some("xyz"));
    let error = Record::read(&messages.at(0).expect("one")).expect_err("damaged");
    assert_eq!(error, Unreadable::Position);
}
