//! `docs/types.md` is the test: each of its rows is written into a table, read from a slot, described from the catalog and
//! published, and what comes out is what stands there.

pub(crate) mod document;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use postrider_relay::pipeline::Source;
use postrider_relay::shape::change::options::CaptureOptions;
use postrider_relay::shape::change::types::{Binary, Decimal, Hstore, Interval, Time, TypeOptions};
use postrider_relay::sources::wal::{CaptureSource, Wal, WalOptions};
use postrider_relay::telemetry::Metrics;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::postgres_client::database::Database;
use crate::type_mapping::document::{Document, Row, Written};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The table whose row ends the stream.
const LAST: &str = "last";

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_written_as_the_documentation_says() {
    let document = Document::read();
    let rows = document.rows();
    assert!(rows.len() > 150, "only {} rows", rows.len());
    let (database, slot) = written_down(&document, &rows);
    let mut written = BTreeMap::new();
    for options in rows.iter().map(|row| row.options.as_str()).collect::<BTreeSet<_>>() {
        let found = published(&database, &slot, options).await;
        for row in rows.iter().filter(|row| row.options == options) {
            let nothing = Written { json: "(no event)".to_owned(), ..Written::default() };
            written.insert(row.line, found.get(&row.line).cloned().unwrap_or(nothing));
        }
    }
    let filled = document.filled(&rows, &written);
    let before = std::fs::read_to_string(document::path()).expect("the document");
    if filled != before {
        let wrong: Vec<_> = filled.lines().zip(before.lines()).filter(|(now, then)| now != then).take(5).collect();
        let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("types.md");
        std::fs::write(&place, &filled).expect("the folder of tests");
        panic!("docs/types.md is not what is written; {} is: {wrong:#?}", place.display());
    }
    for row in Document::read().rows() {
        let is_same = filled.lines().nth(row.line).expect("its line").contains("| same |");
        assert_eq!(row.why.is_empty(), is_same, "line {}: a difference has a reason, and only that", row.line + 1);
        // What others read from the cell is what is written.
        let ours = row.ours().unwrap_or_else(|| written[&row.line].clone());
        assert_eq!(ours, written[&row.line], "line {}", row.line + 1);
    }
}

/// Each row in a table of its column, and a slot that was there before.
fn written_down(document: &Document, rows: &[Row]) -> (Database, String) {
    let database = Database::new("types");
    database.run(&document.setup());
    let mut tables: HashMap<&str, String> = HashMap::new();
    for row in rows {
        let number = tables.len();
        tables.entry(&row.column).or_insert_with(|| {
            let table = format!("t{number}");
            database.run(&format!("create table {table} (id int primary key, other int, c {})", row.column));
            // Out of line, or not at all where a type cannot be.
            database.run(&format!(
                "do $$ begin alter table {table} alter c set storage external; exception when others then null; end $$"
            ));
            table
        });
    }
    database.run(&format!("create table {LAST} (id int)"));
    database.run("create publication capture for all tables");
    let slot = database.slot("s");
    let mut session = database.session();
    session.simple_query("set synchronous_commit = off").expect("nothing here must outlive a crash");
    for row in rows {
        let (table, id) = (&tables[row.column.as_str()], row.line);
        let (value, then) = match row.value.split_once(' ') {
            Some(("unchanged", value)) => (value, format!("update {table} set other = 1 where id = {id}")),
            Some(("deleted", value)) => (value, format!("delete from {table} where id = {id}")),
            _ => (row.value.as_str(), String::new()),
        };
        let sql = format!("insert into {table} values ({id}, 0, {value}); {then}");
        session.simple_query(&sql).unwrap_or_else(|error| panic!("line {}: {sql}: {error}", id + 1));
    }
    session.simple_query(&format!("insert into {LAST} values (1)")).expect("the last row");
    (database, slot)
}

/// The last event of each row under these options, by its line.
async fn published(database: &Database, slot: &str, options: &str) -> HashMap<usize, Written> {
    database.wait_until_inactive(slot);
    let shape = CaptureOptions {
        schemas: true,
        types: type_options(options),
        ..CaptureOptions::usual(&database.name, "p", "{table}")
    };
    let options = WalOptions {
        connect: database.options(),
        slot: slot.to_owned(),
        publication: "capture".to_owned(),
        outboxes: Vec::new(),
        capture: Some(CaptureSource {
            publication: "capture".to_owned(),
            shape,
            signals: None,
            rereads_rewritten: false,
            reselects: false,
        }),
        wal_disk_bytes: None,
        accept_gap: false.into(),
        reader: tokio::sync::watch::Sender::new(0),
        spill: None,
    };
    let mut source = Wal::open(Arc::new(options), None, Metrics::new()).await.expect("the source opens");
    let mut found = HashMap::new();
    loop {
        let batch =
            tokio::time::timeout(PATIENCE, source.next()).await.expect("something comes").expect("the stream goes on");
        for (index, message) in batch.messages.iter().enumerate() {
            if message.topic() == LAST {
                return found;
            }
            let Some(value) = message.value() else { continue };
            let record: Record<'_> = serde_json::from_slice(value).expect("a record");
            let refused = batch.messages.unfit().iter().any(|unfit| unfit.index == index);
            let (id, written) = record.column(refused);
            found.insert(id, written);
        }
    }
}

fn type_options(text: &str) -> TypeOptions {
    let mut options = TypeOptions::default();
    for option in text.split_whitespace() {
        match option.split_once('=').expect("name=value") {
            ("decimal", "double") => options.decimal = Decimal::Double,
            ("decimal", "string") => options.decimal = Decimal::Text,
            ("money", digits) => options.money_fraction_digits = digits.parse().expect("digits"),
            ("time", "adaptive_time_microseconds") => options.time = Time::AdaptiveTimeMicroseconds,
            ("time", "connect") => options.time = Time::Connect,
            ("time", "isostring") => options.time = Time::IsoString,
            ("time", "microseconds") => options.time = Time::Microseconds,
            ("time", "nanoseconds") => options.time = Time::Nanoseconds,
            ("interval", "string") => options.interval = Interval::IsoString,
            ("binary", "base64") => options.binary = Binary::Base64,
            ("binary", "base64-url-safe") => options.binary = Binary::Base64UrlSafe,
            ("binary", "hex") => options.binary = Binary::Hex,
            ("hstore", "map") => options.hstore = Hstore::Map,
            ("schemas", "false") => options.nested = true,
            _ => panic!("no option is called {option}"),
        }
    }
    options
}

/// A record with its schema.
#[derive(Deserialize)]
struct Record<'r> {
    #[serde(borrow)]
    schema: Struct<'r>,
    #[serde(borrow)]
    payload: Payload<'r>,
}

#[derive(Deserialize)]
struct Struct<'r> {
    #[serde(borrow)]
    fields: Vec<&'r RawValue>,
}

#[derive(Deserialize)]
struct Payload<'r> {
    #[serde(borrow)]
    before: Option<HashMap<&'r str, &'r RawValue>>,
    #[serde(borrow)]
    after: Option<HashMap<&'r str, &'r RawValue>>,
}

impl Record<'_> {
    /// The row's number, and its column `c`.
    fn column(&self, refused: bool) -> (usize, Written) {
        let row = self.payload.after.as_ref().or(self.payload.before.as_ref()).expect("a row");
        let id = row["id"].get().parse().expect("a number");
        let Some(value) = row.get("c") else {
            return (id, Written { json: "(no column)".to_owned(), ..Written::default() });
        };
        let after: Struct<'_> = serde_json::from_str(self.schema.fields[1].get()).expect("the schema of a row");
        let schema =
            after.fields.last().and_then(|field| field.get().strip_suffix(r#","field":"c"}"#)).expect("its schema");
        let json = if refused { "(refused)" } else { value.get() };
        (id, Written { schema: format!("{schema}}}"), json: json.to_owned() })
    }
}
