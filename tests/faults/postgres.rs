//! Faults between the relay and Postgres: connections that break, servers that go away; the relay waits and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use harness::{Launch, PATIENCE, Proxy, Seen, Site, Verdict, shared, until};
use xtask::services::PrivatePostgres;

use crate::faults::book::{Book, Kind, Then};
use crate::faults::scene::Scene;

/// What the proxy shall do with the next message of the stream.
const PASS: u8 = 0;
const CUT: u8 = 1;
const CUT_INSIDE: u8 = 2;

/// The path to the server.
pub(crate) async fn connection(book: Arc<Book>) {
    let server = &shared().postgres;
    let order = Arc::new(AtomicU8::new(PASS));
    let asked = Arc::clone(&order);
    let proxy = Proxy::start(server.port, move |seen| match (seen, asked.load(Ordering::Relaxed)) {
        (Seen::Wal(_), order @ (CUT | CUT_INSIDE)) => {
            asked.store(PASS, Ordering::Relaxed);
            if order == CUT { Verdict::Cut } else { Verdict::CutInside }
        }
        _ => Verdict::Pass,
    })
    .await;
    let mut scene = Scene::of(Site::new("faultconn").await);
    let over_proxy = scene.site.relay().with("POSTRIDER_POSTGRES_HOST", "127.0.0.1");
    let over_proxy = over_proxy.with("POSTRIDER_POSTGRES_PORT", &proxy.port().to_string());
    let fault = |what, then| book.fault(Kind::Connection, what, then);

    let mut relay = over_proxy.start();
    relay.ready().await;
    for (what, cut) in
        [("a connection that ends between two messages", CUT), ("a connection that ends inside a message", CUT_INSIDE)]
    {
        order.store(cut, Ordering::Relaxed);
        scene.write().await;
        scene
            .goes_on(
                fault(what, Then::GoesOn),
                &relay,
                &["the stream of slot", "ended"],
                &["will go on", "retry_in_ms"],
            )
            .await;
        scene.settle(&mut relay).await;
    }
    for (what, whose) in [
        ("a walsender that is terminated", "pid = (select active_pid from pg_replication_slots where slot_name = $1)"),
        ("every session of the relay terminated", "usename = $1 || '_relay'"),
    ] {
        let terminate = format!("select pg_terminate_backend(pid) from pg_stat_activity where {whose}");
        scene.site.db().execute(terminate.as_str(), &[&scene.site.name()]).await.unwrap();
        scene.write().await;
        scene
            .goes_on(
                fault(what, Then::GoesOn),
                &relay,
                &["terminating connection due to administrator command"],
                &["will go on"],
            )
            .await;
        scene.settle(&mut relay).await;
    }
    relay.terminate().await.expect(0, &[]);

    drop(proxy);
    away(&book, &mut scene, &over_proxy).await;
}

/// A server, or a slot, that cannot be had at the start.
async fn away(book: &Arc<Book>, scene: &mut Scene, nobody_there: &Launch) {
    let fault = |what, then| book.fault(Kind::Connection, what, then);
    let mut relay = nobody_there.start();
    scene.write().await;
    let refused = fault("a server that does not listen at the start", Then::Waits);
    scene.waits(refused, &mut relay, &["Postgres cannot be reached", "refused"], &["will go on", "retry_in_ms"]).await;
    relay.terminate().await;
    let nowhere = scene.site.relay().with("POSTRIDER_POSTGRES_HOST", "no-such-host.invalid");
    let mut relay = nowhere.start();
    let unknown = fault("a server whose name is not known", Then::Waits);
    scene.waits(unknown, &mut relay, &["Postgres cannot be reached", "no-such-host.invalid"], &["will go on"]).await;
    relay.terminate().await;

    // With leases the second stands by, which is no fault.
    scene.site.sql("alter table postrider.leases rename to leases_of_nobody").await;
    let mut first = scene.site.relay().start();
    first.ready().await;
    let mut second = scene.site.relay().start();
    let in_use = fault("a slot that another relay reads", Then::Waits);
    scene.waits(in_use, &mut second, &["is in use by the backend with pid"], &["stop the other", "keeps trying"]).await;
    first.terminate().await.expect(0, &[]);
    scene.settle(&mut second).await;
    second.terminate().await.expect(0, &[]);
    scene.site.sql("alter table postrider.leases_of_nobody rename to leases").await;
}

/// The server itself.
pub(crate) async fn server(book: Arc<Book>) {
    let mut postgres = PrivatePostgres::start(None, &[("wal_sender_timeout", "2s")]).expect("a server of our own");
    let mut scene = Scene::of(Site::between("faultpg", &postgres.environment(), &shared().kafka.bootstrap).await);
    let fault = |what, then| book.fault(Kind::Server, what, then);
    let mut relay = scene.site.relay().start();
    scene.settle(&mut relay).await;

    postgres.restart().unwrap();
    scene.site.reconnect().await;
    scene.write().await;
    let restarted = fault("a server that restarts", Then::GoesOn);
    scene
        .goes_on(restarted, &relay, &["the server closed the stream, as it does when it shuts down"], &["will go on"])
        .await;
    scene.settle(&mut relay).await;

    scene.write().await;
    postgres.stop_immediate();
    let crashed = fault("a server that crashes and stays away", Then::Waits);
    scene.waits(crashed, &mut relay, &["Postgres cannot be reached"], &["will go on", "retry_in_ms"]).await;
    postgres.start_again().unwrap();
    scene.site.reconnect().await;
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);

    exhausted(&book, &mut scene, &mut postgres).await;
    settings(&book, &mut scene).await;
}

/// A server that has nothing left to give.
async fn exhausted(book: &Arc<Book>, scene: &mut Scene, postgres: &mut PrivatePostgres) {
    let fault = |what, then| book.fault(Kind::Server, what, then);
    // With every sender taken, the next relay waits for one.
    postgres.set("max_wal_senders", "0").unwrap();
    postgres.restart().unwrap();
    scene.site.reconnect().await;
    scene.write().await;
    let senders = fault("a server that has no walsender left", Then::Waits);
    let mut relay = scene.site.relay().start();
    scene.waits(senders, &mut relay, &["max_wal_senders"], &["will go on"]).await;
    postgres.set("max_wal_senders", "10").unwrap();
    postgres.restart().unwrap();
    scene.site.reconnect().await;
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);

    let full = fault("a server whose connections are used up", Then::Waits);
    scene.write().await;
    postgres.set("max_connections", "12").unwrap();
    postgres.set("superuser_reserved_connections", "3").unwrap();
    postgres.set("max_wal_senders", "2").unwrap();
    postgres.restart().unwrap();
    scene.site.reconnect().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(scene.site.connect().await);
    }
    let mut relay = scene.site.relay().start();
    scene
        .waits(
            full,
            &mut relay,
            &["Postgres cannot be reached", "no connection left", "remaining connection slots"],
            &["will go on"],
        )
        .await;
    drop(held);
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);
}

/// What a role may set for itself must not change what is read.
async fn settings(book: &Arc<Book>, scene: &mut Scene) {
    let fault = |what, then| book.fault(Kind::Server, what, then);
    let mut relay = scene.site.relay().start();
    relay.ready().await;
    let role = scene.site.role();
    let settings = fault("a role whose settings change how values print", Then::GoesOn);
    scene
        .site
        .sql(&format!(
            "alter role {role} set datestyle = 'German'; alter role {role} set bytea_output = 'escape';
             alter role {role} set extra_float_digits = 0; alter role {role} set client_encoding = 'LATIN1';
             select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
        ))
        .await;
    let bytes =
        r#"select postrider.emit_bytes('order', 'bytes', 'Changed', convert_to('{"n": 1, "text": "ä"}', 'UTF8'))"#;
    scene.site.sql(bytes).await;
    until("it reads again", PATIENCE, async || scene.site.walsender().await).await;
    scene.goes_on(settings, &relay, &["terminating connection"], &["will go on"]).await;
    scene
        .reader
        .record("the bytes arrive", |record| record.value.as_deref() == Some(r#"{"n": 1, "text": "ä"}"#.as_bytes()))
        .await;
    // The judge compares texts.
    let as_text = "update outbox_events set payload = convert_from(payload_bytes, 'UTF8')::jsonb, payload_bytes = null where payload is null";
    scene.site.sql(as_text).await;
    scene.settle(&mut relay).await;
    relay.terminate().await.expect(0, &[]);
}
