//! One slot: made after its publication, dropped only when nobody reads it, never moved past what was delivered.

use harness::{Site, shared};
use tokio_postgres::Client;

use super::{administrator, bare, declared, run, slot};

async fn exists(site: &Site, name: &str) -> bool {
    let sql = "select exists (select from pg_replication_slots where slot_name = $1)";
    site.db().query_one(sql, &[&name]).await.unwrap().get(0)
}

/// A slot that nobody declared.
async fn foreign(site: &Site, name: &str, plugin: &str) -> String {
    let name = format!("{}_{name}", site.name());
    let sql = match plugin {
        "" => format!("select pg_create_physical_replication_slot('{name}', true)"),
        plugin => format!("select pg_create_logical_replication_slot('{name}', '{plugin}')"),
    };
    site.sql(&sql).await;
    name
}

/// A session that keeps a temporary slot, which is in use as long as it lives.
async fn temporary(site: &Site, name: &str) -> Client {
    let client = site.connect().await;
    let sql = format!("select pg_create_logical_replication_slot('{name}', 'pgoutput', true)");
    client.batch_execute(&sql).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_made_after_its_publication_and_as_its_section_says() {
    let site = bare("made").await;
    let name = slot(&site);
    administrator(&site, &["create", &name]).expect(1, &["publication warehouse, which does not exist", "slot apply"]);
    site.sql("create publication warehouse for table users").await;
    administrator(&site, &["create", &name]).expect(0, &["done: create slot"]);
    administrator(&site, &["create", &name]).expect(0, &["nothing to do"]);
    let other = format!("{name}_2");
    administrator(&site, &["create", &other]).expect(1, &["none is named", "--publication"]);
    administrator(&site, &["create", &other, "--plugin", "test_decoding"]).expect(0, &["done: create slot"]);
    administrator(&site, &["create", &other, "--publication", "warehouse"])
        .expect(1, &["plugin test_decoding, not pgoutput"]);
    administrator(&site, &["create", site.name()]).expect(1, &["the relay's own", "postrider init"]);
    administrator(&site, &["create", "No-Name"]).expect(2, &["lower-case letters"]);
    let late = format!("{name}_3");
    administrator(&site, &["create", &late, "--publication", "warehouse", "--failover"])
        .expect(1, &["needs PostgreSQL 17 or later"]);
    administrator(&site, &["create", &late, "--publication", "warehouse", "--database", "no_such"])
        .expect(1, &["no_such"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_use_is_dropped_only_by_force_and_one_of_others_only_when_that_is_said() {
    let site = bare("dropped").await;
    administrator(&site, &["apply"]).expect(0, &[]);
    let name = slot(&site);
    administrator(&site, &["drop", &name]).expect(0, &["read by: nobody", "would drop slot", "--yes does it"]);
    assert!(exists(&site, &name).await);
    administrator(&site, &["drop", &name, "--yes"]).expect(0, &["done: drop slot", "lost: "]);
    assert!(!exists(&site, &name).await);
    administrator(&site, &["drop", &name, "--yes"]).expect(1, &["there is no slot", site.name()]);

    for (kind, plugin, word) in
        [("phys", "", "physical slot"), ("audit", "test_decoding", "of the plugin test_decoding")]
    {
        let foreign = foreign(&site, kind, plugin).await;
        administrator(&site, &["drop", &foreign, "--yes"]).expect(1, &[word, "--foreign"]);
        administrator(&site, &["drop", &foreign, "--foreign"]).expect(0, &["nothing is done"]);
        assert!(exists(&site, &foreign).await);
        administrator(&site, &["drop", &foreign, "--foreign", "--yes"]).expect(0, &["done: drop slot"]);
        assert!(!exists(&site, &foreign).await);
    }

    let held = temporary(&site, &name).await;
    administrator(&site, &["plan"]).expect(1, &["is temporary"]);
    administrator(&site, &["advance", &name, "--to-now"]).expect(1, &["is temporary"]);
    administrator(&site, &["drop", &name, "--yes"]).expect(1, &["is being read: process", "--force"]);
    administrator(&site, &["drop", &name, "--yes", "--force"]).expect(0, &["done: end the session of process"]);
    assert!(held.simple_query("select 1").await.is_err(), "its session was ended");
    assert!(!exists(&site, &name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_database_or_kind_under_a_declared_name_is_refused() {
    let (site, other) = (bare("here").await, bare("elsewhere").await);
    let name = slot(&site);
    for (sql, word) in [
        (format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"), "belongs to database"),
        (
            format!("select pg_create_logical_replication_slot('{name}', 'test_decoding')"),
            "of the plugin test_decoding, not pgoutput",
        ),
        (format!("select pg_create_physical_replication_slot('{name}')"), "is a physical slot"),
    ] {
        other.sql(&sql).await;
        administrator(&site, &["plan"]).expect(1, &[word]);
        // It is found and dropped, through a session of its own database.
        administrator(&site, &["drop", &name, "--yes"]).expect(0, &["done: drop slot"]);
    }
    let foreign = foreign(&other, "theirs", "test_decoding").await;
    administrator(&site, &["advance", &foreign, "--to-now", "--yes"]).expect(1, &["--foreign"]);
    other.sql("select pg_logical_emit_message(false, 'more', 'log to go over')").await;
    administrator(&site, &["advance", &foreign, "--to-now", "--yes", "--foreign"]).expect(0, &["done: advance slot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_s_slot_is_moved_only_to_what_was_delivered() {
    let site = Site::new("moved").await;
    let advance = |to: &str| run(&site, site.administrator(), &["advance", site.name(), "--yes", "--to", to]);
    let now = || run(&site, site.administrator(), &["advance", site.name(), "--yes", "--to-now"]);
    site.sql("select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')").await;
    now().expect(1, &["no progress record says that anything was delivered", "postrider run"]);

    let mut relay = site.relay().start();
    relay.ready().await;
    site.assert_all_arrived(&site.reader()).await;
    now().expect(1, &["is being read: process"]);
    run(&site, site.administrator(), &["drop", site.name(), "--yes"])
        .expect(1, &["is being read: process", &site.role()]);
    relay.terminate().await.expect(0, &[]);

    for n in 2..5 {
        site.sql(&format!("select postrider.emit('order', 'k', 'Changed', '{{\"n\": {n}}}')")).await;
    }
    now().expect(1, &["would leave a gap of", "postrider slot recover"]);
    advance("0/1").expect(1, &["a slot never goes back"]);
    advance("FFFF/0").expect(1, &["the log ends at"]);
    advance("nowhere").expect(2, &["two hexadecimal numbers"]);
    let confirmed = site.confirmed().await;
    let place = format!("{:X}/{:X}", confirmed >> 32, confirmed & 0xffff_ffff);
    advance(&place).expect(0, &["nothing to do"]);

    // Nothing was moved: all of it arrives.
    let mut relay = site.relay().start();
    relay.ready().await;
    site.assert_all_arrived(&site.reader()).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_relay_only_what_is_declared_is_looked_at() {
    let site = Site::bare("alone", &shared().postgres, &shared().kafka.bootstrap).await;
    site.sql("create table users (id int primary key); create table logs (line text)").await;
    let role = format!("create role {} login", site.role());
    site.sql(&role).await;
    // There is no outbox here, and nobody asks for one.
    administrator(&site, &["plan"]).expect(1, &["outbox_events\" does not exist"]);
    let alone = || declared(&site, site.administrator());
    run(&site, alone(), &["apply", "--without-relay"]).expect(0, &["done: create publication warehouse"]);
    run(&site, alone(), &["plan", "--without-relay", "--exit-code"]).expect(0, &["nothing to do"]);
}
