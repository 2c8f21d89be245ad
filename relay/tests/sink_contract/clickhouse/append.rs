//! Tables of events: a row for each record, whatever version of the event it is.

use postrider_relay::pipeline::{Durable, Messages, Sink};
use postrider_relay::sinks::clickhouse::{From, Part, Rows};
use serde_json::json;

use super::current::{Change, changes, records_at};
use super::place::{Place, append, load};

const EVENTS: &str = "create table events (
    event_time DateTime64(3, 'UTC'), user_id UUID, action LowCardinality(String), dwell_ms Nullable(UInt32),
    device_id LowCardinality(String) default 'unknown', tags Array(String) default [], kind String, place UInt64,
    received DateTime64(3, 'UTC')
) engine = MergeTree order by (user_id, event_time) settings non_replicated_deduplication_window = 1000";

const V1: &str =
    r#"{"event_time":"2025-10-18T10:30:45.123Z","user_id":"0b54e1f2-7c1c-4c8e-9d0c-3c7f3c6b9d10","action":"like"}"#;
const V2: &str = r#"{"event_time":"2025-10-18T10:30:45.123Z","user_id":"0b54e1f2-7c1c-4c8e-9d0c-3c7f3c6b9d10","action":"view","device_id":"abc","dwell_ms":2500,"tags":["a","ß"],"unheard":{"of":1}}"#;

fn events(first: i64, values: &[&str]) -> Messages {
    let records: Vec<_> = values.iter().map(|value| (None, Some((*value).to_owned()), None)).collect();
    records_at(first, &records)
}

fn feed() -> postrider_relay::sinks::clickhouse::Feed {
    let from = [
        ("kind", From::Constant("client".to_owned())),
        ("place", From::Part(Part::Offset)),
        ("received", From::Part(Part::Timestamp)),
    ];
    append("events", &from)
}

#[tokio::test]
async fn events_of_two_versions_go_into_one_batch_and_what_is_missing_is_null_or_the_default() {
    let place = Place::with(&[EVENTS]).await;
    let mut sink = place.open(&[feed()]).await;
    assert_eq!(load(&mut sink, events(5, &[V1, V2])).await.unwrap(), Durable::default());
    let rows =
        place.rows("select action, dwell_ms, device_id, tags, kind, place, received from events order by place").await;
    assert_eq!(
        rows,
        [
            json!(["like", null, "unknown", [], "client", 5, "2023-11-14T22:13:20.123Z"]),
            json!(["view", 2500, "abc", ["a", "ß"], "client", 6, "2023-11-14T22:13:20.123Z"]),
        ]
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_column_and_its_mend_and_the_rest_is_loaded() {
    let place = Place::with(&[EVENTS]).await;
    let mut sink = place.open(&[feed()]).await;
    let bad = [
        V1.replace("\"like\"", "null"),
        V1.replace("0b54e1f2", "0b54"),
        V2.replace("2500", "4294967296"),
        V2.replace("2500", "1.5"),
        V1.replace("2025-10-18T10:30:45.123Z", "yesterday"),
        V1.replace(",\"action\":\"like\"", ""),
        V2.replace("\"abc\"", "null"),
        "[1]".to_owned(),
        "not json".to_owned(),
    ];
    let mut values = vec![V1];
    values.extend(bad.iter().map(String::as_str));
    values.push(V2);
    let refused = sink.admit(&events(0, &values)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), (1..=bad.len()).collect::<Vec<_>>());
    for (refused, column) in
        refused.iter().zip(["action", "user_id", "dwell_ms", "dwell_ms", "event_time", "action", "device_id"])
    {
        assert!(refused.reason.contains(&format!("column {column}")), "{}", refused.reason);
        assert!(refused.help.as_ref().unwrap().contains("ALTER TABLE"), "{refused:?}");
        assert!(!refused.reason.contains("yesterday") && !refused.reason.contains("4294967296"), "{}", refused.reason);
    }
    let mut rest = events(0, &values);
    rest.remove(&refused.iter().map(|refused| refused.index).collect::<Vec<_>>());
    assert_eq!(load(&mut sink, rest).await.unwrap(), Durable::default());
    assert_eq!(place.value("select count() from events").await, json!(2));
}

#[tokio::test]
async fn changes_of_a_captured_table_can_be_appended_each_with_its_kind_and_position() {
    let likes = "create table likes (
        post_id Int64, user_id Nullable(Int64), op LowCardinality(String), was Nullable(Int64), position UInt128, at DateTime64(6, 'UTC')
    ) engine = MergeTree order by position settings non_replicated_deduplication_window = 1000";
    let place = Place::with(&[likes]).await;
    let from = [
        ("op", From::Part(Part::Operation)),
        ("was", From::Before("user_id".to_owned())),
        ("position", From::Part(Part::Position)),
        ("at", From::Part(Part::Committed)),
    ];
    let mut feed = append("likes", &from);
    feed.rows = Rows::Append { operations: vec!['c', 'd'] };
    let mut sink = place.open(&[feed]).await;
    let (new, old) = (r#"{"post_id":1,"user_id":2}"#, r#"{"post_id":1,"user_id":2}"#);
    let batch = [
        Change { op: "c", key: "{\"post_id\":1}", before: "null", after: new, at: 1 << 100 },
        Change { op: "u", key: "{\"post_id\":1}", before: old, after: new, at: 2 },
        Change { op: "d", key: "{\"post_id\":1}", before: old, after: "null", at: (1 << 100) + 1 },
    ];
    assert_eq!(load(&mut sink, changes(0, &batch)).await.unwrap(), Durable::default());
    let rows =
        place.rows("select op, post_id, user_id, was, toString(position), at from likes order by position").await;
    assert_eq!(
        rows,
        [
            json!(["c", 1, 2, null, "1267650600228229401496703205376", "2023-11-14T22:13:20.000000Z"]),
            json!(["d", 1, 2, 2, "1267650600228229401496703205377", "2023-11-14T22:13:20.000000Z"]),
        ]
    );
}

#[tokio::test]
async fn a_record_that_one_of_two_tables_refuses_gives_no_row_to_either() {
    let strict = "create table strict (action Enum8('like' = 1)) engine = MergeTree order by tuple() settings non_replicated_deduplication_window = 10";
    let place = Place::with(&[EVENTS, strict]).await;
    let mut sink = place.open(&[feed(), append("strict", &[])]).await;
    let values = [V1, V2, V1];
    let refused = sink.admit(&events(0, &values)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [1]);
    let mut rest = events(0, &values);
    rest.remove(&[1]);
    assert_eq!(load(&mut sink, rest).await.unwrap(), Durable::default());
    assert_eq!(place.rows("select (select count() from events), (select count() from strict)").await, [json!([2, 2])]);
}

#[tokio::test]
async fn a_table_that_was_mended_takes_what_it_refused_without_a_restart() {
    let place = Place::with(&[EVENTS]).await;
    let mut sink = place.open(&[feed()]).await;
    let long = V2.replace("2500", "4294967296");
    assert_eq!(sink.admit(&events(0, &[&long])).await.unwrap().len(), 1);
    place.run("alter table events modify column dwell_ms Nullable(UInt64)").await;
    // Delivered again by an order, as `postrider dlq replay` gives it.
    let mut replayed = events(0, &[&long]);
    replayed.set_salt(7);
    assert_eq!(sink.admit(&replayed).await.unwrap(), []);
    assert_eq!(load(&mut sink, replayed).await.unwrap(), Durable::default());
    assert_eq!(place.value("select dwell_ms from events").await, json!(4_294_967_296_u64));
}
