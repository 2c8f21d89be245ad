//! Services that go away, freeze or hang up under load: the relay waits, recovers, loses nothing, and does not grow.

use std::time::Duration;

use harness::{Load, PATIENCE, Relay, Site, TopicReader, pace, shared, until};
use xtask::services::{PrivateKafka, PrivatePostgres};

/// The most memory that a relay may ever have needed, in MiB: what may be in flight (16) and in the producer's queue (16)
/// with their overheads, and the program itself, here without optimisation.
const MEMORY_MAX_MIB: f64 = 80.0;

/// Waits until this many more records than now were read.
async fn more(reader: &TopicReader, records: usize) {
    let enough = reader.count() + records;
    until("records arrive", PATIENCE, async || (reader.count() >= enough).then_some(())).await;
}

fn assert_bounded(relay: &Relay) {
    let peak = relay.usage().rss_peak_mib();
    assert!(peak > 1.0 && peak < MEMORY_MAX_MIB, "{peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_under_load_is_waited_for_and_nothing_is_lost() {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker of our own");
    let site = Site::between("brokergone", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let load = Load::start(&site, 3, Duration::from_millis(3)).await;
    more(&reader, 100).await;

    kafka.stop();
    let (walsender, written) = (site.walsender().await, load.written());
    until("the relay notices", PATIENCE, async || {
        (relay.metric("postrider_kafka_reachable").await < 0.5).then_some(())
    })
    .await;
    tokio::time::sleep(pace(Duration::from_secs(5), Duration::from_secs(30))).await;
    assert!(load.written() > written, "the writers go on");
    kafka.start_again().expect("the broker comes back");
    more(&reader, 100).await;
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    assert_eq!(site.walsender().await, walsender, "the slot's session outlived the outage");
    assert_bounded(&relay);

    // And a broker that is away when the relay starts.
    relay.terminate().await.expect(0, &[]);
    kafka.stop();
    let mut relay = site.relay().with("POSTRIDER_KAFKA_REQUEST_TIMEOUT_MS", "1000").start();
    relay.unready(&["no kafka broker answers", &kafka.bootstrap()]).await;
    site.sql(r#"select postrider.emit('order', 'after', 'Late', '{"n": 1}')"#).await;
    kafka.start_again().expect("the broker comes back");
    relay.ready().await;
    site.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_acknowledges_nothing_costs_neither_the_session_nor_memory() {
    // The server hangs up on a client that is silent for two seconds.
    let postgres = PrivatePostgres::start(None, &[("wal_sender_timeout", "2s")]).expect("a server of our own");
    let kafka = PrivateKafka::start(&[]).expect("a broker of our own");
    let site = Site::between("frozen", &postgres.environment(), &kafka.bootstrap()).await;
    site.create_topics().await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let load = Load::start(&site, 2, Duration::from_millis(5)).await;
    more(&reader, 100).await;
    let walsender = site.walsender().await.expect("the relay reads the slot");

    kafka.pause();
    // Far more than may be in flight: reading must stop, answering must not.
    site.sql(
        "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload)
         select gen_random_uuid(), 'parcel', format('big%s', i % 50), 'Big',
                jsonb_build_object('n', 1 + i / 50, 'text', (select string_agg(md5(random()::text), '') from generate_series(1, 60 + i % 2)))
         from generate_series(0, 39999) i",
    )
    .await;
    let confirmed = site.confirmed().await;
    tokio::time::sleep(pace(Duration::from_secs(7), Duration::from_secs(20))).await;
    assert_eq!(site.confirmed().await, confirmed, "the broker is frozen, so nothing can have become durable");
    assert_eq!(site.walsender().await, Some(walsender.clone()), "the session was lost\n{}", relay.log());
    kafka.resume();
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    assert_eq!(site.walsender().await, Some(walsender), "the session was lost\n{}", relay.log());
    assert_bounded(&relay);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_restarts_or_crashes_under_load_is_waited_for_and_nothing_is_lost() {
    let mut postgres = PrivatePostgres::start(None, &[]).expect("a server of our own");
    let mut site = Site::between("pgrestart", &postgres.environment(), &shared().kafka.bootstrap).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let load = Load::start(&site, 3, Duration::from_millis(3)).await;
    for crash in [false, true, false] {
        more(&reader, 100).await;
        if crash {
            postgres.stop_immediate();
            relay.unready(&["Postgres cannot be reached"]).await;
            postgres.start_again().expect("the server comes back");
        } else {
            postgres.restart().expect("the server comes back");
        }
        relay.ready().await;
    }
    more(&reader, 100).await;
    load.stop().await;
    site.reconnect().await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_backend_is_replaced_and_nothing_is_lost() {
    let site = Site::new("terminated").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let load = Load::start(&site, 3, Duration::from_millis(3)).await;
    for _ in 0..5 {
        more(&reader, 50).await;
        let reading = async || site.walsender().await;
        let (pid, _) = until("the relay reads the slot", PATIENCE, reading).await;
        // All of its sessions: the stream's and the one that looks after the slot.
        let terminate = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        site.db().execute(terminate, &[&site.role()]).await.unwrap();
        let replaced = async || site.walsender().await.filter(|(new, _)| *new != pid);
        until("another session reads the slot", PATIENCE, replaced).await;
    }
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
}
