//! Captured tables are set up by `postrider init`: what is meant is published before the slot, what is new is added, and
//! nothing is done by which the application would fail.

use harness::{Launch, PATIENCE, Site, shared, until};

async fn bare(promise: &str) -> Site {
    let site = Site::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    site.create_topics().await;
    site
}

/// Captures `tables` beside the outbox.
fn capturing(site: &Site, launch: Launch, tables: &str) -> Launch {
    launch
        .with("POSTRIDER_CAPTURE_TABLES", tables)
        .with("POSTRIDER_CAPTURE_PUBLICATION", &format!("{}_capture", site.name()))
        .with("POSTRIDER_CAPTURE_TOPIC", &format!("{}.cdc.{{table}}", site.name()))
}

/// What the publication of captured tables carries, and how.
async fn published(site: &Site) -> (Vec<String>, String) {
    let name = format!("{}_capture", site.name());
    let tables =
        "select format('%s.%s', schemaname, tablename) from pg_publication_tables where pubname = $1 order by 1";
    let tables = site.db().query(tables, &[&name]).await.unwrap();
    let how = "select concat_ws(' ', pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot) from pg_publication where pubname = $1";
    let how = site.db().query_opt(how, &[&name]).await.unwrap();
    (tables.iter().map(|row| row.get(0)).collect(), how.map(|row| row.get(0)).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_publishes_the_tables_that_it_fits_and_a_second_run_those_that_are_new() {
    let site = bare("capset").await;
    site.sql(
        "create table users (id bigint primary key, email text);
         create table readings (id int primary key) partition by range (id);
         create table readings_1 partition of readings for values from (0) to (1000);
         create table tmp_import (line text);
         create unlogged table carts (id int primary key);
         create view adults as select * from users",
    )
    .await;
    let init = |tables: &str| {
        let launch = capturing(&site, site.initialiser(), tables);
        launch.with("POSTRIDER_CAPTURE_TABLES_EXCEPT", "public.tmp_*").complete("init")
    };
    init("public.*")
        .expect(0, &["done: create publication", r#""public"."readings", "public"."users""#, "create slot"]);
    let all = ["public.readings".to_owned(), "public.users".to_owned()].to_vec();
    assert_eq!(published(&site).await, (all, "t t t t t".to_owned()));
    let may = "select has_table_privilege($1::text::name, 'users', 'select'), has_table_privilege($1::text::name, 'tmp_import', 'select')";
    let may = site.db().query_one(may, &[&site.role()]).await.unwrap();
    assert_eq!((may.get(0), may.get(1)), (true, false), "the least rights");
    init("public.*").expect(0, &["nothing to do"]);

    site.sql("create table posts (id int primary key)").await;
    let added = init("public.*");
    added.expect(
        0,
        &[r#"add "public"."posts" to publication"#, "postrider snapshot start", "grant select on table public.posts"],
    );
    assert_eq!(published(&site).await.0, ["public.posts", "public.readings", "public.users"]);
    assert!(!added.said().contains("left to do"), "{}", added.said());
    init("public.*").expect(0, &["nothing to do"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_updates_would_fail_is_refused_with_what_mends_it_and_nothing_is_done() {
    let site = bare("capref").await;
    site.sql("create table logs (line text); create table users (id int primary key)").await;
    let init = || capturing(&site, site.initialiser(), "public.users, public.logs").complete("init");
    init().expect(1, &["table public.logs has no replica identity", "alter table public.logs replica identity full"]);
    assert_eq!(published(&site).await.1, "");
    site.sql("alter table logs replica identity full").await;
    init().expect(0, &["done: create publication"]);
    // What the application does goes on.
    site.sql("insert into logs values ('a'); update logs set line = 'b'; delete from logs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_all_that_is_set_up_where_there_is_no_outbox() {
    let site = bare("caponly").await;
    site.sql("create table users (id int primary key)").await;
    let launch = capturing(&site, site.initialiser(), "public.users").with("POSTRIDER_OUTBOX_TABLE", "");
    launch.complete("init").expect(0, &["done: create publication", "create slot"]);
    let count = "select count(*) from pg_publication where pubname = $1";
    let count: i64 = site.db().query_one(count, &[&site.name()]).await.unwrap().get(0);
    assert_eq!(count, 0, "a publication of no outbox");
    launch.complete("init").expect(0, &["nothing to do"]);
    let alone = || capturing(&site, site.administrator(), "public.users").with("POSTRIDER_OUTBOX_TABLE", "");
    alone().complete("check").expect(0, &[]);
    alone().argument("--partition-by").argument("day").complete("migrate").expect(1, &["there is no outbox"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_runs_passes_the_publication_before_it_is_asked_for_it() {
    let site = Site::new("cappass").await;
    site.sql("create table users (id int primary key)").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    // A transaction that is open from before is waited for too.
    let writer = site.connect().await;
    writer.batch_execute("begin; select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')").await.unwrap();
    let launch = capturing(&site, site.initialiser(), "public.users");
    let init = tokio::task::spawn_blocking(move || launch.complete("init"));
    until("the publication is there", PATIENCE, async || (!published(&site).await.1.is_empty()).then_some(())).await;
    writer.batch_execute("commit").await.unwrap();
    let ended = init.await.unwrap();
    ended.expect(0, &["done: create publication"]);
    assert!(!ended.said().contains("left to do"), "{}", ended.said());
    relay.terminate().await.expect(0, &[]);

    let mut relay = capturing(&site, site.relay(), "public.users").start();
    relay.ready().await;
    site.sql("insert into users values (1); select postrider.emit('order', 'k', 'Changed', '{\"n\": 2}')").await;
    site.assert_all_arrived(&site.reader()).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_it_is_said_what_the_slot_has_still_to_pass() {
    let site = Site::new("capleft").await;
    site.sql("create table users (id int primary key)").await;
    site.sql("select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')").await;
    let ended = capturing(&site, site.initialiser(), "public.users").complete("init");
    ended.expect(0, &["left to do: slot", "`postrider run` reads the outboxes alone until it has confirmed"]);
}
