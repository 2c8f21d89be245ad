//! One relay reads a slot: a second one waits, says so, and takes over when the first is gone.

use std::time::Duration;

use harness::{Load, PATIENCE, Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_waits_for_the_slot_and_takes_over_when_the_first_is_killed() {
    let site = Site::new("takeover").await;
    let reader = site.reader();
    let load = Load::start(&site, 2, Duration::from_millis(2)).await;
    let mut first = site.relay().start();
    first.ready().await;
    let (holder, _) = site.walsender().await.expect("the first relay reads the slot");

    let mut second = site.relay().start();
    let reason = second.unready(&["is in use by the backend with pid"]).await;
    assert!(reason.contains(site.name()) && reason.contains(&holder.to_string()), "{reason}");
    second.logs(&["One relay reads a slot"]).await;
    // The waiting one disturbs nobody.
    let before = reader.count();
    until("the first goes on", PATIENCE, async || (reader.count() > before + 50).then_some(())).await;
    assert_eq!(site.walsender().await.map(|(pid, _)| pid), Some(holder));

    first.kill();
    second.ready().await;
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    second.terminate().await.expect(0, &[]);
}
