//! Tables that follow the schema of their records.

use postrider_relay::pipeline::{Durable, Kind, Messages, Sink};
use postrider_relay::sinks::clickhouse::Unknown;
use serde_json::json;

use super::current::records_at;
use super::place::{Place, append, current, load};

/// A change with its schema, of a table with these fields: name, type, and the value.
fn schemad(at: u128, fields: &[(&str, &str, &str)]) -> (Option<String>, Option<String>, Option<String>) {
    let schema: Vec<String> = fields
        .iter()
        .map(|(name, kind, _)| {
            let optional = *name != "id";
            format!(r#"{{"field":"{name}","optional":{optional},{kind}}}"#)
        })
        .collect();
    let schema = schema.join(",");
    let values: Vec<String> = fields.iter().map(|(name, _, value)| format!(r#""{name}":{value}"#)).collect();
    let image =
        |name| format!(r#"{{"type":"struct","fields":[{schema}],"optional":true,"name":"v","field":"{name}"}}"#);
    let value = format!(
        r#"{{"schema":{{"type":"struct","fields":[{},{}],"optional":false,"name":"e"}},"payload":{{"before":null,"after":{{{}}},"source":{{"lsn":1,"ts_us":1}},"op":"c"}}}}"#,
        image("before"),
        image("after"),
        values.join(",")
    );
    let id = fields[0].2;
    let key = format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{{"id":{id}}}}}"#);
    (Some(key), Some(value), Some(format!("{at:032x}")))
}

fn batch(first: i64, records: &[(Option<String>, Option<String>, Option<String>)]) -> Messages {
    records_at(first, records)
}

const INT: &str = r#""type":"int32""#;
const LONG: &str = r#""type":"int64""#;
const TEXT: &str = r#""type":"string""#;
const STAMP: &str = r#""type":"int64","name":"io.debezium.time.MicroTimestamp""#;
const PRICE: &str = r#""type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"10"}"#;

#[tokio::test]
async fn a_table_is_made_from_the_schema_given_columns_and_widened_while_it_is_loaded() {
    let place = Place::with(&[]).await;
    let mut feed = current("items");
    feed.create = true;
    feed.unknown = Unknown::Add;
    let mut sink = place.open(&[feed]).await;
    // Nothing is known of it yet, and nothing is needed.
    assert_eq!(
        load(&mut sink, batch(0, &[(Some("{\"id\":1}".to_owned()), None, None)])).await.unwrap(),
        Durable::default()
    );
    let one = schemad(
        1,
        &[("id", LONG, "1"), ("count", INT, "2"), ("price", PRICE, "\"BM4=\""), ("at", STAMP, "1700000000123456")],
    );
    assert_eq!(load(&mut sink, batch(1, &[one])).await.unwrap(), Durable::default());
    let types = "select name, type from system.columns where database = currentDatabase() and table = 'items' order by position";
    let made = [
        json!(["id", "Int64"]),
        json!(["count", "Nullable(Int32)"]),
        json!(["price", "Nullable(Decimal(10, 2))"]),
        json!(["at", "Nullable(DateTime64(6, 'UTC'))"]),
        json!(["_version", "UInt128"]),
        json!(["_deleted", "Bool"]),
    ];
    assert_eq!(place.rows(types).await, made);

    // A field more, null so far, and a type that grew; in the same batch as one of the old form.
    let old = schemad(2, &[("id", LONG, "2"), ("count", INT, "3"), ("price", PRICE, "null"), ("at", STAMP, "null")]);
    let new = schemad(
        3,
        &[
            ("id", LONG, "3"),
            ("count", LONG, "5000000000"),
            ("price", PRICE, "null"),
            ("at", STAMP, "null"),
            ("note", TEXT, "null"),
        ],
    );
    assert_eq!(load(&mut sink, batch(2, &[old, new])).await.unwrap(), Durable::default());
    let widened = place.rows(types).await;
    assert!(
        widened.contains(&json!(["count", "Nullable(Int64)"]))
            && widened.contains(&json!(["note", "Nullable(String)"]))
    );
    let shown = place.rows("select id, count, toString(price), at, note from items__current order by id").await;
    assert_eq!(
        shown,
        [
            json!([1, 2, "12.3", "2023-11-14T22:13:20.123456Z", null]),
            json!([2, 3, null, null, null]),
            json!([3, 5_000_000_000_u64, null, null, null]),
        ]
    );
}

#[tokio::test]
async fn a_key_of_another_type_or_of_other_columns_ends_the_load_with_the_mend() {
    let table = |key: &str, by: &str| {
        format!("create table items (id {key}, n Nullable(Int64), at Int64 default 0, _version UInt128, _deleted Bool)
            engine = ReplacingMergeTree(_version, _deleted) order by ({by}) settings non_replicated_deduplication_window = 10")
    };
    for (key, by, reason) in [
        ("UUID", "id", "column id of"),
        ("Int64", "id, at", "is sorted by (at, id), but the records of topic t have the key (id)"),
    ] {
        let place = Place::with(&[&table(key, by)]).await;
        let mut sink = place.open(&[current("items")]).await;
        let record = schemad(1, &[("id", LONG, "1"), ("n", LONG, "2")]);
        let error = sink.admit(&batch(0, &[record])).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Setup);
        assert!(error.chain().contains(reason), "{}", error.chain());
        assert!(error.help().is_some());
    }
}

#[tokio::test]
async fn a_table_of_other_types_ends_the_load_before_every_record_is_given_up() {
    let table = "create table events (id UUID) engine = MergeTree order by id settings non_replicated_deduplication_window = 10";
    let place = Place::with(&[table]).await;
    let mut sink = place.open(&[append("events", &[])]).await;
    let records: Vec<_> = (0..100).map(|id| (None, Some(format!("{{\"id\":{id}}}")), None)).collect();
    let error = sink.admit(&batch(0, &records)).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Setup);
    assert!(error.chain().contains("no record of topic t fits its table: column id of type UUID"), "{}", error.chain());
    assert!(error.help().unwrap_or_default().contains("ALTER TABLE"));
    // A single record may be a bad one.
    assert_eq!(sink.admit(&batch(0, &records[..1])).await.unwrap().len(), 1);
}
