//! What is set up wrong, or changed behind the relay's back, is said in words that help; and nothing is lost by it.

use std::time::Duration;

use harness::{PATIENCE, Site, alter_topic, newest, oldest, shared, until};
use xtask::services::PrivatePostgres;

async fn emit(site: &Site, key: &str, n: i64) {
    let emit = "select postrider.emit('order', $1, 'Changed', jsonb_build_object('n', $2::bigint))";
    site.db().execute(emit, &[&key, &n]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_database_that_is_not_there_end_the_start_with_their_names() {
    let site = Site::new("nologin").await;
    emit(&site, "k", 1).await;
    let over_tcp = site.relay().with("POSTRIDER_POSTGRES_HOST", "127.0.0.1");
    let wrong = "never to be shown";
    let ended = over_tcp.clone().with("POSTRIDER_POSTGRES_PASSWORD", wrong).start().ended().await;
    ended.expect(1, &["refused user", &site.role(), "password", "pg_hba.conf"]);
    assert!(!ended.said().contains(wrong), "{}", ended.said());

    let ended = over_tcp.clone().with("POSTRIDER_POSTGRES_DATABASE", "no_such_shop").start().ended().await;
    ended.expect(1, &["no_such_shop", "does not exist", "[postgres] database"]);
    let ended = over_tcp.clone().with("POSTRIDER_POSTGRES_USER", "nobody_here").start().ended().await;
    ended.expect(1, &["refused user", "nobody_here"]);

    // Set right, what was written meanwhile arrives.
    let mut relay = over_tcp.start();
    relay.ready().await;
    site.assert_all_arrived(&site.reader()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_there_is_named_with_the_command_that_makes_it() {
    let site = Site::bare("noslot", &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.migrate();
    let role = format!("create role {} login replication password 'only for this test'", site.role());
    site.sql(&role).await;
    site.sql(&format!("create publication {} for table outbox_events", site.name())).await;
    let ended = site.relay().start().ended().await;
    ended.expect(1, &[&site.role(), "may not use the table postrider.parked", "postrider init"]);
    site.sql(&format!(
        "grant usage on schema postrider to {0};
         grant select, insert, update, delete on postrider.parked to {0};
         grant select, insert on postrider.parked_log to {0}",
        site.role()
    ))
    .await;
    let ended = site.relay().start().ended().await;
    ended.expect(1, &["slot", site.name(), "does not exist", "postrider init"]);

    // A slot that vanishes after events were delivered through it is more than a set-up that was forgotten.
    let site = Site::new("slotgone").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    emit(&site, "k", 1).await;
    site.assert_all_arrived(&site.reader()).await;
    relay.terminate().await.expect(0, &[]);
    site.db().execute("select pg_drop_replication_slot($1)", &[&site.name()]).await.unwrap();
    let ended = site.relay().start().ended().await;
    ended.expect(1, &["slot", "does not exist", "outbox table"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_ahead_of_what_was_delivered_is_a_gap_until_it_is_accepted() {
    let site = Site::new("gap").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    emit(&site, "before", 1).await;
    site.assert_all_arrived(&reader).await;
    relay.terminate().await.expect(0, &[]);

    emit(&site, "skipped", 1).await;
    let advance = "select pg_replication_slot_advance($1, pg_current_wal_lsn())";
    site.db().execute(advance, &[&site.name()]).await.unwrap();
    emit(&site, "after", 1).await;
    let ahead = site.confirmed().await;

    // Refused, and again: refusing changes nothing.
    for _ in 0..2 {
        let ended = site.relay().start().ended().await;
        ended.expect(1, &["was confirmed up to", "may be missing", "--accept-gap", "outbox table"]);
        assert_eq!(site.confirmed().await, ahead);
    }
    assert_eq!(reader.count(), 1);

    let mut relay = site.relay().argument("--accept-gap").start();
    relay.ready().await;
    let after =
        reader.record("what the slot still has arrives", |record| record.key.as_deref() == Some(b"after")).await;
    // Positions stay comparable: what comes after the gap is above all that came before.
    assert!(after.header("postrider-position").is_some_and(|position| position.starts_with("0002")), "{after:?}");
    relay.terminate().await.expect(0, &[]);

    // Accepted once is enough.
    let mut relay = site.relay().start();
    relay.ready().await;
    emit(&site, "later", 1).await;
    reader.record("later events arrive", |record| record.key.as_deref() == Some(b"later")).await;
    let findings = site.judge(&reader).await;
    assert_eq!((findings.committed, findings.delivered, findings.duplicated), (4, 3, 0), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_not_there_ends_the_start_and_one_that_is_dropped_ends_the_run() {
    let site = Site::new("nopub").await;
    let reader = site.reader();
    site.sql(&format!("alter publication {} rename to elsewhere", site.name())).await;
    let ended = site.relay().start().ended().await;
    ended.expect(1, &["publication", site.name(), "does not exist", "postrider init"]);
    site.sql(&format!("alter publication elsewhere rename to {}", site.name())).await;

    let mut relay = site.relay().start();
    relay.ready().await;
    emit(&site, "k", 1).await;
    site.assert_all_arrived(&reader).await;
    site.sql(&format!("drop publication {}", site.name())).await;
    let ended = relay.ended().await;
    ended.expect(1, &["publication", site.name(), "does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_younger_than_its_slot_is_a_gap_on_the_oldest_and_newest_postgres() {
    for server in [oldest(), newest()] {
        let site = Site::on("young", &server).await;
        let name = site.name();
        // The slot as a user may make it by hand: first, and the publication later.
        for sql in [
            "drop publication {}",
            "select pg_drop_replication_slot('{}')",
            "select pg_create_logical_replication_slot('{}', 'pgoutput')",
        ] {
            site.sql(&sql.replace("{}", name)).await;
        }
        emit(&site, "between", 1).await;
        site.sql(&format!("create publication {name} for table outbox_events with (publish = 'insert')")).await;
        emit(&site, "after", 1).await;
        let before = site.confirmed().await;
        let ended = site.relay().start().ended().await;
        ended.expect(
            1,
            &["publication", name, "does not exist at the place in the WAL", "postrider slot recover --anew"],
        );
        assert_eq!(site.confirmed().await, before, "nothing was confirmed, so nothing was forgotten");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_decoding_is_told_which_setting_it_needs() {
    let postgres = PrivatePostgres::start(None, &[("wal_level", "replica")]).expect("a server of our own");
    let site = Site::bare("replica", &postgres.environment(), &shared().kafka.bootstrap).await;
    site.migrate();
    site.initialiser().complete("init").expect(1, &["wal_level", "logical", "replica", "restart"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_ends_the_start_with_its_place_and_the_nearest_known_one() {
    let site = Site::bare("unknown", &shared().postgres, &shared().kafka.bootstrap).await;
    let ended = site.relay().with("POSTRIDER_KAFKA_LINGERMS", "1").start().ended().await;
    ended.expect(2, &["POSTRIDER_KAFKA_LINGERMS", "unknown variable", "POSTRIDER_KAFKA_LINGER_MS"]);
    let file = std::env::temp_dir().join(site.name()).join("postrider.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[source]", "[source]\nslto = 'a'")).unwrap();
    let ended = site.relay().start().ended().await;
    let line = text.lines().position(|line| line == "[source]").unwrap() + 2;
    ended.expect(2, &[&format!("postrider.toml:{line}:1"), "unknown key `source.slto`", "`source.slot`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_table_that_is_dropped_while_running_ends_the_run_after_what_was_written() {
    let site = Site::new("dropped").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    for n in 1..=20 {
        emit(&site, "k", n).await;
    }
    // Written, and dropped before it can have been looked at: the log has it.
    site.sql("create table copy as select * from outbox_events; drop table outbox_events").await;
    let ended = relay.ended().await;
    ended.expect(1, &["outbox table public.outbox_events does not exist", "postrider migrate"]);
    reader.distinct(20).await;

    // With a table of that name published again, it goes on.
    site.sql(&format!(
        "create table outbox_events (like copy);
         alter publication {} add table outbox_events;
         update copy set aggregate_id = 'new';
         insert into outbox_events select * from copy limit 1",
        site.name()
    ))
    .await;
    let mut relay = site.relay().start();
    relay.ready().await;
    reader.record("an event of the new table arrives", |record| record.key.as_deref() == Some(b"new")).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_topic_does_not_take_holds_a_stream_that_shall_wait_until_the_topic_takes_it() {
    let site = Site::new("toolarge").await;
    let reader = site.reader();
    let topic = format!("{}.outbox.event.order", site.name());
    let limit = async |bytes: &str| alter_topic(site.bootstrap(), &topic, "max.message.bytes", bytes).await;
    limit("20000").await;
    let mut relay = site.relay().with("POSTRIDER_OUTBOX_ON_REFUSAL", "block").start();
    relay.ready().await;
    emit(&site, "k", 1).await;
    reader.distinct(1).await;

    // Text that does not compress below the limit.
    let large = "select postrider.emit('order', 'k', 'Large', jsonb_build_object('n', 2, 'text',
                   (select string_agg(md5(random()::text), '') from generate_series(1, 4000))))";
    site.sql(large).await;
    emit(&site, "k", 3).await;
    let reason = relay.unready(&[&topic]).await;
    assert!(reason.to_lowercase().contains("too large") || reason.contains("larger"), "{reason}");
    let confirmed = site.confirmed().await;
    assert!(confirmed < site.wal_end().await, "what was not delivered is not confirmed");

    limit("1000000").await;
    site.assert_all_arrived(&reader).await;
    until("the relay is ready again", PATIENCE, async || relay.get("/ready").await.filter(|(code, _)| *code == 200))
        .await;
    tokio::time::timeout(Duration::from_secs(10), relay.terminate()).await.unwrap().expect(0, &[]);
}
