//! The initial snapshot: the rows that were there arrive as reads while others change them, a kill makes only the chunks in work
//! come again, and each mode does what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Launch, PATIENCE, Record, Site, TopicReader, shared, until};
use serde_json::Value;

/// Rows of the large table.
const ROWS: usize = 6000;

/// Rows of a chunk, and connections that read.
const CHUNK_ROWS: usize = 200;
const WORKERS: usize = 3;

/// What the relay is told of a site's captured tables.
fn capturing(site: &Site, mode: &str) -> Launch {
    told(site, site.relay(), mode)
}

/// What any verb is told of them.
fn told(site: &Site, launch: Launch, mode: &str) -> Launch {
    let (chunk_rows, workers) = (CHUNK_ROWS.to_string(), WORKERS.to_string());
    launch
        .with("POSTRIDER_CAPTURE_TABLES", "public.*")
        .with("POSTRIDER_CAPTURE_PUBLICATION", &publication(site))
        .with("POSTRIDER_CAPTURE_TOPIC", &topic(site, "{table}"))
        .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", mode)
        .with("POSTRIDER_CAPTURE_SNAPSHOT_CHUNK_ROWS", &chunk_rows)
        .with("POSTRIDER_CAPTURE_SNAPSHOT_WORKERS", &workers)
        .with("POSTRIDER_TOPICS_CREATE", "true")
        .with("POSTRIDER_TOPICS_PARTITIONS", "1")
}

/// The same, with nothing but captured tables.
fn capturing_only(site: &Site, mode: &str) -> Launch {
    capturing(site, mode).with("POSTRIDER_OUTBOX_TABLE", "")
}

fn publication(site: &Site) -> String {
    format!("{}_capture", site.name())
}

fn topic(site: &Site, table: &str) -> String {
    format!("{}.cdc.{table}", site.name())
}

/// A place whose slot is younger than the publication of these tables.
async fn place(promise: &str, tables: &str) -> Site {
    let site = Site::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    site.sql(tables).await;
    let names = "select string_agg(format('%I', tablename), ', ') from pg_tables
                 where schemaname = 'public' and tablename <> all ('{outbox_events,refinery_schema_history}')";
    let names: String = site.db().query_one(names, &[]).await.unwrap().get(0);
    site.sql(&format!("create publication {} for table {names}", publication(&site))).await;
    site.init();
    site.sql(&format!("grant select on {names} to {}", site.role())).await;
    site.create_topics().await;
    site
}

async fn reader(site: &Site, table: &str) -> TopicReader {
    let topic = topic(site, table);
    TopicReader::start(site.bootstrap(), [(topic, 0)])
}

/// The member of a record's value, as text.
fn value(record: &Record) -> Option<Value> {
    record.value.as_deref().map(|value| serde_json::from_slice(value).expect("an envelope is JSON"))
}

fn op(value: &Value) -> &str {
    value["op"].as_str().unwrap_or_default()
}

/// The markers of the reads, in the topic's order.
fn markers(records: &[Record]) -> Vec<String> {
    let values = records.iter().filter_map(value).filter(|value| op(value) == "r");
    values.map(|value| value["source"]["snapshot"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The table that a consumer has who follows the topic.
fn fold(records: &[Record]) -> BTreeMap<i64, Value> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key: Value = serde_json::from_slice(record.key.as_deref().expect("a key")).expect("a key is JSON");
        let id = key["id"].as_i64().expect("an id");
        match value(record) {
            Some(value) if !value["after"].is_null() => drop(rows.insert(id, value["after"].clone())),
            _ => drop(rows.remove(&id)),
        }
    }
    rows
}

/// The table as Postgres has it.
async fn table(site: &Site) -> BTreeMap<i64, Value> {
    let rows = site.db().query("select id::int8, to_jsonb(items)::text from items", &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| (row.get(0), serde_json::from_str(row.get(1)).unwrap());
    rows.iter().map(row).collect()
}

/// Changes random rows until told to stop: moves them to other chunks and back, touches them beside a large value, changes that,
/// deletes them, writes new ones.
async fn disturb(site: &Site, stop: Arc<AtomicBool>) {
    let client = site.connect().await;
    let some = "(select id from items offset (random() * 3000)::int limit 1)";
    let statements = [
        format!("update items set id = case when id > 100000 then id - 100000 else id + 100000 end where id = {some}"),
        format!("update items set n = n + 1 where id = {some}"),
        format!("update items set big = md5(random()::text) || big where id = {some}"),
        format!("delete from items where id = {some}"),
        "insert into items select 200000 + nextval('further'), 0, repeat(md5(random()::text), 70)".to_owned(),
    ];
    for statement in statements.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.batch_execute(statement).await.expect("a row can be changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_killed_goes_on_and_what_is_folded_is_the_table() {
    let site = place(
        "snapshot",
        &format!(
            "create table items (id int primary key, n int, big text);
             alter table items alter big set storage external, replica identity full;
             create sequence further;
             insert into items select i, 0, case when i % 9 = 0 then repeat(md5(i::text), 70) end from generate_series(1, {ROWS}) i"
        ),
    )
    .await;
    let reader = reader(&site, "items").await;
    let stop = Arc::new(AtomicBool::new(false));
    let changes = async {
        let first = capturing(&site, "initial").with("POSTRIDER_CAPTURE_SNAPSHOT_ROWS_PER_SECOND", "3000").start();
        until("a third of the rows arrived", PATIENCE, async || (reader.count() > ROWS / 3).then_some(())).await;
        first.kill();
        reader.read_to_the_end().await;
        let before = reader.count();
        let mut second = capturing(&site, "initial").start();
        second.ready().await;
        second.logs(&["the initial snapshot is read"]).await;
        stop.store(true, Ordering::Relaxed);
        (before, second)
    };
    let ((before, relay), ()) = tokio::join!(changes, disturb(&site, Arc::clone(&stop)));
    site.sql("insert into items values (999999, 1, 'the last')").await;
    reader.record("the last change", |record| record.key.as_deref() == Some(br#"{"id":999999}"#)).await;

    let records = reader.records();
    assert_eq!(fold(&records), table(&site).await);
    let reads = |records: &[Record]| {
        let reads = records.iter().filter(|record| value(record).is_some_and(|value| op(&value) == "r"));
        reads.map(|record| record.key.clone()).collect::<Vec<_>>()
    };
    let (first, second) = (reads(&records[..before]), reads(&records[before..]));
    assert!(first.len() > ROWS / 3 && second.len() < ROWS - CHUNK_ROWS, "{} and {}", first.len(), second.len());
    let again = second.iter().filter(|key| first.contains(key)).count();
    // Those in work, those in the queue, and those that became durable since the progress was noted.
    assert!(again <= (WORKERS + 5) * CHUNK_ROWS, "{again} rows came twice");
    assert!(relay.metric("postrider_snapshot_running").await < 0.5);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_and_the_last_row_are_told_as_such_whoever_reads_them() {
    let site = place(
        "markers",
        "create table alone (id int primary key);
         create table empty (id int primary key);
         create table items (a text, b int, note text, primary key (a, b));
         create table keyless (note text);
         insert into alone values (1);
         insert into items select 'it''s ' || i % 7, i, E'tab\\t line\\n back\\\\slash ' || i from generate_series(1, 3000) i;
         insert into keyless select 'x' from generate_series(1, 2500);
         analyze",
    )
    .await;
    let mut relay = capturing_only(&site, "initial").start();
    relay.ready().await;
    relay.logs(&["the initial snapshot is read", "rows=5501"]).await;
    let mut told = BTreeMap::new();
    for (name, rows) in [("alone", 1), ("items", 3000), ("keyless", 2500)] {
        let reader = reader(&site, name).await;
        until("every row arrived", PATIENCE, async || (reader.count() >= rows).then_some(())).await;
        let records = reader.records();
        let markers = markers(&records);
        assert_eq!(markers.len(), rows, "{name}");
        assert!(markers.iter().skip(1).rev().skip(1).all(|marker| marker == "true"), "{name}: {markers:?}");
        told.insert(name, (markers[0].clone(), markers[rows - 1].clone()));
        let positions: std::collections::HashSet<_> =
            records.iter().map(|record| record.header("postrider-position").unwrap().to_owned()).collect();
        assert_eq!(positions.len(), rows, "{name}: each row has a position of its own");
    }
    let of = |name: &str| (told[name].0.as_str(), told[name].1.as_str());
    assert_eq!(of("alone"), ("first", "first"));
    assert_eq!(of("items"), ("first_in_data_collection", "last_in_data_collection"));
    assert_eq!(of("keyless"), ("first_in_data_collection", "last"));

    // What follows is streamed, and what was read is not read again after a restart.
    relay.terminate().await.expect(0, &[]);
    site.sql("insert into alone values (2)").await;
    let mut relay = capturing_only(&site, "initial").start();
    relay.ready().await;
    let reader = reader(&site, "alone").await;
    let record = reader.record("the change", |record| record.key.as_deref() == Some(br#"{"id":2}"#)).await;
    assert_eq!(op(&value(&record).unwrap()), "c");
    assert_eq!(reader.count(), 2);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_reads_what_it_says_and_a_lost_slot_is_made_good_where_that_is_wanted() {
    let site =
        place("modes", "create table items (id int primary key); insert into items select generate_series(1, 10)")
            .await;
    let reader = reader(&site, "items").await;
    let count = async |records: usize| {
        until("records arrive", PATIENCE, async || (reader.count() >= records).then_some(())).await;
        reader.read_to_the_end().await;
        assert_eq!(reader.count(), records);
    };
    let mut relay = capturing_only(&site, "no_data").start();
    relay.ready().await;
    site.sql("insert into items values (11)").await;
    count(1).await;
    relay.terminate().await.expect(0, &[]);

    let only = capturing_only(&site, "initial_only").start().ended().await;
    only.expect(0, &["nothing else is wanted"]);
    count(12).await;
    // It is delivered, and nothing is left to do.
    capturing_only(&site, "initial_only").start().ended().await.expect(0, &["nothing else is wanted"]);

    let mut relay = capturing_only(&site, "when_needed").start();
    relay.ready().await;
    site.sql("insert into items values (12)").await;
    count(13).await;
    relay.terminate().await.expect(0, &[]);
    let slot = site.name();
    site.sql(&format!("select pg_drop_replication_slot('{slot}'); delete from items where id <= 5")).await;
    capturing_only(&site, "initial").start().ended().await.expect(1, &["does not exist", "postrider slot recover"]);
    let mut relay = capturing_only(&site, "when_needed").start();
    relay.ready().await;
    relay.logs(&["changes are missing", "slot made anew"]).await;
    count(20).await;
    site.sql("insert into items values (13)").await;
    count(21).await;
    let epochs = reader
        .records()
        .iter()
        .map(|record| record.header("postrider-position").unwrap()[..4].to_owned())
        .collect::<Vec<_>>();
    assert_eq!((epochs[0].as_str(), epochs[20].as_str()), ("0001", "0002"), "positions go on growing");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_keys_of_odd_types_are_read_in_pieces_and_the_signal_table_is_not() {
    let site = place(
        "oddkeys",
        "create type pair as (a int, b text);
         create table pairs (k pair primary key);
         insert into pairs select row(i, 'it''s')::pair from generate_series(1, 450) i;
         create table named (k regclass primary key);
         insert into named select oid::regclass from pg_class where relnamespace <> 'pg_toast'::regnamespace;
         create table bits (k bit(12), c char(3), primary key (k, c));
         insert into bits select i::bit(12), i % 9 from generate_series(1, 450) i;
         create table asks (id varchar(42) primary key, type varchar(32) not null, data text);
         insert into asks values ('1', 'log', '{}')",
    )
    .await;
    let mut relay = capturing_only(&site, "initial").with("POSTRIDER_CAPTURE_SIGNAL_TABLE", "public.asks").start();
    relay.ready().await;
    let rows = site.db().query_one("select 900 + count(*) from named", &[]).await.unwrap().get::<_, i64>(0);
    relay.logs(&["the initial snapshot is read", &format!("rows={rows}")]).await;
    let mut readers = Vec::new();
    for table in ["pairs", "named", "bits"] {
        readers.push((table, reader(&site, table).await));
    }
    let keys = async |rows: i64| {
        let mut keys = BTreeMap::new();
        let count = || readers.iter().map(|(_, reader)| reader.count() as i64).sum::<i64>();
        until("every row arrived", PATIENCE, async || (count() >= rows).then_some(())).await;
        for (table, reader) in &readers {
            for record in reader.records() {
                *keys.entry((*table, record.key)).or_insert(0) += 1;
            }
        }
        keys
    };
    let once = keys(rows).await;
    assert!(once.values().all(|times| *times == 1) && once.len() as i64 == rows, "{once:?}");

    // Beside the stream the same keys come again.
    for table in ["pairs", "named", "bits"] {
        let verb = told(&site, site.administrator(), "initial").with("POSTRIDER_OUTBOX_TABLE", "");
        let verb = verb.argument("start").argument("--table").argument(&format!("public.{table}"));
        verb.complete("snapshot").expect(0, &["requested"]);
    }
    let twice = keys(2 * rows).await;
    assert!(twice.values().all(|times| *times == 2) && twice.len() as i64 == rows, "{twice:?}");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_are_not_left_out_without_a_word() {
    let site = place(
        "policies",
        "create table items (id int primary key, owner text);
         insert into items values (1, 'somebody');
         alter table items enable row level security",
    )
    .await;
    let ended = capturing_only(&site, "initial").start().ended().await;
    ended.expect(1, &["the rows of table public.items may not be read", "row-level security"]);
}
