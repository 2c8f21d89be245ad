//! Tables of current rows: what the view shows is what the captured table holds.

use std::sync::Arc;

use bytes::Bytes;
use postrider_relay::pipeline::{Cut, Durable, HeaderName, Message, Messages, Part, Sink};
use postrider_relay::sinks::clickhouse::{OnTruncate, Unknown};
use serde_json::json;

use super::place::{Place, current, load};

pub(super) const USERS: &str = "create table users (
    id Int64, name String, email Nullable(String), bio Nullable(String), score Decimal(10, 2), since DateTime64(6, 'UTC'),
    _version UInt128, _deleted Bool
) engine = ReplacingMergeTree(_version, _deleted) order by id settings non_replicated_deduplication_window = 1000";

/// A change of a row, as the relay's capture writes it without schemas.
pub(super) struct Change<'c> {
    pub(super) op: &'c str,
    pub(super) key: &'c str,
    pub(super) before: &'c str,
    pub(super) after: &'c str,
    pub(super) at: u128,
}

/// A batch of these records from partition 0, the first at offset `first`.
pub(super) fn changes(first: i64, changes: &[Change<'_>]) -> Messages {
    let records: Vec<_> = changes
        .iter()
        .map(|change| {
            let Change { op, key, before, after, at } = change;
            let value = format!(
                r#"{{"before":{before},"after":{after},"source":{{"lsn":1,"ts_us":1700000000000000,"schema":"public","table":"users"}},"op":"{op}","ts_ms":1}}"#
            );
            (Some(key.to_string()), Some(value), Some(format!("{at:032x}")))
        })
        .collect();
    records_at(first, &records)
}

/// A batch of records: key, value, position.
pub(super) fn records_at(first: i64, records: &[(Option<String>, Option<String>, Option<String>)]) -> Messages {
    let position = |position: &Option<String>| position.clone().map(|text| ("postrider-position", text));
    let records: Vec<Record> = records
        .iter()
        .map(|(key, value, at)| (key.clone(), value.clone(), position(at).into_iter().collect()))
        .collect();
    headed_at(first, &records)
}

/// A record's key, value and headers.
pub(super) type Record = (Option<String>, Option<String>, Vec<(&'static str, String)>);

/// A batch of records from partition 0, the first at offset `first`.
pub(super) fn headed_at(first: i64, records: &[Record]) -> Messages {
    let topic: Arc<str> = Arc::from("t");
    let mut messages = Messages::over(Bytes::new());
    for (offset, (key, value, headers)) in (first..).zip(records) {
        let key = key.as_ref().map(|key| messages.keep(key.as_bytes()));
        let value = value.as_ref().map(|value| messages.keep(value.as_bytes()));
        let mark = messages.header_mark();
        for (name, value) in headers {
            let value = messages.keep(value.as_bytes());
            messages.header(HeaderName::Static(name), Some(value));
        }
        let headers = mark..messages.header_mark();
        let position = offset as u128;
        messages.push(Message {
            topic: Arc::clone(&topic),
            key,
            value,
            headers,
            timestamp_ms: 1_700_000_000_123,
            position,
            route: 0,
        });
    }
    messages.set_cut(Cut { topic, partition: 0, first, last: first + records.len() as i64 - 1, part: Part::default() });
    messages
}

pub(super) fn user(id: i64, name: &str, bio: &str) -> String {
    // 12.30 in Base64: the unscaled number 1230.
    format!(r#"{{"id":{id},"name":"{name}","email":null,"bio":{bio},"score":"BM4=","since":1700000000123456}}"#)
}

pub(super) fn key(id: i64) -> String {
    format!(r#"{{"id":{id}}}"#)
}

#[tokio::test]
async fn the_view_shows_the_rows_as_they_are_after_changes_deletions_and_changes_of_the_key() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    let (ann, bob, cid) = (user(1, "Ann", "null"), user(2, "Bob", "null"), user(3, "Cid", "null"));
    let renamed = user(1, "Anna", "\"b\\u0000io\"");
    let moved = user(9, "Bob", "null");
    let gone = r#"{"id":3,"name":null,"email":null,"bio":null,"score":null,"since":null}"#;
    let (one, two, three, nine) = (key(1), key(2), key(3), key(9));
    let mut batch = vec![
        Change { op: "r", key: &one, before: "null", after: &ann, at: 1 },
        Change { op: "c", key: &two, before: "null", after: &bob, at: 2 },
        Change { op: "c", key: &three, before: "null", after: &cid, at: 3 },
        Change { op: "u", key: &one, before: "null", after: &renamed, at: 4 },
        Change { op: "d", key: &three, before: gone, after: "null", at: 5 },
        Change { op: "d", key: &two, before: &bob, after: "null", at: 6 },
        Change { op: "c", key: &nine, before: "null", after: &moved, at: 7 },
    ];
    assert_eq!(load(&mut sink, changes(0, &batch)).await.unwrap(), Durable::default());
    // Again in other cuts, and in the wrong order: an older version replaces nothing.
    batch.reverse();
    assert_eq!(load(&mut sink, changes(100, &batch)).await.unwrap(), Durable::default());
    let shown = place.rows("select id, name, bio, toString(score), since from users__current order by id").await;
    assert_eq!(
        shown,
        [
            json!([1, "Anna", "b\0io", "12.3", "2023-11-14T22:13:20.123456Z"]),
            json!([9, "Bob", null, "12.3", "2023-11-14T22:13:20.123456Z"])
        ]
    );
}

#[tokio::test]
async fn a_tombstone_gives_no_row_and_an_event_is_refused() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    let records = [
        (Some(key(1)), None, None),
        (Some(key(1)), Some("null".to_owned()), None),
        (Some(key(1)), Some(r#"{"id":1}"#.to_owned()), None),
        (Some(key(1)), Some("{".to_owned()), None),
    ];
    let refused = sink.admit(&records_at(0, &records)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(refused[0].reason, "the record is no change of a captured table");
    assert_eq!(load(&mut sink, records_at(0, &records[..2])).await.unwrap(), Durable::default());
    assert_eq!(place.value("select count() from users").await, json!(0));
}

#[tokio::test]
async fn a_value_that_was_left_out_is_what_the_row_held_and_never_a_default() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    let left_out = "\"__debezium_unavailable_value\"";
    let (one, two, three) = (key(1), key(2), key(3));
    let written = user(1, "Ann", "\"long\"");
    let first = [Change { op: "c", key: &one, before: "null", after: &written, at: 1 }];
    assert_eq!(load(&mut sink, changes(0, &first)).await.unwrap(), Durable::default());

    // In the table; and earlier in the same batch.
    let (ann, bob, bobby) = (user(1, "Anna", left_out), user(2, "Bob", "\"short\""), user(2, "Bobby", left_out));
    let second = [
        Change { op: "u", key: &one, before: "null", after: &ann, at: 2 },
        Change { op: "c", key: &two, before: "null", after: &bob, at: 3 },
        Change { op: "u", key: &two, before: "null", after: &bobby, at: 4 },
    ];
    assert_eq!(load(&mut sink, changes(1, &second)).await.unwrap(), Durable::default());
    let shown = place.rows("select id, name, bio from users__current order by id").await;
    assert_eq!(shown, [json!([1, "Anna", "long"]), json!([2, "Bobby", "short"])]);

    // With REPLICA IDENTITY FULL the old row tells it; where nothing does, the record is refused.
    let (cid, was) = (user(3, "Cid", left_out), user(3, "C", "\"old\""));
    let (dan, four) = (user(4, "Dan", left_out), key(4));
    let third = [
        Change { op: "u", key: &three, before: &was, after: &cid, at: 5 },
        Change { op: "u", key: &four, before: "null", after: &dan, at: 6 },
    ];
    let refused = sink.admit(&changes(4, &third)).await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].index, 1);
    assert!(refused[0].reason.contains("column bio was left out"), "{}", refused[0].reason);
    assert!(refused[0].help.as_ref().unwrap().contains("REPLICA IDENTITY FULL"));
    assert_eq!(load(&mut sink, changes(4, &third[..1])).await.unwrap(), Durable::default());
    assert_eq!(place.value("select bio from users__current where id = 3").await, json!("old"));

    // Delivered again after the row was deleted, it has nothing to add, and is no dead letter.
    let deletion = [Change { op: "d", key: &one, before: &key(1), after: "null", at: 9 }];
    assert_eq!(load(&mut sink, changes(6, &deletion)).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, changes(1, &second[..1])).await.unwrap(), Durable::default());
    assert_eq!(place.value("select count() from users__current where id = 1").await, json!(0));
}

#[tokio::test]
async fn a_truncate_removes_what_is_older_and_nothing_that_came_after() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    let (ann, bob, cid) = (user(1, "Ann", "null"), user(2, "Bob", "null"), user(3, "Cid", "null"));
    let (one, two, three) = (key(1), key(2), key(3));
    let batch = [
        Change { op: "c", key: &one, before: "null", after: &ann, at: 1 },
        Change { op: "c", key: &two, before: "null", after: &bob, at: 2 },
        Change { op: "t", key: "null", before: "null", after: "null", at: 3 },
        Change { op: "c", key: &three, before: "null", after: &cid, at: 4 },
    ];
    for _ in 0..2 {
        assert_eq!(load(&mut sink, changes(0, &batch)).await.unwrap(), Durable::default());
        assert_eq!(place.rows("select id from users__current").await, [json!([3])]);
    }
    let mut refusing = current("users");
    refusing.on_truncate = OnTruncate::Refuse;
    let mut sink = place.open(&[refusing]).await;
    let refused = sink.admit(&changes(0, &batch)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_field_without_a_column_is_left_out_or_refused_or_gets_one() {
    let place = Place::with(&[USERS]).await;
    let wider = user(1, "Ann", "null").replace('}', ",\"device\":\"phone\",\"age\":7}");
    let one = key(1);
    let batch = [Change { op: "c", key: &one, before: "null", after: &wider, at: 1 }];
    let mut feed = current("users");
    assert_eq!(load(&mut place.open(&[feed.clone()]).await, changes(0, &batch)).await.unwrap(), Durable::default());
    feed.unknown = Unknown::Refuse;
    let refused = place.open(&[feed.clone()]).await.admit(&changes(0, &batch)).await.unwrap();
    assert_eq!(refused[0].reason, "the table has no column for the field device");
    feed.unknown = Unknown::Add;
    let newer = [Change { op: "u", key: &one, before: "null", after: &wider, at: 2 }];
    assert_eq!(load(&mut place.open(&[feed]).await, changes(1, &newer)).await.unwrap(), Durable::default());
    assert_eq!(place.rows("select id, device, age from users__current").await, [json!([1, "phone", 7])]);
}
