//! Side by side: what Debezium's PostgreSQL connector 3.6.3.Final and Kafka Connect's JSON converter made of changes in a real
//! database, as `tests/debezium/ChangeCaptureRun.java` recorded it, and what is made of the same changes here. Equal to the byte
//! but for the times, `source.version` and `source.xmin`.

mod cases;

use bytes::Bytes;
use regex::Regex;
use serde_json::Value as Json;

use super::*;
use crate::pipeline::MessageRef;
use crate::shape::change::options::{ChangeForm, HeaderForm, KeyOptions, MaskForm, MaskOptions};
use crate::shape::change::row::{InTransaction, Snapshot};
use crate::shape::change::table::{Column, DataType, Identity, TypeKind};
use crate::shape::change::transaction::{Boundary, EventCounts};
use crate::shape::position::EventPosition;

const RECORDED: &str = include_str!("../../../../../tests/debezium/changes.jsonl");

type Row = &'static [Value<'static>];

/// A value of a tuple.
const fn v(text: &'static str) -> Value<'static> {
    Value::Text(text.as_bytes())
}

const N: Value<'static> = Value::Null;
const U: Value<'static> = Value::Unchanged;

/// What is done to the table number `.0` of a case.
enum Do {
    Change(usize, Change<'static>),
    Message(&'static str, &'static [u8]),
    Begin,
    End,
}

fn row(values: impl AsRef<[Value<'static>]>) -> Row {
    values.as_ref().to_vec().leak()
}

fn insert(new: impl AsRef<[Value<'static>]>) -> Do {
    Do::Change(0, Change::Insert { new: row(new) })
}

fn update(new: impl AsRef<[Value<'static>]>) -> Do {
    Do::Change(0, Change::Update { old: None, new: row(new) })
}

fn update_of(old: impl AsRef<[Value<'static>]>, whole: bool, new: impl AsRef<[Value<'static>]>) -> Do {
    Do::Change(0, Change::Update { old: Some(Old { values: row(old), whole }), new: row(new) })
}

fn delete(old: impl AsRef<[Value<'static>]>, whole: bool) -> Do {
    Do::Change(0, Change::Delete { old: Old { values: row(old), whole } })
}

fn read(table: usize, found: impl AsRef<[Value<'static>]>) -> Do {
    Do::Change(table, Change::Read { row: row(found) })
}

const TRUNCATE: Do = Do::Change(0, Change::Truncate);

/// A table `name(column type, …)`: `!` says not null, `=` a default, `key` lists the key's columns.
fn table(name: &str, columns: &str, key: &[&str], identity: Identity) -> Table {
    let columns: Vec<_> = columns.split(", ").map(column).collect();
    let place = |name: &&str| columns.iter().position(|column| column.name == **name).expect("a column");
    let (schema, name) = name.split_once('.').expect("a schema");
    let key = key.iter().map(place).collect();
    Table { schema: schema.into(), name: name.into(), columns, key, identity }
}

fn column(text: &str) -> Column {
    let (text, default) = text.split_once('=').map_or((text, None), |(text, default)| (text, Some(default.to_owned())));
    let (text, optional) = text.strip_suffix('!').map_or((text, true), |text| (text, false));
    let (name, of) = text.rsplit_once(' ').expect("a type");
    let (oid, of, modifier) = match of {
        "int" => (23, "int4", -1),
        "bool" => (16, "bool", -1),
        "varchar20" => (1043, "varchar", 24),
        "char5" => (1042, "bpchar", 9),
        _ => (25, "text", -1),
    };
    let of = DataType { oid, schema: "pg_catalog".into(), name: of.into(), kind: TypeKind::Base };
    let has_default = default.is_some();
    Column { name: name.into(), of, modifier, optional, default, has_default, generated: false }
}

/// A case of the recording: its tables, what it sets, and what is done.
struct Case {
    name: &'static str,
    tables: Vec<Table>,
    set: fn(&mut CaptureOptions),
    done: Vec<Do>,
}

fn debezium(options: &mut CaptureOptions) {
    options.form = ChangeForm::Debezium;
    options.topic = "{prefix}.{schema}.{table}".into();
    options.message_prefixes = vec!["*".into()];
}

fn case(name: &'static str, tables: Vec<Table>, set: fn(&mut CaptureOptions), done: Vec<Do>) -> Case {
    Case { name, tables, set, done }
}

fn mask(options: &mut CaptureOptions, columns: &[&str], mask: &MaskForm) {
    let of = |column: &&str| MaskOptions { columns: format!("cdc.t.{column}"), mask: mask.clone() };
    options.masks.extend(columns.iter().map(of));
}

fn hash(algorithm: &str) -> MaskForm {
    MaskForm::Hash { algorithm: algorithm.into(), salt: "Nacl".into() }
}

/// The lines of a case.
fn recorded(case: &str) -> Vec<Json> {
    let lines = RECORDED.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    lines.filter(|line| line["case"] == case).collect()
}

/// The stamp that a recorded value was written with.
fn stamp_of(value: &Json) -> Stamp<'static> {
    let source = &value["source"];
    let number = |member: &str| source[member].as_u64();
    let sequence: Json = serde_json::from_str(source["sequence"].as_str().expect("a sequence")).expect("JSON");
    let words = [
        Snapshot::False,
        Snapshot::First,
        Snapshot::FirstInDataCollection,
        Snapshot::True,
        Snapshot::LastInDataCollection,
        Snapshot::Last,
        Snapshot::Incremental,
    ];
    let transaction = &value["transaction"];
    Stamp {
        position: EventPosition::new(0, 8, 0),
        commit_us: source["ts_us"].as_i64().expect("a time"),
        now_us: value["ts_ms"].as_i64().expect("a time") * 1000,
        xid: number("txId").map(|xid| u32::try_from(xid).expect("a number of a transaction")),
        // The sequence has it where the source has none.
        lsn: sequence[1].as_str().map(|lsn| lsn.parse().expect("a number")),
        last_commit_lsn: sequence[0].as_str().map(|lsn| lsn.parse().expect("a number")),
        snapshot: words.into_iter().find(|word| word.as_str() == source["snapshot"]).expect("a word"),
        origin: source["origin"].as_str().map(|_| "else\"where"),
        origin_lsn: number("origin_lsn"),
        transaction: transaction["total_order"].as_u64().map(|total_order| InTransaction {
            total_order,
            data_collection_order: transaction["data_collection_order"].as_u64().expect("a number"),
        }),
    }
}

/// The stamp that a recorded begin or end was written with.
fn stamp_at(boundary: &Json) -> Stamp<'static> {
    let (xid, lsn) = boundary["id"].as_str().and_then(|id| id.split_once(':')).expect("an id");
    Stamp {
        position: EventPosition::new(0, 8, 0),
        commit_us: boundary["ts_ms"].as_i64().expect("a time") * 1000,
        now_us: 0,
        xid: xid.parse().ok(),
        lsn: lsn.parse().ok(),
        last_commit_lsn: None,
        snapshot: Snapshot::False,
        origin: None,
        origin_lsn: None,
        transaction: None,
    }
}

fn masked(text: &str) -> String {
    let rules =
        Regex::new(r#""(ts_ms|ts_us|ts_ns|version|xmin)":("[0-9.Final]+"|\d{2,}|null)"#).expect("an expression");
    rules.replace_all(text, r#""$1":…"#).into_owned()
}

/// A record: topic, key, value, headers.
type Record = (String, Option<String>, Option<String>, Vec<(String, String)>);

/// What was recorded, in one of the three forms of headers; the last two have schemas, or not, as the key and the value.
fn expected(lines: &[Json], headers: usize) -> Vec<Record> {
    let mut told: std::collections::HashMap<String, Json> = std::collections::HashMap::new();
    let mut around = |line: &Json, what: &str| {
        let place = format!("{what} {}", line["topic"]);
        if let Some(schema) = line.get(format!("{what}_schema")) {
            told.insert(place.clone(), schema.clone());
        }
        let text = line[what].as_str()?;
        Some(masked(&match told.get(&place) {
            Some(schema) if headers == 3 => {
                format!(r#"{{"schema":{},"payload":{text}}}"#, schema.as_str().expect("a schema"))
            }
            _ => text.to_owned(),
        }))
    };
    let mut values: std::collections::HashMap<String, Json> = std::collections::HashMap::new();
    let mut records = Vec::new();
    for line in lines {
        let mut found = Vec::new();
        for header in line["headers"].as_array().expect("headers") {
            let name = header[0].as_str().expect("a name").to_owned();
            if header.get(headers).is_some() {
                values.insert(name.clone(), header.clone());
            }
            found.push((name.clone(), values[&name][headers].as_str().expect("a value").to_owned()));
        }
        let topic = line["topic"].as_str().expect("a topic").to_owned();
        records.push((topic, around(line, "key"), around(line, "value"), found));
    }
    records
}

fn written(message: MessageRef<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let headers = message.headers().map(|(name, value)| (name.to_owned(), text(value.expect("a value"))));
    let (key, value) = (message.key().map(text), message.value().map(|value| masked(&text(value))));
    (message.topic().to_owned(), key, value, headers.collect())
}

/// Does what a case does, each with the stamp that the recorded value of its first record had.
fn shaped(case: &Case, lines: &[Json], options: &CaptureOptions) -> Messages {
    let mut capture = Capture::new(options).expect("valid");
    let forms: Vec<_> = case.tables.iter().map(|table| capture.describe(table).expect("supported")).collect();
    let mut messages = Messages::over(Bytes::new());
    let mut counts = EventCounts::default();
    for done in &case.done {
        // Every record of a change has the same stamp; that of a deletion's tombstone is not told.
        let line = lines.get(messages.len()).unwrap_or(&Json::Null);
        let value = line["value"].as_str().map_or(Json::Null, |text| serde_json::from_str(text).expect("JSON"));
        match done {
            Do::Change(table, change) => {
                let form = &forms[*table];
                let events = capture.events(form, change);
                if events == 0 {
                    let ours = stamp_at(&serde_json::json!({"id": "1:1", "ts_ms": 0}));
                    assert_eq!(capture.shape(form, *change, &ours, &mut messages), Shaped::Filtered);
                    continue;
                }
                let mut stamp = stamp_of(&value);
                if stamp.transaction.is_some() {
                    stamp.transaction = counts.count(form, events);
                }
                assert_eq!(capture.shape(form, *change, &stamp, &mut messages), Shaped::Whole, "{}", case.name);
            }
            Do::Message(prefix, content) => {
                let mut stamp = stamp_of(&value);
                if stamp.transaction.is_some() {
                    stamp.transaction = counts.count_message();
                }
                assert_eq!(capture.message(prefix, content, &stamp, &mut messages), Shaped::Whole);
            }
            Do::Begin => {
                counts.clear();
                capture.transaction(Boundary::Begin, &stamp_at(&value), &mut messages);
            }
            Do::End => capture.transaction(Boundary::End(&counts), &stamp_at(&value), &mut messages),
        }
    }
    messages
}

fn holds(case: &Case) {
    let lines = recorded(case.name);
    assert!(!lines.is_empty(), "{} was recorded", case.name);
    let run_id = lines.iter().find_map(|line| {
        let headers = line["headers"].as_array().expect("headers");
        headers.iter().find(|header| header[0] == "__debezium.context.runId").and_then(|header| header[1].as_str())
    });
    for (headers, form, schemas) in
        [(1, HeaderForm::Simple, false), (2, HeaderForm::Json, false), (3, HeaderForm::Json, true)]
    {
        let mut options = CaptureOptions::usual("postgres", "app", "");
        debezium(&mut options);
        (case.set)(&mut options);
        (options.headers, options.schemas) = (form, schemas);
        options.run_id = run_id.map(str::to_owned);
        let messages = shaped(case, &lines, &options);
        let found: Vec<_> = messages.iter().map(written).collect();
        for (index, (found, expected)) in found.iter().zip(expected(&lines, headers)).enumerate() {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            let same = found.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
            let from = |text: &str| text.chars().skip(same.saturating_sub(90)).take(250).collect::<String>();
            assert!(found == expected, "record {index} of {}:\n{}\n{}", case.name, from(&found), from(&expected));
        }
        assert_eq!(found.len(), lines.len(), "{}", case.name);
        assert!(messages.unfit().is_empty());
    }
}
