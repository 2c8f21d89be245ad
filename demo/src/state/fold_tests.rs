//! Each fault that a stream of records can have is found, and none where there is none.

use serde_json::{Value, json};

use crate::state::fold::{Flaws, Folder, Record, Row};

/// A record of the table `t` at this position, of the row with this key.
fn record(position: u128, key: u64, op: &str, before: &Value, after: &Value) -> Record {
    let value = json!({"before": before, "after": after, "op": op, "ts_ms": position as u64});
    Record {
        table: "t".into(),
        partition: 0,
        position: Some(position),
        key: Some(json!({"id": key}).to_string().into_bytes()),
        value: Some(value.to_string().into_bytes()),
        old_key: None,
    }
}

fn create(position: u128, key: u64, n: u64) -> Record {
    record(position, key, "c", &json!(null), &json!({"id": key, "n": n}))
}

fn update(position: u128, key: u64, n: &Value) -> Record {
    record(position, key, "u", &json!(null), &json!({"id": key, "n": n}))
}

fn delete(position: u128, key: u64) -> Record {
    record(position, key, "d", &json!({"id": key, "n": null}), &json!(null))
}

fn tombstone(position: u128, key: u64) -> Record {
    Record { value: None, ..delete(position, key) }
}

fn keyless(record: Record) -> Record {
    Record { key: None, ..record }
}

fn folded(records: Vec<Record>) -> (Vec<Row>, Flaws) {
    let mut folder = Folder::default();
    for record in records {
        folder.observe(record);
    }
    let (mut tables, flaws) = folder.fold();
    (tables.remove("t").unwrap_or_default(), flaws)
}

fn rows(records: Vec<Record>) -> Value {
    let (mut rows, flaws) = folded(records);
    assert!(flaws.none(), "{flaws:?}");
    rows.sort_by_key(|row| serde_json::to_string(row).unwrap_or_default());
    serde_json::to_value(rows).unwrap_or_default()
}

#[test]
fn creates_updates_deletes_and_truncates_make_the_table() {
    let mut records = vec![create(1, 1, 10), create(2, 2, 20), update(3, 1, &json!(11)), delete(4, 2), tombstone(5, 2)];
    assert_eq!(rows(records.clone()), json!([{"id": 1, "n": 11}]));
    records.push(Record { key: None, ..record(6, 0, "t", &json!(null), &json!(null)) });
    assert_eq!(rows(records.clone()), json!([]));
    records.push(create(7, 1, 3));
    assert_eq!(rows(records), json!([{"id": 1, "n": 3}]));
}

#[test]
fn what_comes_twice_counts_once() {
    let repeated = Record { value: Some(create(1, 1, 10).value.unwrap_or_default()), ..create(1, 1, 10) };
    let (rows, flaws) = folded(vec![create(1, 1, 10), update(2, 1, &json!(11)), repeated, update(2, 1, &json!(11))]);
    assert_eq!((rows.len(), flaws.duplicated, flaws.none()), (1, 2, true));
    assert_eq!(rows[0]["n"], json!(11));
}

#[test]
fn a_repetition_that_says_something_else_is_found() {
    let (_, flaws) = folded(vec![create(1, 1, 10), create(1, 1, 11)]);
    assert_eq!(flaws.inconsistent, 1);
}

#[test]
fn the_order_of_a_key_and_its_partition_are_checked() {
    let (_, flaws) = folded(vec![update(2, 1, &json!(11)), create(1, 1, 10)]);
    assert_eq!(flaws.reordered, 1);
    let (_, flaws) = folded(vec![create(1, 1, 10), Record { partition: 1, ..update(2, 1, &json!(11)) }]);
    assert_eq!(flaws.scattered, 1);
}

#[test]
fn other_partitions_may_be_read_first() {
    let other = Record { partition: 1, ..create(3, 7, 1) };
    assert_eq!(rows(vec![other, create(1, 1, 1), create(2, 2, 2)]).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_value_that_was_not_sent_is_the_one_before_also_under_another_key() {
    let unavailable = json!("__debezium_unavailable_value");
    let moved = Record {
        old_key: Some(br#"{"id":1}"#.to_vec()),
        ..record(5, 2, "c", &json!(null), &json!({"id": 2, "n": unavailable}))
    };
    let records = vec![create(1, 1, 10), update(2, 1, &unavailable), delete(3, 1), tombstone(4, 1), moved];
    assert_eq!(rows(records), json!([{"id": 2, "n": 10}]));
}

#[test]
fn what_cannot_be_applied_is_found() {
    for (records, what) in [
        (vec![update(1, 1, &json!(1))], "an update without a row"),
        (vec![create(1, 1, 1), create(2, 1, 1)], "a second creation"),
        (vec![delete(1, 1)], "a delete without a row"),
        (vec![create(1, 1, 1), tombstone(2, 1)], "a tombstone of a row that lives"),
        (vec![Record { position: None, ..create(1, 1, 1) }], "no position"),
        (vec![Record { value: Some(b"{".to_vec()), ..create(1, 1, 1) }], "no envelope"),
        (vec![Record { key: Some(br#"{"id":9}"#.to_vec()), ..create(1, 1, 1) }], "another row's key"),
        (vec![create(1, 1, 1), record(2, 1, "u", &json!({"n": 7}), &json!({"id": 1, "n": 2}))], "another row before"),
        (vec![keyless(record(1, 0, "d", &json!({"n": 1}), &json!(null)))], "a keyless row that is not there"),
        (vec![keyless(record(1, 0, "x", &json!(null), &json!(null)))], "an unknown operation"),
    ] {
        assert_eq!(folded(records).1.inconsistent, 1, "{what}");
    }
}

#[test]
fn rows_without_a_key_are_told_apart_by_what_they_hold() {
    let row = |n: u64| json!({"a": n, "gone": 1});
    let records = vec![
        keyless(record(1, 0, "c", &json!(null), &row(1))),
        keyless(record(2, 0, "c", &json!(null), &row(1))),
        keyless(record(3, 0, "c", &json!(null), &row(2))),
        keyless(record(4, 0, "d", &row(1), &json!(null))),
        // A column is dropped, another one added.
        keyless(record(5, 0, "u", &json!({"a": 2, "new": null}), &json!({"a": 3, "new": 4}))),
        keyless(record(6, 0, "u", &json!({"a": 1, "new": null}), &json!({"a": 5, "new": null}))),
    ];
    assert_eq!(rows(records), json!([{"a": 3, "new": 4}, {"a": 5, "new": null}]));
}
