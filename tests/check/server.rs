//! Servers whose settings are wrong: each belongs to one case, for what is wrong with it is wrong for all its databases.

use std::sync::Arc;

use harness::{Site, shared};
use xtask::services::{MAJORS, PrivatePostgres};

use crate::check::case::{Case, Guard, Make};

/// Ends a file of 16 MiB of the log.
const SWITCH: &str = "select pg_switch_wal(), pg_logical_emit_message(false, 'doctor', 'x')";

macro_rules! on {
    ($major:expr, $settings:expr) => {{
        let make: Make = || Box::pin(private($major, $settings));
        make
    }};
}

pub(super) fn cases() -> Vec<Case> {
    [settings(), horizon()].into_iter().flatten().collect()
}

fn settings() -> Vec<Case> {
    vec![
        Case::sql("a limit of WAL below a checkpoint's", &["wal-keep-small"], &[])
            .on(on!(None, &[("max_slot_wal_keep_size", "200MB")])),
        Case::sql("slots that time out", &["idle-slot-timeout"], &[])
            .on(on!(Some(*MAJORS.end()), &[("idle_replication_slot_timeout", "1h")])),
        Case::sql(
            "standbys, and a slot that does not follow a failover",
            &["slot-failover"],
            &["select pg_create_physical_replication_slot('standby')"],
        )
        .on(on!(Some(*MAJORS.end()), &[])),
        Case::sql("no slot left", &["slots-exhausted"], &["select pg_create_physical_replication_slot('other')"])
            .on(on!(None, &[("max_replication_slots", "2")]))
            .by_hand(),
        Case::sql(
            "a slot that retains most of what it may",
            &["slot-retains", "wal-keep-small"],
            &[SWITCH, SWITCH, SWITCH, SWITCH],
        )
        .on(on!(None, &[("max_slot_wal_keep_size", "96MB")])),
        Case::sql(
            "a slot that was lost",
            &["slot-lost", "wal-keep-small"],
            &[SWITCH, SWITCH, SWITCH, SWITCH, "checkpoint"],
        )
        .on(on!(None, &[("max_slot_wal_keep_size", "16MB"), ("min_wal_size", "32MB")])),
    ]
}

/// On servers of their own: whoever creates a slot waits for every transaction that is open.
fn horizon() -> Vec<Case> {
    let at_once = &["--old-after", "0"];
    vec![
        Case::sql(
            "a prepared transaction that nobody finishes",
            &["prepared-transaction"],
            &["begin", "select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')", "prepare transaction '{}'"],
        )
        .with(at_once)
        .on(on!(None, &[])),
        Case::spoilt("a transaction that does not end", &["long-transaction"], |site| {
            Box::pin(async move {
                let client = site.connect().await;
                let begin = "begin; select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')";
                client.batch_execute(begin).await.unwrap();
                vec![Box::new(client) as Guard]
            })
        })
        .with(at_once)
        .on(on!(None, &[])),
    ]
}

async fn private(major: Option<u16>, settings: &[(&str, &str)]) -> Site {
    let server = Arc::new(PrivatePostgres::start(major, settings).expect("a server of one's own"));
    Site::on("doctor", &server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_logs_too_little_is_mended_by_the_printed_sql_and_a_restart() {
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    server.set("wal_level", "replica").unwrap();
    server.restart().unwrap();
    let mut site = Site::bare("doctor", &server.environment(), &shared().kafka.bootstrap).await;
    site.migrate();
    let (role, name) = (site.role(), site.name().to_owned());
    site.sql(&format!("create role {role} login replication; grant select on outbox_events to {role}")).await;
    let publication = format!("create publication {name} for table outbox_events with (publish = 'insert')");
    site.sql(&publication).await;
    let ended = site.administrator().complete("check");
    let mend = "alter system set wal_level = 'logical'";
    ended.expect(1, &["error[wal-level]: wal_level is replica", mend, "restart the server", "error[slot-missing]"]);

    site.sql(mend).await;
    server.restart().unwrap();
    site.reconnect().await;
    let ended = site.administrator().complete("check");
    ended.expect(1, &["error[slot-missing]"]);
    assert!(!ended.said().contains("wal-level"), "{}", ended.said());
}
