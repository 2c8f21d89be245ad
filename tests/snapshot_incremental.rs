//! Snapshots beside the stream: what a reader folds is the table, however its rows are changed meanwhile, whoever is killed, and
//! also where a commit is delivered long before it is visible. They are asked for by command, by signal, or by a change of columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Ended, Launch, PATIENCE, Record, Relay, Site, TopicReader, shared, until};
use serde_json::Value;
use xtask::services::{MAJORS, Postgres, PrivatePostgres};

/// What stands for a value that was not sent.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// A place with captured tables, none of which was read.
async fn place(promise: &str, server: &Postgres, tables: &str, published: &str) -> Site {
    let site = Site::bare(promise, server, &shared().kafka.bootstrap).await;
    site.migrate();
    site.sql(tables).await;
    site.sql(&format!("create publication {}_capture for table {published}", site.name())).await;
    site.init();
    site.sql(&format!("grant select on {published} to {}", site.role())).await;
    site.create_topics().await;
    site
}

fn relay(site: &Site) -> Launch {
    site.capturing(site.relay())
}

fn snapshot(site: &Site, arguments: &[&str]) -> Ended {
    let verb = site.capturing(site.administrator());
    arguments.iter().fold(verb, |verb, argument| verb.argument(argument)).complete("snapshot")
}

/// Every snapshot of the place, by `postrider snapshot status`.
fn snapshots(site: &Site) -> Vec<Value> {
    let ended = snapshot(site, &["status", "--all", "--output", "json"]);
    ended.expect(0, &[]);
    serde_json::from_str(ended.said()).expect("a list in JSON")
}

async fn in_state(site: &Site, index: usize, state: &str) -> Value {
    until(&format!("snapshot {index} is {state}"), PATIENCE, async || {
        snapshots(site).into_iter().nth(index).filter(|snapshot| snapshot["state"] == state)
    })
    .await
}

fn reader(site: &Site) -> TopicReader {
    TopicReader::start(site.bootstrap(), [(format!("{}.cdc.items", site.name()), 0)])
}

fn value(record: &Record) -> Option<Value> {
    record.value.as_deref().map(|value| serde_json::from_slice(value).expect("an envelope is JSON"))
}

fn reads(records: &[Record]) -> Vec<Value> {
    records.iter().filter_map(value).filter(|value| value["op"] == "r").collect()
}

/// The table that a consumer has who follows the topic: a value that was not sent is what he has, also of a row that moves. What comes
/// again is passed over by its position: once a row has moved on, its value could not be found any more where it was.
fn fold(records: &[Record]) -> BTreeMap<i64, Value> {
    let (mut rows, mut moving) = (BTreeMap::<i64, Value>::new(), None);
    let mut seen = BTreeSet::new();
    for record in records {
        let position = record.header("postrider-position");
        if position.is_some_and(|position| !seen.insert((position, record.key.as_deref(), record.value.is_none()))) {
            continue;
        }
        let key: Value = serde_json::from_slice(record.key.as_deref().unwrap_or(b"null")).expect("a key is JSON");
        let id = key["id"].as_i64();
        match (value(record), id) {
            (Some(value), None) if value["op"] == "t" => rows.clear(),
            (Some(value), Some(id)) if !value["after"].is_null() => {
                let known = if record.header("__debezium.oldkey").is_some() { moving.take() } else { rows.remove(&id) };
                let mut row = value["after"].clone();
                for (name, value) in row.as_object_mut().expect("a row is an object") {
                    if let (Some(known), true) = (&known, *value == UNAVAILABLE) {
                        *value = known[name.as_str()].clone();
                    }
                }
                rows.insert(id, row);
            }
            (Some(_), Some(id)) => {
                let gone = rows.remove(&id);
                if record.header("__debezium.newkey").is_some() {
                    moving = gone;
                }
            }
            // The tombstone of a delete, which has its headers and nothing to say: what moves is on its way already.
            (None, _) | (_, None) => {}
        }
    }
    rows
}

async fn table(site: &Site) -> BTreeMap<i64, Value> {
    let rows = site.db().query("select id::int8, to_jsonb(items)::text from items", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), serde_json::from_str(row.get(1)).unwrap())).collect()
}

/// Waits until the reader has what was written last, and holds what it folds against the table.
async fn assert_folded(site: &Site, reader: &TopicReader) {
    site.sql("insert into items (id) values (999999)").await;
    reader.record("the last change", |record| record.key.as_deref() == Some(br#"{"id":999999}"#)).await;
    let (folded, table) = (fold(&reader.records()), table(site).await);
    let differing = table.keys().chain(folded.keys()).find(|id| table.get(id) != folded.get(id));
    let differing = differing.map(|id| (id, table.contains_key(id), folded.get(id).map(|row| row["n"].clone())));
    assert_eq!((differing, folded.len()), (None, table.len()));
}

/// Changes random rows until told to stop: moves them over the whole range of keys, touches them beside a large value, deletes them,
/// writes new ones, several in one transaction and some undone.
async fn disturb(site: &Site, stop: Arc<AtomicBool>) {
    let client = site.connect().await;
    let some = "(select id from items offset (random() * 2000)::int limit 1)";
    let statements = [
        format!(
            "update items set id = nextval('further') * (case when n % 2 = 0 then -1 else 1 end), n = n + 1 where id = {some}"
        ),
        format!("update items set n = n + 1 where id = {some}"),
        format!(
            "begin; update items set n = n + 1 where id = {some}; savepoint s; delete from items where id = {some}; rollback to s; update items set n = n + 1 where id = {some}; commit"
        ),
        format!("delete from items where id = {some}"),
        "insert into items select nextval('further'), 0, repeat(md5(random()::text), 70)".to_owned(),
    ];
    for statement in statements.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.batch_execute(statement).await.expect("a row can be changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_beside_the_stream_folds_to_the_table_whatever_changes_and_whoever_is_killed() {
    const ROWS: usize = 4000;
    let site = place(
        "beside",
        &shared().postgres,
        &format!(
            "create table items (id int primary key, n int, big text);
             alter table items alter big set storage external;
             create sequence further start 100000;
             insert into items select i, 0, case when i % 3 = 0 then repeat(md5(i::text), 70) end from generate_series(1, {ROWS}) i;
             analyze items"
        ),
        "items",
    )
    .await;
    let reader = reader(&site);
    let stop = Arc::new(AtomicBool::new(false));
    let slow = || relay(&site).with("POSTRIDER_CAPTURE_SNAPSHOT_CHUNK_ROWS", "97");
    let work = async {
        let mut first = slow().with("POSTRIDER_CAPTURE_SNAPSHOT_ROWS_PER_SECOND", "1500").start();
        first.ready().await;
        snapshot(&site, &["start", "--table", "public.items"]).expect(0, &["requested"]);
        let arrived = || reads(&reader.records()).len();
        until("a third of the rows arrived", PATIENCE, async || (arrived() > ROWS / 3).then_some(())).await;
        first.kill();
        reader.read_to_the_end().await;
        let before = arrived();
        let mut second = slow().start();
        second.ready().await;
        let done = in_state(&site, 0, "done").await;
        // Nobody reads this row again: who follows the topic takes its large value along himself.
        site.sql(
            "update items set id = nextval('further'), n = n + 1
             where id = (select id from items where id <= 4000 and big is not null limit 1)",
        )
        .await;
        stop.store(true, Ordering::Relaxed);
        (before, done, second)
    };
    let ((before, done, second), ()) = tokio::join!(work, disturb(&site, Arc::clone(&stop)));
    assert_folded(&site, &reader).await;
    let (all, rows) = (reads(&reader.records()), done["rows"].as_u64().unwrap());
    assert!(all.iter().all(|value| value["source"]["snapshot"] == "incremental" && value["source"]["lsn"].is_null()));
    // What comes again is what became durable in the second before the kill, and what was in flight.
    assert!(before > ROWS / 3 && all.len() < ROWS + 3000, "{before} before the kill, {} in all", all.len());
    assert!(rows > ROWS as u64 / 2, "{done}");
    let positions: Vec<_> =
        reader.records().iter().filter_map(|record| record.header("postrider-position").map(str::to_owned)).collect();
    assert!(positions.len() >= all.len());
    assert!(second.metric("postrider_incremental_snapshot_chunks_total").await > 1.0);
    second.terminate().await.expect(0, &[]);
}

/// A commit that is in the log, and therefore delivered, while nobody sees it: its synchronous standby does not answer.
async fn commit_unseen(site: &Site, sql: &str) -> (tokio::task::JoinHandle<()>, i32) {
    let client = site.connect().await;
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    client.batch_execute("set synchronous_commit = on").await.unwrap();
    let sql = sql.to_owned();
    (tokio::spawn(async move { client.batch_execute(&sql).await.expect("it is committed") }), pid)
}

async fn rereads(relay: &Relay) -> f64 {
    relay.metric("postrider_incremental_snapshot_rereads_total{reason=\"behind\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_delivered_before_it_is_visible_is_never_taken_back() {
    let settings = [("wal_level", "logical"), ("synchronous_commit", "local"), ("synchronous_standby_names", "absent")];
    let server = PrivatePostgres::start(Some(*MAJORS.end()), &settings).expect("a private Postgres starts");
    let server = Arc::new(server);
    let tables =
        "create table items (id int primary key, n int); insert into items select i, 0 from generate_series(1, 10) i";
    let site = place("unseen", &server.environment(), tables, "items").await;
    let reader = reader(&site);
    let mut first = relay(&site).start();
    first.ready().await;

    // One that is open all the time, and has changed the table, keeps nobody waiting.
    let open = site.connect().await;
    open.batch_execute("begin; update items set n = 50 where id = 5").await.unwrap();
    let (commit, pid) = commit_unseen(&site, "update items set n = 100 where id = 1").await;
    reader.record("the change", |record| value(record).is_some_and(|value| value["after"]["n"] == 100)).await;
    let seen: i32 = site.db().query_one("select n from items where id = 1", &[]).await.unwrap().get(0);
    assert_eq!(seen, 0, "it is delivered and not visible");

    snapshot(&site, &["start", "--table", "public.items"]).expect(0, &["requested"]);
    until("the chunk is read again", PATIENCE, async || (rereads(&first).await > 2.0).then_some(())).await;
    assert_eq!(reads(&reader.records()).len(), 0);

    // Who is started now has not delivered it, and must not take it back either.
    first.terminate().await.expect(0, &[]);
    let mut second = relay(&site).start();
    second.ready().await;
    until("the chunk is read again", PATIENCE, async || (rereads(&second).await > 2.0).then_some(())).await;
    assert_eq!(reads(&reader.records()).len(), 0);

    site.sql(&format!("select pg_cancel_backend({pid})")).await;
    commit.await.unwrap();
    open.batch_execute("rollback").await.unwrap();
    in_state(&site, 0, "done").await;
    assert_folded(&site, &reader).await;
    assert_eq!(reads(&reader.records()).len(), 10);

    // A transaction that this relay has seen from its beginning does not hold it up.
    open.batch_execute("begin; update items set n = 51 where id = 5").await.unwrap();
    snapshot(&site, &["start", "--table", "public.items", "--where", "id <= 5"]).expect(0, &["requested"]);
    let done = in_state(&site, 1, "done").await;
    assert_eq!(done["rows"], 5);
    open.batch_execute("commit").await.unwrap();
    reader.record("the change", |record| value(record).is_some_and(|value| value["after"]["n"] == 51)).await;
    assert_eq!(fold(&reader.records()), table(&site).await);
    second.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_changes_of_columns_start_snapshots_and_what_cannot_be_understood_stops_nothing() {
    let site = place(
        "signals",
        &shared().postgres,
        "create table items (id int primary key, n int);
         create table signals (id text primary key, type text not null, data text);
         insert into items select i, i from generate_series(1, 20) i",
        "items, signals",
    )
    .await;
    let reader = reader(&site);
    let mut relay = relay(&site).with("POSTRIDER_CAPTURE_SIGNAL_TABLE", "public.signals").start();
    relay.ready().await;
    let signal = async |id: &str, kind: &str, data: &str| {
        let insert = "insert into signals values ($1, $2, $3)";
        site.db().execute(insert, &[&id, &kind, &data]).await.unwrap();
    };
    signal("1", "execute-snapshot", "no JSON").await;
    signal("2", "make-coffee", "{}").await;
    signal("3", "log", r#"{"message": "hello from the database"}"#).await;
    relay.logs(&["hello from the database"]).await;
    relay.logs(&["cannot be understood", "execute-snapshot"]).await;
    assert!((relay.metric("postrider_unreadable_signals_total").await - 2.0).abs() < 0.5);

    let filtered = r#"{"data-collections": ["public.items"], "type": "incremental",
        "additional-conditions": [{"data-collection": "public.items", "filter": "n > 15"}]}"#;
    signal("4", "execute-snapshot", filtered).await;
    let done = in_state(&site, 0, "done").await;
    assert_eq!((&done["rows"], &done["origin"]), (&Value::from(5), &Value::from("signal")));

    // One without a key, one that is not captured, and a condition that Postgres refuses, each say so.
    signal("5", "execute-snapshot", r#"{"data-collections": ["public.signals"]}"#).await;
    let failed = in_state(&site, 1, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("is not captured"), "{failed}");
    let refused = r#"{"data-collections": ["public.items"], "additional-conditions": [{"data-collection": "public.items", "filter": "nothing > 1"}]}"#;
    signal("6", "execute-snapshot", refused).await;
    let failed = in_state(&site, 2, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("42703"), "{failed}");
    snapshot(&site, &["start", "--table", "public.nothing"]).expect(1, &["there is no table public.nothing", "help:"]);
    snapshot(&site, &["start", "--table", "public.items", "--where", "true; drop table items"])
        .expect(1, &["semicolon"]);

    // What a table was like is known from its changes.
    site.sql("update items set n = n + 1 where id = 1").await;
    site.sql("alter table items add column added text not null default 'new'; insert into items values (21, 21)").await;
    let done = in_state(&site, 3, "done").await;
    assert_eq!((&done["rows"], &done["origin"]), (&Value::from(21), &Value::from("rewrite")));
    assert_folded(&site, &reader).await;

    signal("7", "stop-snapshot", "").await;
    assert_folded_after(&site, &reader).await;
    relay.terminate().await.expect(0, &[]);
}

/// The stream goes on.
async fn assert_folded_after(site: &Site, reader: &TopicReader) {
    site.sql("insert into items (id) values (1000000)").await;
    reader.record("the change behind the signal", |record| record.key.as_deref() == Some(br#"{"id":1000000}"#)).await;
    assert_eq!(fold(&reader.records()), table(site).await);
}
