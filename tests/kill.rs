//! A killed relay loses nothing; one that is asked to stop repeats nothing.

use std::time::{Duration, Instant};

use harness::{Load, PATIENCE, Site, until};

/// What a relay may have delivered and not recorded when it is killed: progress is recorded every 100 ms, and a busy
/// machine may take several times as long over it.
const UNRECORDED: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order_of_each_key() {
    const KILLS: u32 = 6;
    let site = Site::new("sigkill").await;
    let reader = site.reader();
    let load = Load::start(&site, 4, Duration::from_millis(2)).await;
    let begun = Instant::now();
    for kill in 0..KILLS {
        let relay = site.relay().start();
        // Killed in the middle of delivering, each time a little later.
        let enough = reader.count() + 50 * kill as usize;
        until("records arrive", PATIENCE, async || (reader.count() > enough).then_some(())).await;
        relay.kill();
    }
    let written = load.stop().await;
    let seconds = begun.elapsed().as_secs_f64();
    let relay = site.relay().start();
    let findings = site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);
    let bound = f64::from(KILLS) * written as f64 / seconds * UNRECORDED.as_secs_f64();
    assert!((findings.duplicated as f64) < bound, "{} of {written} events, in {seconds} s", findings.duplicated);
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
