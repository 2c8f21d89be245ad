//! What is declared of slots and publications is planned, made, and mended when it has drifted; what would break what runs is
//! refused; and no slot is dropped or moved that somebody needs.

mod one;
mod servers;

use harness::{Ended, Launch, Site, shared};

/// A database with the tables of an application and the outbox.
async fn bare(promise: &str) -> Site {
    let site = Site::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    site.sql(
        "create table users (id int primary key); create table logs (line text); create table tmp_load (line text)",
    )
    .await;
    site
}

/// The slot that is declared beside the relay's own.
fn slot(site: &Site) -> String {
    format!("{}_wh", site.name())
}

/// Declares a publication, its slot and a reader.
fn declared(site: &Site, launch: Launch) -> Launch {
    let section = format!("POSTRIDER_SLOTS_{}", slot(site).to_uppercase());
    launch
        .with("POSTRIDER_PUBLICATIONS_WAREHOUSE_TABLES", "public.*")
        .with("POSTRIDER_PUBLICATIONS_WAREHOUSE_TABLES_EXCEPT", "public.tmp_*,public.outbox_*")
        .with("POSTRIDER_PUBLICATIONS_WAREHOUSE_READERS", &site.role())
        .with("POSTRIDER_PUBLICATIONS_WAREHOUSE_REPLICA_IDENTITIES", "public.logs=full")
        .with(&format!("{section}_PUBLICATION"), "warehouse")
}

/// `postrider slot`, with this verb and its arguments, as the database's administrator.
fn run(site: &Site, launch: Launch, arguments: &[&str]) -> Ended {
    let mut launch = arguments.iter().fold(launch, |launch, argument| launch.argument(argument));
    if matches!(arguments[0], "plan" | "apply") {
        launch = launch.argument("--writer-role").argument(&format!("{}_writer", site.name()));
    }
    launch.complete("slot")
}

fn administrator(site: &Site, arguments: &[&str]) -> Ended {
    run(site, declared(site, site.administrator()), arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_planned_and_made_and_then_nothing_is_left_to_do() {
    let site = bare("planned").await;
    let plan = administrator(&site, &["plan"]);
    let create = format!("select pg_create_logical_replication_slot('{}', 'pgoutput');", slot(&site));
    plan.expect(0, &["replica identity full;", "create publication \"warehouse\" for table", &create]);
    let place = |words: &str| plan.said().find(words).unwrap();
    assert!(place("replica identity full") < place("create publication \"warehouse\""), "{}", plan.said());
    assert!(place("commit;") < place(&create), "{}", plan.said());
    assert!(!plan.said().contains("tmp_load"), "{}", plan.said());
    administrator(&site, &["plan", "--exit-code"]).expect(3, &[]);
    let count = "select count(*) from pg_publication";
    assert_eq!(site.db().query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0, "a plan changes nothing");

    let done = format!("done: create slot {}", slot(&site));
    administrator(&site, &["apply"]).expect(0, &["done: create publication warehouse", &done]);
    administrator(&site, &["apply"]).expect(0, &["nothing to do"]);
    administrator(&site, &["plan", "--exit-code"]).expect(0, &["nothing to do"]);
    // What `init` makes is what is declared of the relay, and the other way round.
    site.initialiser().complete("init").expect(0, &["nothing to do"]);

    let plan = administrator(&site, &["plan", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(plan.said()).unwrap();
    let database = &document["databases"][0];
    assert_eq!(database["database"], site.name());
    assert_eq!((&database["steps"], &database["refusals"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_drifted_is_found_with_its_sql_and_mended() {
    let site = bare("drifted").await;
    administrator(&site, &["apply"]).expect(0, &[]);
    let (name, role) = (site.name(), site.role());
    for (drift, sql) in [
        (
            "alter publication warehouse drop table users".to_owned(),
            "alter publication \"warehouse\" add table \"public\".\"users\";",
        ),
        (
            "alter publication warehouse set (publish = 'insert')".to_owned(),
            "alter publication \"warehouse\" set (publish = 'insert, update, delete, truncate'",
        ),
        (
            "alter table logs replica identity nothing".to_owned(),
            "alter table \"public\".\"logs\" replica identity full;",
        ),
        (format!("revoke select on users from {role}"), "grant select on table \"public\".\"users\" to"),
        (
            format!("revoke select on outbox_events from {role}"),
            "grant select on table \"public\".\"outbox_events\" to",
        ),
        (
            format!("alter publication {name} set (publish = 'insert, update')"),
            "set (publish = 'insert', publish_via_partition_root = true);",
        ),
        (format!("alter publication {name} set table users"), "add table \"public\".\"outbox_events\";"),
        (format!("alter role {role} noreplication"), "replication;"),
        (
            "create table posts (id int primary key)".to_owned(),
            "alter publication \"warehouse\" add table \"public\".\"posts\";",
        ),
    ] {
        site.sql(&drift).await;
        administrator(&site, &["plan", "--exit-code"]).expect(3, &[sql]);
        administrator(&site, &["apply"]).expect(0, &["done: "]);
        administrator(&site, &["plan", "--exit-code"]).expect(0, &["nothing to do"]);
    }
    // The table that came in by the drift is shown, and stays until somebody says otherwise.
    administrator(&site, &["plan"]).expect(0, &["-- not declared: table \"public\".\"users\" (in publication"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_the_application_is_refused_and_nothing_is_done() {
    let site = bare("refused").await;
    let launch = declared(&site, site.administrator()).with("POSTRIDER_PUBLICATIONS_WAREHOUSE_REPLICA_IDENTITIES", "");
    for verb in ["plan", "apply"] {
        let said = ["table public.logs has no replica identity", "alter table public.logs replica identity full"];
        run(&site, launch.clone(), &[verb]).expect(1, &said);
    }
    let count = "select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots where database = $1)";
    assert_eq!(site.db().query_one(count, &[&site.name()]).await.unwrap().get::<_, i64>(0), 0);

    administrator(&site, &["apply"]).expect(0, &[]);
    site.sql("alter table logs replica identity nothing").await;
    let said = ["Postgres refuses every UPDATE and DELETE of it now", "[publications.warehouse.replica_identities]"];
    run(&site, launch, &["plan"]).expect(1, &said);
    site.sql("alter publication warehouse set table users, logs where (line is not null)").await;
    administrator(&site, &["plan"]).expect(1, &["leaves out rows or columns of \"public\".\"logs\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_older_than_its_publication_is_named_with_its_mend() {
    let site = bare("older").await;
    administrator(&site, &["apply"]).expect(0, &[]);
    site.sql("drop publication warehouse").await;
    let name = slot(&site);
    let drop = format!("postrider slot drop {name} --yes");
    administrator(&site, &["plan"]).expect(1, &["a slot cannot see a publication younger than itself", &drop]);

    site.sql("insert into users values (1)").await;
    site.sql("create publication warehouse for table users, logs with (publish_via_partition_root)").await;
    let advance = format!("postrider slot advance {name} --to-now --yes");
    administrator(&site, &["plan"]).expect(1, &["before publication warehouse existed", &advance]);
    administrator(&site, &["advance", &name, "--to-now", "--yes"]).expect(0, &["never sees"]);
    administrator(&site, &["plan", "--exit-code"]).expect(0, &["nothing to do"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_half_way_says_what_is_done_and_the_next_goes_on() {
    let site = bare("halfway").await;
    let broken = format!("POSTRIDER_SLOTS_{}_ZZ_PLUGIN", slot(&site).to_uppercase());
    let launch = |plugin: &str| declared(&site, site.administrator()).with(&broken, plugin);
    let done = format!("done: create slot {}\n", slot(&site));
    run(&site, launch("no_such_plugin"), &["apply"])
        .expect(1, &[&done, "stopped after", "run it again to go on with the rest", "no_such_plugin"]);
    let again = run(&site, launch("test_decoding"), &["apply"]);
    again.expect(0, &[&format!("done: create slot {}_zz\n", slot(&site))]);
    assert_eq!(again.said().matches("done: ").count(), 1, "{}", again.said());

    // It is declared no more: shown, named, and dropped only when both words are said.
    let drop = format!("drop slot {}_zz", slot(&site));
    administrator(&site, &["plan"]).expect(0, &[&format!("-- not declared: slot {}_zz (test_decoding", slot(&site))]);
    administrator(&site, &["apply", "--prune"]).expect(0, &[&format!("would {drop}"), "--yes does it"]);
    administrator(&site, &["apply", "--prune", "--yes"]).expect(0, &[&format!("done: {drop}")]);
    administrator(&site, &["apply"]).expect(0, &["nothing to do"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_is_told_so_and_nothing_is_half_done() {
    let site = bare("noright").await;
    administrator(&site, &["apply"]).expect(0, &[]);
    site.sql("alter publication warehouse drop table users; alter table logs replica identity default").await;
    // The relay's own role may look.
    run(&site, declared(&site, site.relay()), &["plan", "--exit-code"]).expect(3, &["add table \"public\".\"users\""]);
    let ended = run(&site, declared(&site, site.relay()), &["apply"]);
    ended.expect(1, &["must be owner of table logs", "--admin-url"]);
    assert!(!ended.said().contains("done:"), "{}", ended.said());
    run(&site, declared(&site, site.relay()), &["plan", "--exit-code"]).expect(3, &["add table \"public\".\"users\""]);
}
