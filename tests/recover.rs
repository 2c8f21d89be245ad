//! A slot that is gone is a recipe: `postrider slot recover` makes it anew, and everything arrives that was not delivered, in the
//! order of its key, whatever was lost and wherever recovery itself is ended.

use std::time::Duration;

use harness::{Defect, Ended, Findings, Launch, Load, PATIENCE, Site, TopicReader, shared, until};
use serde_json::Value;
use xtask::services::{Postgres, PrivatePostgres};

/// The places at which recovery may be ended, in the order in which it comes to them.
const PLACES: [&str; 4] = ["recover.dropped", "recover.held", "recover.published", "recover.created"];

/// `postrider slot recover` as administrator.
fn recover(launch: Launch, arguments: &[&str]) -> Ended {
    let launch = launch.argument("recover").argument("--output").argument("json");
    arguments.iter().fold(launch, |launch, argument| launch.argument(argument)).complete("slot")
}

fn report(ended: &Ended) -> Value {
    ended.expect(0, &[]);
    serde_json::from_str(ended.said()).expect("a report is JSON")
}

/// Recovers, and insists that it is done.
fn recovered(launch: Launch) -> Value {
    let report = report(&recover(launch, &["--yes"]));
    assert_eq!((&report["done"], &report["lost"]), (&Value::Bool(true), &Value::from(0)), "{report:#}");
    report
}

/// Writers write until so many events were read.
async fn flow(site: &Site, reader: &TopicReader, writers: std::ops::Range<u64>, events: usize) -> u64 {
    let load = Load::of(site, writers, Duration::from_millis(2)).await;
    let before = reader.count();
    until("events flow", PATIENCE, async || (reader.count() >= before + events).then_some(())).await;
    load.stop().await
}

/// Writes events of each of these keys while no relay runs.
async fn write(site: &Site, keys: &str, from: i64, to: i64) {
    let sql = format!(
        "select postrider.emit('order', '{keys}-' || k, 'Changed', jsonb_build_object('n', n))
         from generate_series({from}, {to}) n, generate_series(1, 3) k order by n"
    );
    site.sql(&sql).await;
}

async fn drop_slot(site: &Site) {
    let sql = "select from pg_replication_slots where slot_name = $1 and active";
    until("nobody reads the slot", PATIENCE, async || {
        site.db().query_opt(sql, &[&site.name()]).await.unwrap().is_none().then_some(())
    })
    .await;
    site.db().execute("select pg_drop_replication_slot($1)", &[&site.name()]).await.unwrap();
}

/// Everything arrives, and no more of it twice than was reported.
async fn all_arrived(site: &Site, reader: &TopicReader, report: &Value, repeated_before: u64) -> Findings {
    reader.distinct(site.committed().await).await;
    let findings = site.judge(reader).await;
    assert_eq!((findings.count(Defect::Lost), findings.count(Defect::Reordered)), (0, 0), "{findings:#?}");
    assert_eq!((findings.count(Defect::Backwards), findings.count(Defect::Scattered)), (0, 0), "{findings:#?}");
    let reported = report["duplicates_at_most"].as_u64().expect("a number");
    assert!(findings.duplicated <= repeated_before + reported, "{findings:#?}\n{report:#}");
    findings
}

fn repeated(reader: &TopicReader) -> u64 {
    (reader.count() - reader.ids().len()) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_commits_late_is_never_counted_as_delivered() {
    let site = Site::new("horizon").await;
    let mut late = site.connect().await;
    let transaction = late.transaction().await.unwrap();
    let row = transaction.query_one("select pg_current_xact_id()::text::bigint", &[]).await.unwrap();
    let xid = row.get::<_, i64>(0).unsigned_abs();
    let mut relay = site.relay().start();
    relay.ready().await;
    let mut n = 0;
    let below = until("samples were passed", PATIENCE, async || {
        n += 1;
        write(&site, "early", n, n).await;
        site.delivered_below().await
    })
    .await;
    assert!(below <= xid, "{below} counts {xid}, which is open");
    transaction.execute("select postrider.emit('order', 'late', 'Changed', '{\"n\": 1}')", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    until("the horizon passes it", PATIENCE, async || {
        n += 1;
        write(&site, "early", n, n).await;
        site.delivered_below().await.filter(|below| *below > xid)
    })
    .await;
    let reader = site.reader();
    reader.record("it is delivered by then", |record| record.key.as_deref() == Some(b"late")).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_dropped_is_made_anew_and_what_was_not_delivered_comes_through_it() {
    let site = Site::new("recoverdrop").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    flow(&site, &reader, 0..2, 300).await;
    // Nothing is wrong, and somebody reads the slot.
    let fine = report(&recover(site.administrator(), &["--yes"]));
    assert_eq!((&fine["needed"], &fine["done"]), (&Value::Bool(false), &Value::Bool(false)), "{fine:#}");
    let used = recover(site.administrator(), &["--yes", "--anew"]);
    used.expect(1, &["is being read by the backend with pid", "stop the relay"]);

    // A kill leaves events in Kafka that the progress record does not know of.
    let load = Load::of(&site, 2..4, Duration::from_millis(1)).await;
    let before = reader.count();
    until("more flow", PATIENCE, async || (reader.count() > before + 50).then_some(())).await;
    relay.kill();
    load.stop().await;
    drop_slot(&site).await;
    write(&site, "meanwhile", 1, 50).await;
    let ended = site.relay().start().ended().await;
    ended.expect(1, &["does not exist", "postrider slot recover"]);

    let planned = report(&recover(site.administrator(), &[]));
    assert_eq!((&planned["done"], &planned["history"]), (&Value::Bool(false), &Value::from("same")), "{planned:#}");
    assert!(planned["republished"].as_u64() >= Some(150), "{planned:#}");
    let slots = "select from pg_replication_slots where slot_name = $1";
    assert!(site.db().query_opt(slots, &[&site.name()]).await.unwrap().is_none(), "a plan changes nothing");

    let repeated_before = repeated(&reader);
    let report = recovered(site.administrator());
    assert_eq!(
        (&report["epoch"], &report["read_back"]["complete"]),
        (&Value::from(1), &Value::Bool(true)),
        "{report:#}"
    );
    let mut relay = site.relay().start();
    relay.ready().await;
    flow(&site, &reader, 4..6, 100).await;
    all_arrived(&site, &reader, &report, repeated_before).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_that_is_ended_at_any_step_is_run_again_and_loses_nothing() {
    let site = Site::new("recovercrash").await;
    let reader = site.reader();
    for (number, place) in (1..).zip(PLACES) {
        let mut relay = site.relay().start();
        relay.ready().await;
        write(&site, &format!("a{number}"), 1, 20).await;
        reader.distinct(site.committed().await).await;
        relay.terminate().await.expect(0, &[]);
        write(&site, &format!("b{number}"), 1, 20).await;
        let advance = "select pg_replication_slot_advance($1, pg_current_wal_lsn())";
        site.db().execute(advance, &[&site.name()]).await.unwrap();

        let ended = recover(site.administrator().with("POSTRIDER_FAILPOINT", place), &["--yes"]);
        assert_eq!(ended.code(), None, "{place} is reached: {}", ended.said());
        // A session that was cut is still held for a moment.
        let held = "select from pg_stat_activity where datname = $1 and wait_event_type is distinct from 'Client' and pid <> pg_backend_pid() and backend_type = 'client backend' and state = 'active'";
        until("the server has noticed", PATIENCE, async || {
            site.db().query_opt(held, &[&site.name()]).await.unwrap().is_none().then_some(())
        })
        .await;
        let refused = site.relay().start().ended().await;
        refused.expect(1, &["postrider slot recover"]);
        let repeated_before = repeated(&reader);
        let report = recovered(site.administrator());
        let mut relay = site.relay().start();
        relay.ready().await;
        all_arrived(&site, &reader, &report, repeated_before).await;
        relay.terminate().await.expect(0, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_recovered() {
    let settings = [("wal_level", "logical"), ("max_slot_wal_keep_size", "1MB")];
    let server = PrivatePostgres::start(None, &settings).unwrap();
    let site = Site::between("recoverlost", &server.environment(), &shared().kafka.bootstrap).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    flow(&site, &reader, 0..2, 100).await;
    relay.terminate().await.expect(0, &[]);
    write(&site, "lost", 1, 40).await;
    site.sql("create table filler (text text)").await;
    for _ in 0..4 {
        site.sql("insert into filler select repeat('x', 1000) from generate_series(1, 20000)").await;
        site.sql("select pg_switch_wal()").await;
        site.sql("checkpoint").await;
    }
    site.relay().start().ended().await.expect(1, &["was invalidated", "postrider slot recover"]);
    let report = recovered(site.administrator());
    assert_eq!(report["slot_was"], "lost", "{report:#}");
    let mut relay = site.relay().start();
    relay.ready().await;
    all_arrived(&site, &reader, &report, 0).await;
    relay.terminate().await.expect(0, &[]);
}

/// The same place on another server.
fn there(launch: Launch, server: &Postgres) -> Launch {
    launch.with("POSTRIDER_POSTGRES_HOST", &server.host).with("POSTRIDER_POSTGRES_PORT", &server.port.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_loaded_from_a_dump_goes_on_where_the_old_one_was() {
    let settings = [("wal_level", "logical")];
    let old = PrivatePostgres::start(None, &settings).unwrap();
    let mut site = Site::between("recoverdump", &old.environment(), &shared().kafka.bootstrap).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    flow(&site, &reader, 0..2, 200).await;
    relay.kill();
    write(&site, "undelivered", 1, 30).await;

    // Rows are copied with the numbers of the old server's transactions, as a dump does.
    let server = PrivatePostgres::start_afresh(None, &settings).unwrap();
    let columns = "id, aggregate_type, aggregate_id, event_type, payload, headers, created_at, seq, xid";
    let dump = format!("select json_agg(o)::text from (select {columns} from outbox_events) o");
    let dump: String = site.db().query_one(&dump, &[]).await.unwrap().get(0);
    let database = site.database().on(&server.environment());
    let setup = tokio_postgres::connect(&server.environment().url("postgres"), tokio_postgres::NoTls).await;
    let (setup, connection) = setup.unwrap();
    tokio::spawn(connection);
    setup.batch_execute(&format!("create database {}", database.name())).await.unwrap();
    site.move_to(&server.environment()).await;
    there(site.administrator(), &server.environment()).complete("migrate").expect(0, &[]);
    let load = format!(
        "insert into outbox_events ({columns}) overriding system value
         select {columns} from json_populate_recordset(null::outbox_events, $1::text::json) order by seq"
    );
    site.db().execute(&load, &[&dump]).await.unwrap();
    site.sql("select setval(pg_get_serial_sequence('outbox_events', 'seq'), (select max(seq) from outbox_events))")
        .await;
    let init = there(site.initialiser(), &server.environment()).argument("--backlog").argument("skip");
    init.complete("init").expect(0, &[]);
    write(&site, "new", 1, 10).await;
    drop(old);
    let ended = there(site.relay(), &server.environment()).start().ended().await;
    ended.expect(1, &["on cluster", "postrider slot recover"]);
    let repeated_before = repeated(&reader);
    let report = recovered(there(site.administrator(), &server.environment()));
    assert_eq!((&report["history"], &report["epoch"]), (&Value::from("other"), &Value::from(2)), "{report:#}");
    let mut relay = there(site.relay(), &server.environment()).start();
    relay.ready().await;
    all_arrived(&site, &reader, &report, repeated_before).await;
    // Numbers that the new server has not reached would keep a polling relay waiting.
    let foreign = "select count(*) from outbox_events where xid >= pg_snapshot_xmax(pg_current_snapshot())";
    assert_eq!(site.db().query_one(foreign, &[]).await.unwrap().get::<_, i64>(0), 0);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_an_older_copy_goes_on_and_publishes_what_it_writes_since() {
    let mut server = PrivatePostgres::start(None, &[("wal_level", "logical")]).unwrap();
    let mut site = Site::between("recoverold", &server.environment(), &shared().kafka.bootstrap).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    write(&site, "kept", 1, 20).await;
    reader.distinct(60).await;
    relay.terminate().await.expect(0, &[]);
    let backup = server.backup().unwrap();
    site.reconnect().await;
    let mut relay = site.relay().start();
    relay.ready().await;
    write(&site, "forgotten", 1, 200).await;
    reader.distinct(660).await;
    relay.terminate().await.expect(0, &[]);

    server.restore(&backup).unwrap();
    server.start_again().unwrap();
    site.reconnect().await;
    write(&site, "since", 1, 5).await;
    site.relay().start().ended().await.expect(1, &["restored from an older copy", "postrider slot recover"]);
    let report = recovered(site.administrator());
    assert_eq!((&report["history"], &report["epoch"]), (&Value::from("other"), &Value::from(2)), "{report:#}");
    let mut relay = site.relay().start();
    relay.ready().await;
    write(&site, "later", 1, 5).await;
    reader.distinct(660 + 30).await;
    let findings = site.judge(&reader).await;
    assert_eq!((findings.count(Defect::Lost), findings.count(Defect::Reordered)), (0, 0), "{findings:#?}");
    assert_eq!((findings.count(Defect::Phantom), findings.duplicated), (600, 0), "what the copy forgot was published");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_of_captured_tables_is_named_and_they_are_read_again() {
    let site = Site::bare("recovercdc", &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    site.sql("create table items (id int primary key, name text)").await;
    site.capturing(site.initialiser()).complete("init").expect(0, &[]);
    site.create_topics().await;
    let items = TopicReader::start(site.bootstrap(), [(format!("{}.cdc.items", site.name()), 0)]);
    let mut relay = site.capturing(site.relay()).start();
    relay.ready().await;
    site.sql("insert into items values (1, 'one')").await;
    until("the change arrives", PATIENCE, async || (items.count() == 1).then_some(())).await;
    relay.terminate().await.expect(0, &[]);
    drop_slot(&site).await;
    site.sql("update items set name = 'uno'; insert into items values (2, 'two')").await;

    let ended =
        recover(site.capturing(site.administrator()).with("POSTRIDER_FAILPOINT", "recover.requested"), &["--yes"]);
    assert_eq!(ended.code(), None, "{}", ended.said());
    site.capturing(site.relay()).start().ended().await.expect(1, &["postrider slot recover"]);
    let report = recovered(site.capturing(site.administrator()));
    assert_eq!(report["snapshots"], serde_json::json!(["public.items"]), "{report:#}");
    let range = &report["ranges"][0];
    assert!(range["what"].as_str().is_some_and(|what| what.contains("public.items")), "{report:#}");
    let asked = "select count(*) from postrider.snapshots where slot = $1";
    let asked: i64 = site.db().query_one(asked, &[&site.name()]).await.unwrap().get(0);
    assert_eq!(asked, 1, "what was asked for before the crash is not asked for again");
    let mut relay = site.capturing(site.relay()).start();
    relay.ready().await;
    until("the rows are read again", PATIENCE, async || {
        let records = items.records();
        let values = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record.value.as_deref()?).ok());
        let read = values.filter(|value| value["op"] == "r" || value["payload"]["op"] == "r").count();
        (read >= 2).then_some(())
    })
    .await;
    relay.terminate().await.expect(0, &[]);
}
