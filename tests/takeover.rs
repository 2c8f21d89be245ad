//! Of any number of relays for one slot one reads it: the others stand by, say so, and take over when the first is gone, hangs or
//! is asked to end.

use std::time::Duration;

use harness::{Load, PATIENCE, Relay, Site, until};

/// Enough to write while a relay is exchanged, and a pause between two transactions.
const WRITERS: (u64, Duration) = (2, Duration::from_millis(2));

/// Waits until the outbox is delivered further than now.
async fn goes_on(reader: &harness::TopicReader) {
    let before = reader.count();
    until("events arrive", PATIENCE, async || (reader.count() > before + 50).then_some(())).await;
}

#[track_caller]
fn assert_quiet(log: &str) {
    for word in [" WARN ", " ERROR ", "is in use"] {
        assert!(!log.contains(word), "{word} in:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stands_by_takes_over_when_the_first_is_killed() {
    let site = Site::new("takeover").await;
    let reader = site.reader();
    let load = Load::start(&site, WRITERS.0, WRITERS.1).await;
    let mut first = site.relay().start();
    first.ready().await;
    let (holder, _) = site.walsender().await.expect("the first relay reads the slot");

    let mut second = site.relay().start();
    let says = second.stands_by().await;
    assert!(says.contains(&format!("process {} on ", first.pid())) && says.contains(site.name()), "{says}");
    let (_, status) = second.get("/status").await.expect("it answers");
    assert!(status.contains(r#""state":"standby""#) && status.contains(r#""role":"standby""#), "{status}");
    assert!((second.metric("postrider_standby").await, first.metric("postrider_active").await) == (1.0, 1.0));
    // The waiting one disturbs nobody.
    goes_on(&reader).await;
    assert_eq!(site.walsender().await.map(|(pid, _)| pid), Some(holder));

    first.kill();
    second.ready().await;
    second.logs(&["takes over", "its holder is gone"]).await;
    assert_quiet(&second.log());
    assert!(second.metric("postrider_takeovers_total").await == 1.0 && second.metric("postrider_active").await == 1.0);
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    second.terminate().await.expect(0, &["gave the lease back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_hangs_loses_the_slot_with_its_lease_and_stands_by_when_it_goes_on() {
    let site = Site::new("zombie").await;
    let reader = site.reader();
    let load = Load::start(&site, WRITERS.0, WRITERS.1).await;
    let launch = site.relay().with("POSTRIDER_STANDBY_LEASE_MS", "1000");
    let mut first = launch.start();
    first.ready().await;
    goes_on(&reader).await;
    let (zombie, _) = site.walsender().await.expect("the first relay reads the slot");
    let mut second = launch.start();
    second.stands_by().await;

    first.freeze();
    second.ready().await;
    second.logs(&["its backend is terminated", "it was not renewed in time"]).await;
    assert_eq!(second.metric("postrider_backends_evicted_total").await, 1.0);
    assert!(site.walsender().await.is_some_and(|(pid, _)| pid != zombie));
    goes_on(&reader).await;
    first.thaw();
    first.stands_by().await;
    first.logs(&["to stand by"]).await;
    assert_eq!(first.metric("postrider_leases_lost_total").await, 1.0);
    goes_on(&reader).await;
    // And back again.
    second.terminate().await.expect(0, &["gave the lease back"]);
    first.ready().await;
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    first.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_relays_are_restarted_one_after_the_other_and_nothing_comes_twice() {
    let site = Site::new("rolling").await;
    let reader = site.reader();
    let load = Load::start(&site, WRITERS.0, WRITERS.1).await;
    let mut relays: Vec<Relay> = (0..3).map(|_| site.relay().start()).collect();
    goes_on(&reader).await;
    let mut said = String::new();
    for _ in 0..3 {
        let oldest = relays.remove(0);
        let ended = oldest.terminate().await;
        ended.expect(0, &[]);
        said.push_str(ended.said());
        let mut new = site.relay().start();
        until("the new one stands by or works", PATIENCE, async || {
            new.get("/ready").await.filter(|(code, _)| *code == 200)
        })
        .await;
        goes_on(&reader).await;
        if relays.len() == 2 {
            assert_eq!(active(&relays).await + active(std::slice::from_mut(&mut new)).await, 1.0, "one is active");
        }
        relays.push(new);
    }
    load.stop().await;
    let findings = site.assert_all_arrived(&reader).await;
    assert_eq!(findings.duplicated, 0);
    for relay in relays {
        let ended = relay.terminate().await;
        ended.expect(0, &[]);
        said.push_str(ended.said());
    }
    assert_quiet(&said);
}

async fn active(relays: &[Relay]) -> f64 {
    let mut active = 0.0;
    for relay in relays {
        active += relay.metric("postrider_active").await;
    }
    active
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_not_provably_the_holders_is_never_terminated() {
    let site = Site::new("foreign").await;
    let reader = site.reader();
    let load = Load::start(&site, 1, WRITERS.1).await;
    let launch = site.relay().with("POSTRIDER_STANDBY_LEASE_MS", "500");
    let mut first = launch.start();
    first.ready().await;
    goes_on(&reader).await;
    let foreign = site.walsender().await.expect("the first relay reads the slot");
    let mut second = launch.start();
    second.stands_by().await;
    first.freeze();
    // As if the holder had read by another backend, and somebody else's had the slot now.
    site.sql("update postrider.leases set detail = jsonb_set(detail, '{reader,started_us}', '1')").await;

    let reason = second.unready(&["is in use by the backend with pid"]).await;
    assert!(reason.contains(&foreign.0.to_string()), "{reason}");
    second.logs(&["takes over", "One relay reads a slot"]).await;
    assert_eq!(site.walsender().await, Some(foreign), "it is left alone");
    assert_eq!(second.metric("postrider_backends_evicted_total").await, 0.0);
    first.kill();
    second.ready().await;
    load.stop().await;
    site.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leases_a_second_relay_waits_for_the_slot_itself() {
    let site = Site::new("unleased").await;
    site.sql("drop table postrider.leases").await;
    let reader = site.reader();
    let load = Load::start(&site, 1, WRITERS.1).await;
    let mut first = site.relay().start();
    first.ready().await;
    first.logs(&["no lease can be had", "postrider migrate"]).await;
    let (holder, _) = site.walsender().await.expect("the first relay reads the slot");

    let mut second = site.relay().start();
    let reason = second.unready(&["is in use by the backend with pid"]).await;
    assert!(reason.contains(site.name()) && reason.contains(&holder.to_string()), "{reason}");
    second.logs(&["One relay reads a slot"]).await;
    goes_on(&reader).await;
    assert_eq!(site.walsender().await.map(|(pid, _)| pid), Some(holder));
    first.kill();
    second.ready().await;
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    second.terminate().await.expect(0, &[]);
}
