//! The guard over the server's disk: it warns, it releases a slot whose budget is used up, and it leaves alone what must not be touched.

use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use harness::{Launch, PATIENCE, Relay, Site, TopicReader, newest, shared, until};
use serde_json::Value;
use xtask::services::{PrivateKafka, PrivatePostgres};

/// A broker that is not there.
const NO_BROKER: &str = "127.0.0.1:1";

/// What a webhook was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Value>>>);

impl Told {
    /// Listens on a free port; where.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook?token=secret", listener.local_addr().expect("it is bound"));
        let hear = async |State(told): State<Self>, Json(notice): Json<Value>| {
            told.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
        };
        let router = Router::new().route("/hook", post(hear)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn of(&self, level: &str) -> Value {
        let look = async || {
            let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.iter().find(|notice| notice["level"] == level).cloned()
        };
        until(&format!("a notice of {level}"), PATIENCE, look).await
    }
}

/// A relay with a budget of 4 MiB.
fn guarded(site: &Site, action: &str) -> Launch {
    site.relay()
        .with("POSTRIDER_GUARD_ACTION", action)
        .with("POSTRIDER_GUARD_WAL_BYTES_MAX", "4194304")
        .with("POSTRIDER_GUARD_INTERVAL_MS", "100")
}

/// Writes 8 MiB of WAL.
async fn write_wal(site: &Site) {
    site.sql("select pg_logical_emit_message(false, 'ballast', repeat('x', 1048576)) from generate_series(1, 8)").await;
}

async fn slots(site: &Site) -> i64 {
    let count = "select count(*) from pg_replication_slots where slot_name = $1";
    site.db().query_one(count, &[&site.name()]).await.expect("slots can be counted").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_beyond_its_budget_is_released_and_made_anew_without_loss() {
    let (site, told) = (Site::new("release").await, Told::default());
    site.initialiser().with("POSTRIDER_GUARD_ACTION", "release").complete("init").expect(0, &["grant insert, delete"]);
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    site.sql(r#"select postrider.emit('order', 'a', 'Placed', '{"n": 1}')"#).await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);

    let url = told.listen().await;
    let relay = guarded(&site, "release")
        .with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", NO_BROKER)
        .with("POSTRIDER_GUARD_WEBHOOK_URL", &url)
        .start();
    site.sql(r#"select postrider.emit('order', 'a', 'Paid', '{"n": 2}')"#).await;
    write_wal(&site).await;
    until("the slot is gone", PATIENCE, async || (slots(&site).await == 0).then_some(())).await;
    let notice = told.of("released").await;
    assert_eq!(notice["slot"], site.name());
    assert_eq!(notice["budget_bytes"], 4_194_304);
    assert!(notice["retained_bytes"].as_u64() > Some(4_194_304), "{notice}");
    told.of("over").await;
    relay.logs(&["was released", "publishes what waits"]).await;
    assert_eq!(relay.metric("postrider_guard_releases_total").await, 1.0);
    assert!(!relay.log().contains("token=secret"), "the webhook's address is a secret");
    relay.kill();

    // What is written without any slot waits in the table.
    site.sql(r#"select postrider.emit('order', 'a', 'Sent', '{"n": 3}')"#).await;
    let mut relay = guarded(&site, "release").start();
    relay.ready().await;
    let findings = site.assert_all_arrived(&reader).await;
    assert_eq!((findings.committed, findings.duplicated), (3, 0));
    assert_eq!(slots(&site).await, 1);
    relay.terminate().await.expect(0, &["the slot is there again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_changes_that_are_given_up_are_named_and_the_rows_are_read_again() {
    let site = Site::bare("releasecdc", &shared().postgres, &shared().kafka.bootstrap).await;
    let told = |launch: Launch| site.capturing(launch).with("POSTRIDER_GUARD_ACTION", "release");
    site.migrate();
    site.sql("create table items (id int primary key, name text)").await;
    told(site.initialiser()).complete("init").expect(0, &[]);
    site.create_topics().await;
    let items = TopicReader::start(site.bootstrap(), [(format!("{}.cdc.items", site.name()), 0)]);
    let mut relay = told(site.relay()).start();
    relay.ready().await;
    site.sql("insert into items values (1, 'one')").await;
    until("the change arrives", PATIENCE, async || (items.count() == 1).then_some(())).await;
    relay.terminate().await.expect(0, &[]);

    let relay = told(guarded(&site, "release")).with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", NO_BROKER).start();
    site.sql("update items set name = 'uno'; insert into items values (2, 'two')").await;
    write_wal(&site).await;
    relay.logs(&["was released"]).await;
    relay.kill();
    let mut relay = told(guarded(&site, "release")).start();
    relay.ready().await;
    relay.logs(&["changes of the captured tables public.items", "read again beside the stream"]).await;
    until("the rows are read again", PATIENCE, async || {
        let records = items.records();
        let values = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record.value.as_deref()?).ok());
        (values.filter(|value| value["op"] == "r").count() >= 2).then_some(())
    })
    .await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_slot_was_released_goes_on_by_itself_when_the_broker_is_back() {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker starts");
    let site = Site::between("comesback", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    site.initialiser().with("POSTRIDER_GUARD_ACTION", "release").complete("init").expect(0, &["grant insert, delete"]);
    let reader = site.reader();
    let mut relay = guarded(&site, "release").start();
    relay.ready().await;
    site.sql(r#"select postrider.emit('order', 'a', 'Placed', '{"n": 1}')"#).await;
    site.assert_all_arrived(&reader).await;
    kafka.stop();
    assert_outlives_a_release((&site, &mut kafka, &reader), relay, 1).await;
}

/// While the broker is away an event is written, the slot is released, and another one is written: both arrive once when it is back,
/// after the `before` that did earlier.
async fn assert_outlives_a_release(
    (site, kafka, reader): (&Site, &mut PrivateKafka, &TopicReader),
    relay: Relay,
    before: u64,
) {
    let emit = |n: u64| format!(r#"select postrider.emit('order', 'a', 'Happened', '{{"n": {n}}}')"#);
    site.sql(&emit(before + 1)).await;
    write_wal(site).await;
    until("the slot is gone", PATIENCE, async || (slots(site).await == 0).then_some(())).await;
    site.sql(&emit(before + 2)).await;
    kafka.start_again().expect("the broker comes back");
    let findings = site.assert_all_arrived(reader).await;
    assert_eq!((findings.committed, findings.duplicated), (before + 2, 0));
    relay.terminate().await.expect(0, &["the slot is there again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_released_before_anything_was_delivered_is_made_anew_with_all_that_waits() {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker starts");
    let site = Site::between("firstday", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    site.initialiser().with("POSTRIDER_GUARD_ACTION", "release").complete("init").expect(0, &["grant insert, delete"]);
    let reader = site.reader();
    kafka.stop();
    let relay = guarded(&site, "release").with("POSTRIDER_KAFKA_REQUEST_TIMEOUT_MS", "1000").start();
    assert_outlives_a_release((&site, &mut kafka, &reader), relay, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_touches_nothing() {
    let site = Site::new("alert").await;
    let relay = guarded(&site, "alert").with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", NO_BROKER).start();
    write_wal(&site).await;
    relay.logs(&["holds back", "% of its budget (guard.wal_bytes_max)", "action = \\\"release\\\""]).await;
    let is_over = async || (relay.metric("postrider_guard_level").await == 2.0).then_some(());
    until("the budget is used up", PATIENCE, is_over).await;
    assert_eq!(slots(&site).await, 1);
}

/// Another program that reads a slot; it is ended when dropped.
struct Reading(Child);

impl Reading {
    /// Reads a slot of this server and confirms nothing.
    async fn of(site: &Site, server: &PrivatePostgres) -> Self {
        let name = site.name();
        let mut command = server.program("pg_recvlogical").expect("it comes with the server");
        command.args(["--start", "--no-loop", "--file=-", "--fsync-interval=0", "--status-interval=0"]);
        command.args(["--dbname", name, "--slot", name, "--option=proto_version=1"]);
        command.arg(format!("--option=publication_names={name}")).stdout(Stdio::null()).stderr(Stdio::null());
        let reading = Self(command.spawn().expect("it starts"));
        let active = "select from pg_replication_slots where slot_name = $1 and active";
        let is_read = async || site.db().query_opt(active, &[&name]).await.expect("slots can be read").map(drop);
        until("the slot is read by another program", PATIENCE, is_read).await;
        reading
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_reads_is_not_released() {
    let server = PrivatePostgres::start(None, &[]).expect("a server starts");
    let site = Site::between("foreign", &server.environment(), &shared().kafka.bootstrap).await;
    let mut reading = Reading::of(&site, &server).await;
    write_wal(&site).await;
    let relay = guarded(&site, "release").with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", NO_BROKER).start();
    relay.logs(&["another program reads it"]).await;
    assert_eq!(slots(&site).await, 1);
    assert!(reading.0.try_wait().expect("it can be asked for").is_none(), "it was not disturbed");
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_transaction_keeps_is_not_released_and_said_to_be_so() {
    // Where others write, or between looks that are too quick, the slot may be over its budget before anything is delivered.
    let site = Site::on("pinned", &newest()).await;
    let reader = site.reader();
    let mut open = site.connect().await;
    let transaction = open.transaction().await.expect("a transaction");
    let write = "select pg_logical_emit_message(true, 'open', 'x')";
    transaction.batch_execute(write).await.expect("it is in the log");
    // Looks far apart: what is written is delivered by the second.
    let mut relay = guarded(&site, "release").with("POSTRIDER_GUARD_INTERVAL_MS", "2000").start();
    relay.ready().await;
    write_wal(&site).await;
    site.sql(r#"select postrider.emit('order', 'a', 'Placed', '{"n": 1}')"#).await;
    relay.logs(&["most of it is delivered"]).await;
    assert_eq!(relay.metric("postrider_guard_pinned").await, 1.0);
    assert_eq!(relay.metric("postrider_guard_releases_total").await, 0.0);
    site.assert_all_arrived(&reader).await;
    drop(transaction);
    relay.terminate().await.expect(0, &[]);
}
