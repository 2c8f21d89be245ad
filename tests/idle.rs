//! What the database does elsewhere neither holds WAL back nor loses events: idle outboxes, transactions left open.

use std::time::Duration;

use harness::{Load, PATIENCE, Site, newest, oldest, pace, until};

/// How far behind the end of the WAL an idle slot may be: the issue says seconds.
const SECONDS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_of_an_idle_outbox_follows_a_busy_neighbour_without_a_heartbeat_table() {
    for server in [oldest(), newest()] {
        let site = Site::on("neighbour", &server).await;
        let mut relay = site.relay().start();
        relay.ready().await;
        site.sql("create table neighbour (n bigint)").await;
        for _ in 0..5 {
            // Some megabytes: more than any buffer of the walsender.
            site.sql("insert into neighbour select n from generate_series(1, 20000) n").await;
            let end = site.wal_end().await;
            let follows = async || (site.confirmed().await >= end).then_some(());
            until("the slot follows the WAL of a table that it does not publish", SECONDS, follows).await;
        }
        // It followed while nothing was delivered: the events that come then are not skipped.
        let reader = site.reader();
        site.sql(r#"select postrider.emit('order', 'k', 'Late', '{"n": 1}')"#).await;
        site.assert_all_arrived(&reader).await;
        relay.terminate().await.expect(0, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_transaction_left_open_over_a_kill_arrive_when_it_commits() {
    let server = newest();
    let site = Site::on("leftopen", &server).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;

    let slow = site.connect().await;
    slow.batch_execute(r#"begin; select postrider.emit('order', 'slow', 'First', '{"n": 1}')"#).await.unwrap();
    let load = Load::start(&site, 2, Duration::from_millis(5)).await;
    tokio::time::sleep(pace(Duration::from_secs(3), Duration::from_secs(180))).await;
    // Others are not held up by it, and neither is the slot's confirmed position.
    let end = site.wal_end().await;
    until("the slot follows", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
    relay.kill();

    slow.batch_execute(r#"select postrider.emit('order', 'slow', 'Second', '{"n": 2}')"#).await.unwrap();
    let mut relay = site.relay().start();
    relay.ready().await;
    load.stop().await;
    slow.batch_execute(r#"select postrider.emit('order', 'slow', 'Third', '{"n": 3}'); commit"#).await.unwrap();
    site.assert_all_arrived(&reader).await;
    let slow = reader.records().into_iter().filter(|record| record.key.as_deref() == Some(b"slow"));
    let types: Vec<_> = slow.map(|record| record.header("event_type").map(str::to_owned)).collect();
    assert_eq!(types, ["First", "Second", "Third"].map(|name| Some(name.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_left_open_at_the_first_start_is_delivered_too() {
    let server = newest();
    let site = Site::on("openfirst", &server).await;
    let reader = site.reader();
    let slow = site.connect().await;
    slow.batch_execute(r#"begin; select postrider.emit('order', 'slow', 'First', '{"n": 1}')"#).await.unwrap();
    let mut relay = site.relay().start();
    relay.ready().await;
    site.sql(r#"select postrider.emit('order', 'quick', 'Quick', '{"n": 1}')"#).await;
    reader.distinct(1).await;
    slow.batch_execute("commit").await.unwrap();
    site.assert_all_arrived(&reader).await;
}
