//! A killed relay loses nothing; one that is asked to stop repeats nothing.

use std::time::{Duration, Instant};

use harness::{Load, PATIENCE, Record, Site, TopicReader, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order_of_each_key() {
    const KILLS: usize = 6;
    let site = Site::new("sigkill").await;
    let reader = site.reader();
    let load = Load::start(&site, 4, Duration::from_millis(2)).await;
    let mut repeatable = 0;
    for kill in 0..KILLS {
        let relay = site.relay().start();
        // Killed in the middle of delivering: at once, or a little after it confirmed something.
        let (records, confirmed) = (reader.count() + 50 * kill, site.confirmed().await);
        until("records arrive", PATIENCE, async || (reader.count() > records).then_some(())).await;
        if kill % 2 == 1 {
            until("they are confirmed", PATIENCE, async || (site.confirmed().await > confirmed).then_some(())).await;
        }
        relay.kill();
        repeatable += unconfirmed(&site, &reader).await;
    }
    load.stop().await;
    let relay = site.relay().start();
    let findings = site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
    // Only what had not been confirmed when a relay was killed can have come twice.
    assert!(findings.duplicated <= repeatable, "{} of {repeatable}", findings.duplicated);
}

/// How many records were delivered whose transactions the slot still has.
async fn unconfirmed(site: &Site, reader: &TopicReader) -> u64 {
    // What was on its way to the broker when the relay was killed arrives within moments.
    reader.read_to_the_end().await;
    let confirmed = site.confirmed().await;
    let is_unconfirmed = |record: &Record| record.commit_lsn().is_none_or(|commit_lsn| commit_lsn >= confirmed);
    reader.records().iter().filter(|record| is_unconfirmed(record)).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_asked_to_stop_drains_and_its_successor_repeats_nothing() {
    let site = Site::new("sigterm").await;
    let reader = site.reader();
    let load = Load::start(&site, 4, Duration::from_millis(2)).await;
    for _ in 0..4 {
        let relay = site.relay().start();
        let enough = reader.count() + 100;
        until("records arrive", PATIENCE, async || (reader.count() > enough).then_some(())).await;
        relay.terminate().await.expect(0, &[]);
    }
    load.stop().await;
    let relay = site.relay().start();
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
    assert_eq!(site.judge(&reader).await.duplicated, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_while_idle_leaves_nothing_behind_for_the_slot() {
    let site = Site::new("stopidle").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();
    site.sql(r#"select postrider.emit('order', 'k', 'Written', '{"n": 1}')"#).await;
    let end = site.wal_end().await;
    reader.distinct(1).await;
    let stopped = Instant::now();
    relay.terminate().await.expect(0, &[]);
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
    // What was delivered was confirmed with the last word.
    assert!(site.confirmed().await >= end, "{:x} {end:x}", site.confirmed().await);
    assert_eq!(site.walsender().await, None);
}
