//! What stands behind the connection: a pooler, a standby, a newer server.

use harness::{Ended, PATIENCE, Site, newest, of_major, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xtask::services::Postgres;

use super::{administrator, declared, run, slot};

/// Stands between as a pooler does: whoever connects is told of a process that there is not. Its port.
async fn pooler(server: &Postgres) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (own, port) = (listener.local_addr().unwrap().port(), server.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            tokio::spawn(pass(client, server));
        }
    });
    own
}

/// Passes everything, message by message from the server up to the one that names the process.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-BACKENDKEYDATA>
async fn pass(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    loop {
        let (tag, length) = (from_server.read_u8().await?, from_server.read_u32().await?);
        let mut body = vec![0; (length - 4) as usize];
        from_server.read_exact(&mut body).await?;
        if tag == b'K' {
            body[..4].copy_from_slice(&1_i32.to_be_bytes());
        }
        to_client.write_u8(tag).await?;
        to_client.write_u32(length).await?;
        to_client.write_all(&body).await?;
        if tag == b'K' {
            return tokio::io::copy(&mut from_server, &mut to_client).await.map(drop);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_between_is_noticed_before_anything_is_asked() {
    let site = Site::new("pooled").await;
    let port = pooler(site.server()).await;
    let launch = site
        .relay()
        .with("POSTRIDER_POSTGRES_HOST", "127.0.0.1")
        .with("POSTRIDER_POSTGRES_PORT", &port.to_string())
        .with("POSTRIDER_POSTGRES_TLS", "disable");
    for arguments in [&["plan"][..], &["apply"], &["drop", site.name(), "--yes"], &["advance", site.name(), "--to-now"]]
    {
        run(&site, launch.clone(), arguments).expect(1, &["a pooler stands between", "--admin-url"]);
    }
    run(&site, site.relay(), &["plan"]).expect(0, &["nothing to do"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_kept_over_a_failover_when_its_section_says_so() {
    let server = newest();
    let site = Site::on("kept", &server).await;
    site.sql("create table users (id int primary key); create table logs (line text)").await;
    administrator(&site, &["apply"]).expect(0, &[]);
    let own = format!("POSTRIDER_SLOTS_{}_FAILOVER", site.name().to_uppercase());
    let beside = format!("POSTRIDER_SLOTS_{}_FAILOVER", slot(&site).to_uppercase());
    let launch = || declared(&site, site.administrator()).with(&own, "true").with(&beside, "true");
    run(&site, launch(), &["plan"]).expect(0, &["ALTER_REPLICATION_SLOT", "replication=database"]);
    run(&site, launch(), &["apply"]).expect(0, &[&format!("done: keep slot {} over a failover", site.name())]);
    run(&site, launch(), &["plan", "--exit-code"]).expect(0, &["nothing to do"]);
    let kept = "select count(*) from pg_replication_slots where failover and database = $1";
    assert_eq!(site.db().query_one(kept, &[&site.name()]).await.unwrap().get::<_, i64>(0), 2);
}

/// A declared slot, made on a standby of that major, whose primary has all else.
async fn on_a_standby(major: u16) -> (Ended, Ended) {
    let primary = of_major(major);
    let site = Site::bare("standby", &primary.environment(), &harness::shared().kafka.bootstrap).await;
    site.sql("create table users (id int primary key); create table logs (line text)").await;
    site.sql(&format!("create role {} login", site.role())).await;
    site.sql("create publication warehouse for table users with (publish_via_partition_root)").await;
    let standby = primary.standby(&format!("standby_{major}"), &[]).unwrap();
    let there = standby.environment();
    let launch = || {
        let section = format!("POSTRIDER_SLOTS_{}_PUBLICATION", slot(&site).to_uppercase());
        site.relay().with(&section, "warehouse").with("POSTRIDER_ADMIN_URL", &there.url(site.name()))
    };
    let refused = {
        let site = &site;
        run(site, declared(site, launch()), &["plan", "--without-relay"])
    };
    let create = launch().argument("create").argument(&slot(&site));
    let made = tokio::task::spawn_blocking(move || create.complete("slot"));
    until("the slot is made or refused", PATIENCE, async || {
        // A standby's slot begins where the primary wrote down what runs.
        if major >= 16 {
            site.sql("select pg_log_standby_snapshot()").await;
        }
        made.is_finished().then_some(())
    })
    .await;
    (refused, made.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_slots_from_postgresql_16_on_and_nothing_else() {
    let (old, new) = tokio::join!(on_a_standby(15), on_a_standby(17));
    old.1.expect(1, &["a standby has no logical slots", "connect to its primary"]);
    new.0.expect(1, &["the server is a standby, which takes no changes", "with its primary first"]);
    new.1.expect(0, &["done: create slot"]);
}
