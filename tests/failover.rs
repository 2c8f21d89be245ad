//! The primary dies under load and its standby is promoted: with a slot that was kept for it, the relay goes on there by itself,
//! nothing is missing, and nothing was published that the database lost.

use std::time::Duration;

use harness::{Launch, Load, PATIENCE, Site, shared, until};
use xtask::services::{Postgres, PrivatePostgres};

/// The standby's slot on the primary, and its name there.
const STANDBY: &str = "standby";

/// The first major that keeps logical slots on a standby.
const MAJOR: u16 = 17;

/// A primary that hands nothing to the relay, and answers no commit, before its standby has it.
const SETTINGS: &[(&str, &str)] = &[("synchronized_standby_slots", STANDBY), ("synchronous_standby_names", STANDBY)];

/// Once promoted it waits for no standby: it has none. A name that is left here would keep everything from the relay.
const ALONE: &[(&str, &str)] = &[("synchronized_standby_slots", ""), ("synchronous_standby_names", "")];

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_follows_the_promotion_of_a_standby_and_loses_nothing() {
    let mut primary = PrivatePostgres::start(Some(MAJOR), SETTINGS).unwrap();
    let standby = primary.standby(STANDBY, ALONE).unwrap();
    let (here, there) = (primary.environment(), standby.environment());
    let hosts = format!("{}:{},{}:{}", here.host, here.port, there.host, there.port);

    let mut site = Site::bare("failover", &here, &shared().kafka.bootstrap).await;
    site.migrate();
    site.initialiser().argument("--failover").complete("init").expect(0, &[]);
    site.create_topics().await;
    let reader = site.reader();
    let everywhere = |launch: Launch| launch.with("POSTRIDER_POSTGRES_HOST", &hosts);

    let url =
        format!("postgres://{}:{}@{hosts}/{}?target_session_attrs=read-write", here.user, here.password, site.name());
    let load = Load::at(&site, &url, 0..4, Duration::from_millis(2)).await;
    let mut relay = everywhere(site.relay()).start();
    relay.ready().await;
    kept(&site, &there).await;
    let checked = everywhere(site.relay()).complete("check");
    assert_eq!((checked.code(), checked.said()), (Some(0), ""), "a promotion would keep the slot now");
    until("events flow", PATIENCE, async || (reader.count() > 200).then_some(())).await;

    primary.stop_immediate();
    standby.promote().unwrap();
    site.move_to(&there).await;
    let before = load.written();
    until("the writers go on", PATIENCE, async || (load.written() > before + 200).then_some(())).await;
    relay.ready().await;
    let written = load.stop().await;
    let findings = site.assert_all_arrived(&reader).await;
    assert!(findings.committed >= written, "what a writer was told is committed survives: {findings:#?}");
    relay.terminate().await.expect(0, &[]);
}

/// Waits until the standby keeps the slot for good.
async fn kept(site: &Site, there: &Postgres) {
    let standby = site.database().on(there).connect().await.unwrap();
    until("the slot is kept on the standby", PATIENCE, async || {
        // The slot's WAL begins where the server last wrote down what runs: by itself it does so every 15 seconds.
        site.sql("select pg_log_standby_snapshot()").await;
        let sql = "select from pg_replication_slots where slot_name = $1 and synced and not temporary";
        standby.query_opt(sql, &[&site.name()]).await.unwrap().map(drop)
    })
    .await;
}
