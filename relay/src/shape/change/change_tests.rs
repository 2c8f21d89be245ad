use bytes::Bytes;

use super::*;
use crate::shape::change::table::{Column, DataType, Identity, TypeKind};
use crate::shape::position::EventPosition;

fn column(name: &str, oid: u32, of: &str) -> Column {
    let of = DataType { oid, schema: "pg_catalog".into(), name: of.into(), kind: TypeKind::Base };
    Column { name: name.into(), of, modifier: -1, optional: true, default: None, has_default: false, generated: false }
}

fn users() -> Table {
    Table {
        schema: "public".into(),
        name: "users".into(),
        columns: vec![column("id", 20, "int8"), column("name", 25, "text")],
        key: vec![0],
        identity: Identity::Default,
    }
}

fn stamp() -> Stamp<'static> {
    Stamp {
        position: EventPosition::new(1, 8, 0),
        commit_us: 1_700_000_000_123_456,
        now_us: 1_700_000_000_223_456,
        xid: Some(742),
        lsn: Some(24),
        last_commit_lsn: None,
        snapshot: row::Snapshot::False,
        origin: None,
        origin_lsn: None,
        transaction: None,
    }
}

/// Key, and value up to its `source`, of each message.
fn shaped(change: Change<'_>) -> Vec<(String, String)> {
    let mut capture = Capture::new(&CaptureOptions::usual("app", "app", "cdc.{table}")).expect("valid");
    let form = capture.describe(&users()).expect("supported");
    let mut messages = Messages::over(Bytes::new());
    assert_eq!(capture.shape(&form, change, &stamp(), &mut messages), Shaped::Whole);
    let text =
        |bytes: Option<&[u8]>| bytes.map_or("-".into(), |bytes| String::from_utf8(bytes.to_vec()).expect("text"));
    let read = |message: crate::pipeline::MessageRef<'_>| {
        let value = text(message.value());
        let (rows, rest) = value.split_once(r#","source":"#).unwrap_or((&value, ""));
        let op = rest.split_once(r#""op":""#).map_or("", |(_, op)| &op[..1]);
        (text(message.key()), format!("{op} {rows}"))
    };
    messages.iter().map(read).collect()
}

#[test]
fn each_operation_has_its_messages() {
    const ONE: [Value<'static>; 2] = [Value::Text(b"1"), Value::Text(b"a\"b")];
    const TWO: [Value<'static>; 2] = [Value::Text(b"2"), Value::Unchanged];
    const KEY: [Value<'static>; 2] = [Value::Text(b"1"), Value::Null];
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let one = r#"{"id":1,"name":"a\"b"}"#;
    let two = r#"{"id":2,"name":"__debezium_unavailable_value"}"#;
    let key = r#"{"id":1}"#;
    let before = r#"{"id":1,"name":null}"#;
    assert_eq!(shaped(Change::Insert { new: &ONE }), [pair(key, &format!(r#"c {{"before":null,"after":{one}"#))]);
    assert_eq!(shaped(Change::Read { row: &ONE }), [pair(key, &format!(r#"r {{"before":null,"after":{one}"#))]);
    assert_eq!(
        shaped(Change::Update { old: None, new: &ONE }),
        [pair(key, &format!(r#"u {{"before":null,"after":{one}"#))]
    );
    let old = Old { values: &KEY, whole: false };
    let delete = pair(key, &format!(r#"d {{"before":{before},"after":null"#));
    assert_eq!(shaped(Change::Delete { old }), [delete.clone(), pair(key, " -")]);
    assert_eq!(
        shaped(Change::Update { old: Some(old), new: &TWO }),
        [delete, pair(key, " -"), pair(r#"{"id":2}"#, &format!(r#"c {{"before":null,"after":{two}"#))]
    );
    assert_eq!(shaped(Change::Truncate), [pair("-", r#"t {"before":null,"after":null"#)]);
}
