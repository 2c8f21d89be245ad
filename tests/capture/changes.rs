//! What each change of a captured table becomes, under each replica identity.

use crate::capture::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_and_captured_tables_come_in_the_order_of_their_commits_and_of_their_statements() {
    let tables = "create table users (id int primary key, name text)";
    let scene = Scene::new("cdcorder", tables, &["users"]).await;
    let events = scene.site.reader();
    let relay = scene.start().await;
    let emit = |n: usize| format!("select postrider.emit('order', 'k', 'Happened', '{{\"n\": {n}}}')");
    // The one that began first commits last.
    let late = scene.site.connect().await;
    late.batch_execute(&format!("begin; insert into users values (9, 'late'); {}", emit(3))).await.unwrap();
    let sql = format!(
        "begin; insert into users values (1, 'a'); {}; update users set name = 'b' where id = 1; {};
         delete from users where id = 1; commit",
        emit(1),
        emit(2)
    );
    scene.site.sql(&sql).await;
    late.batch_execute("commit").await.unwrap();

    let changes = scene.wait(5).await;
    events.distinct(3).await;
    let mut all: Vec<(String, String)> =
        changes.iter().map(|change| (change.position.clone(), change.op.clone())).collect();
    let event = |record: &harness::Record| {
        let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        (record.header("postrider-position").unwrap_or_default().to_owned(), text)
    };
    all.extend(events.records().iter().map(event));
    all.sort();
    let order: Vec<&str> = all.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(order, ["c", r#"{"n": 1}"#, "u", r#"{"n": 2}"#, "d", "-", "c", r#"{"n": 3}"#]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_key_and_a_whole_row_tell_of_the_old_row_what_they_may() {
    let tables = "create table by_key (id int primary key, a text, b text);
        create table whole (id int primary key, a text, b text);
        alter table whole replica identity full";
    let scene = Scene::new("identities", tables, &["by_key", "whole"]).await;
    let relay = scene.start().await;
    let told = scene
        .tells(
            "insert into by_key values (1, 'x', 'y'); update by_key set b = null;
             update by_key set id = 2; delete from by_key",
            7,
        )
        .await;
    assert_eq!(
        told,
        [
            r#"by_key c {"id":1} {"id":1,"a":"x","b":"y"}"#,
            r#"by_key u {"id":1} {"id":1,"a":"x","b":null}"#,
            r#"by_key d {"id":1} {"id":1,"a":null,"b":null}"#,
            r#"by_key - {"id":1}"#,
            r#"by_key c {"id":2} {"id":2,"a":"x","b":null}"#,
            r#"by_key d {"id":2} {"id":2,"a":null,"b":null}"#,
            r#"by_key - {"id":2}"#,
        ]
    );
    let told =
        scene.tells("insert into whole values (1, 'x', 'y'); update whole set b = 'z'; delete from whole", 11).await;
    assert_eq!(
        told,
        [
            r#"whole c {"id":1} {"id":1,"a":"x","b":"y"}"#,
            r#"whole u {"id":1} {"id":1,"a":"x","b":"y"} -> {"id":1,"a":"x","b":"z"}"#,
            r#"whole d {"id":1} {"id":1,"a":"x","b":"z"}"#,
            r#"whole - {"id":1}"#,
        ]
    );
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_primary_key_an_index_is_the_key_or_there_is_none() {
    let tables = "create table by_index (id int not null, a text not null, b text);
        create unique index by_index_a on by_index (a);
        alter table by_index replica identity using index by_index_a;
        create table keyless (a text, b text);
        alter table keyless replica identity full;
        create table nothing (id int primary key, a text);";
    let names = ["by_index", "keyless", "nothing"];
    let scene = Scene::new("noprimary", tables, &names).await;
    // The relay's set-up does not let tables be published whose updates would be refused.
    scene.site.sql("alter table nothing replica identity nothing").await;
    let relay = scene.start().await;

    let told = scene
        .tells("insert into by_index values (1, 'x', 'y'); update by_index set id = 2; update by_index set a = 'z'", 5)
        .await;
    assert_eq!(
        told,
        [
            r#"by_index c {"a":"x"} {"id":1,"a":"x","b":"y"}"#,
            r#"by_index u {"a":"x"} {"id":2,"a":"x","b":"y"}"#,
            r#"by_index d {"a":"x"} {"id":null,"a":"x","b":null}"#,
            r#"by_index - {"a":"x"}"#,
            r#"by_index c {"a":"z"} {"id":2,"a":"z","b":"y"}"#,
        ]
    );
    // A row that no key names has none, and a tombstone would name nothing.
    let told =
        scene.tells("insert into keyless values ('x', 'y'); update keyless set b = 'z'; delete from keyless", 8).await;
    assert_eq!(
        told,
        [
            r#"keyless c null {"a":"x","b":"y"}"#,
            r#"keyless u null {"a":"x","b":"y"} -> {"a":"x","b":"z"}"#,
            r#"keyless d null {"a":"x","b":"z"}"#,
        ]
    );
    let told = scene.tells("insert into nothing values (1, 'x')", 9).await;
    assert_eq!(told, [r#"nothing c {"id":1} {"id":1,"a":"x"}"#]);
    let refused = scene.site.db().batch_execute("update nothing set a = 'y'").await.unwrap_err();
    assert!(refused.as_db_error().is_some_and(|error| error.message().contains("replica identity")), "{refused:?}");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_is_told_of_each_of_its_tables_and_what_is_undone_is_not_told() {
    let tables = "create table parents (id int primary key);
        create table children (id int primary key, parent int references parents)";
    let scene = Scene::new("truncate", tables, &["parents", "children"]).await;
    let relay = scene.start().await;
    let told = scene
        .tells(
            "begin; insert into parents values (1); truncate parents cascade; insert into parents values (2);
             savepoint a; insert into parents values (3); rollback to a; commit;
             begin; insert into parents values (4); rollback;
             insert into parents values (5)",
            5,
        )
        .await;
    let mut truncated: Vec<&str> = told[1..3].iter().map(String::as_str).collect();
    truncated.sort_unstable();
    assert_eq!(truncated, ["children t null", "parents t null"]);
    assert_eq!(told[0], r#"parents c {"id":1} {"id":1}"#);
    assert_eq!(told[3..], [r#"parents c {"id":2} {"id":2}"#, r#"parents c {"id":5} {"id":5}"#]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_not_sent_has_its_placeholder_and_full_identity_tells_it() {
    let tables = "create table docs (id int primary key, n int, body text);
        create table docs_full (id int primary key, n int, body text);
        alter table docs_full replica identity full;
        alter table docs alter body set storage external; alter table docs_full alter body set storage external";
    let scene = Scene::new("toast", tables, &["docs", "docs_full"]).await;
    let relay = scene.start().await;
    let sql = |table: &str| {
        format!(
            "insert into {table} values (1, 1, repeat('x', 10000)); update {table} set n = 2; update {table} set id = 2;
             update {table} set body = 'short'"
        )
    };
    scene.tells(&sql("docs"), 6).await;
    let changes = {
        scene.tells(&sql("docs_full"), 12).await;
        scene.changes()
    };
    let bodies: Vec<String> = changes
        .iter()
        .filter(|change| change.after != "null")
        .map(|change| match change.after("body").as_str().unwrap_or("null") {
            long if long.len() == 10_000 => format!("{} {} all", change.table, change.op),
            other => format!("{} {} {other}", change.table, change.op),
        })
        .collect();
    assert_eq!(
        bodies,
        [
            "docs c all",
            "docs u __debezium_unavailable_value",
            "docs c __debezium_unavailable_value",
            "docs u short",
            "docs_full c all",
            "docs_full u all",
            "docs_full c all",
            "docs_full u short",
        ]
    );
    // Whoever keeps the rows finds the value under the key that the row had.
    let moved = changes.iter().find(|change| change.op == "c" && change.key == r#"{"id":2}"#).unwrap();
    assert_eq!(moved.record.header("__debezium.oldkey"), Some(r#"{"id":1}"#));
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_that_was_not_sent_is_read_from_the_table_on_request() {
    let tables = "create table papers (id int primary key, body text, n int);
        alter table papers alter body set storage external";
    let scene = Scene::new("reselect", tables, &["papers"]).await;
    let mut relay = scene.relay().with("POSTRIDER_CAPTURE_RESELECT", "true").start();
    relay.ready().await;
    let body = "x".repeat(4000);
    let sql = format!(
        "insert into papers values (1, '{body}', 1), (2, '{body}', 1);
         update papers set n = 2 where id = 1; update papers set id = 3 where id = 2"
    );
    let told = scene.tells(&sql, 6).await;
    assert_eq!(
        told.iter().map(|told| told.replace(&body, "body")).collect::<Vec<_>>(),
        [
            r#"papers c {"id":1} {"id":1,"body":"body","n":1}"#,
            r#"papers c {"id":2} {"id":2,"body":"body","n":1}"#,
            r#"papers u {"id":1} {"id":1,"body":"body","n":2}"#,
            r#"papers d {"id":2} {"id":2,"body":null,"n":null}"#,
            r#"papers - {"id":2}"#,
            r#"papers c {"id":3} {"id":3,"body":"body","n":1}"#,
        ]
    );
    // A row that is gone by now keeps what stands for the value.
    let told =
        scene.tells("begin; update papers set n = 4 where id = 1; delete from papers where id = 1; commit", 9).await;
    assert_eq!(told[0], r#"papers u {"id":1} {"id":1,"body":"__debezium_unavailable_value","n":4}"#);
    relay.terminate().await.expect(0, &[]);
}
