//! What a real server sends, of every message type, understood alike by both decoders.

use std::collections::HashSet;

use crate::postgres_client::database::Database;
use crate::postgres_client::model::{Cell, Said};
use crate::postgres_client::oracle::agreed;

/// Leaves, in the WAL, every message type that protocol version 1 has.
const EVERYTHING: &str = "
    create type mood as enum ('glad', 'Sad');
    create table plain(id int primary key, mood mood, note text, \"Mixed\" numeric(10,2));
    create table whole(id int primary key, big text, n int);
    alter table whole alter big set storage external;
    alter table whole replica identity full;
    create table indexed(id int primary key, code text not null unique, n int);
    alter table indexed replica identity using index indexed_code_key;
    create table child(id int generated always as identity, parent int references plain(id));
    create publication outbox for table plain, whole, indexed, child;
";

const CHANGES: &str = "
    insert into plain values (1, 'glad', null, 1.50), (2, 'Sad', 'b', 'NaN');
    update plain set note = 'changed' where id = 1;
    update plain set id = 3 where id = 2;
    delete from plain where id = 3;
    insert into whole values (1, repeat('x', 100000), 1), (2, null, 2);
    update whole set n = 5;
    delete from whole;
    insert into indexed values (1, 'a', 1);
    update indexed set code = 'b', n = null;
    delete from indexed;
    select pg_logical_emit_message(true, 'inside', 'a message');
    select pg_logical_emit_message(false, 'at once', '\\x00ff'::bytea);
    truncate plain, child restart identity cascade;
";

fn kind(said: &Said) -> &'static str {
    match said {
        Said::Begin { .. } => "begin",
        Said::Commit { .. } => "commit",
        Said::Origin { .. } => "origin",
        Said::Relation { .. } => "relation",
        Said::Type { .. } => "type",
        Said::Insert { .. } => "insert",
        Said::Update { old: None, .. } => "update",
        Said::Update { old: Some((b'K', _)), .. } => "update with the old key",
        Said::Update { .. } => "update with the old row",
        Said::Delete { old: (b'K', _), .. } => "delete by key",
        Said::Delete { .. } => "delete with the old row",
        Said::Truncate { .. } => "truncate",
        Said::Message { transactional: true, .. } => "message in a transaction",
        Said::Message { .. } => "message at once",
    }
}

const KINDS: [&str; 14] = [
    "begin",
    "commit",
    "origin",
    "relation",
    "type",
    "insert",
    "update",
    "update with the old key",
    "update with the old row",
    "delete by key",
    "delete with the old row",
    "truncate",
    "message in a transaction",
    "message at once",
];

#[tokio::test]
async fn both_decoders_understand_everything_a_server_sends_alike() {
    let database = Database::new("recorded");
    database.run(EVERYTHING);
    let slot = database.slot("s");
    // One transaction each for the statements, so that messages of every kind also stand alone.
    for statement in CHANGES.split_inclusive(";\n") {
        database.run(statement);
    }
    let origin = database.name.clone();
    // Given back by the session itself: its end would do it too, but some time after we are told of it.
    database.run(&format!(
        "begin; select pg_replication_origin_create('{origin}'); select pg_replication_origin_session_setup('{origin}');
         insert into plain values (9, 'glad', 'from elsewhere', 0); commit;
         select pg_replication_origin_session_reset()"
    ));
    database.run(&format!("select pg_replication_origin_drop('{origin}')"));
    database.run("select pg_logical_emit_message(true, 'the end', '')");

    let mut tape = database.read(&slot);
    let mut all = Vec::new();
    loop {
        let said = agreed(&tape.data().await.unwrap());
        all.push(said);
        if matches!(all.last(), Some(Said::Message { prefix, .. }) if prefix == "the end") {
            break;
        }
    }
    let seen: HashSet<_> = all.iter().map(kind).collect();
    assert_eq!(seen, HashSet::from(KINDS), "the recording holds every kind of message");
    let has = |wanted: &dyn Fn(&Said) -> bool| all.iter().any(wanted);
    assert!(has(&|said| matches!(said, Said::Origin { name, .. } if *name == origin)));
    assert!(has(&|said| matches!(said, Said::Update { new, .. } if new.contains(&Cell::Unchanged))));
    assert!(has(&|said| matches!(said, Said::Truncate { relations, flags: 3 } if relations.len() == 2)));
    assert!(has(&|said| matches!(said, Said::Message { content, .. } if content == &[0, 255])));
    tape.stream.stop().await.unwrap();
}

#[tokio::test]
async fn values_print_the_same_whatever_a_database_is_set_to() {
    let database = Database::new("pinned");
    database.run(
        "create table t(d date, ts timestamptz, i interval, f float8, b bytea, c regclass, j jsonb);
         create publication outbox for table t;",
    );
    for setting in [
        "datestyle = 'German'",
        "timezone = 'Asia/Tokyo'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -3",
        "bytea_output = 'escape'",
        "search_path = 'public'",
    ] {
        database.run(&format!("alter database {} set {setting}", database.name));
    }
    let slot = database.slot("s");
    database.run(
        "insert into t values ('2026-02-01', '2026-02-01 12:00:00+00', '1 day 2 hours', 0.1::float8 + 0.2, '\\x00ff',
         'public.t', '{\"n\": 1.10, \"big\": 12345678901234567890}')",
    );
    let mut tape = database.read(&slot);
    let all = tape.transactions(1).await;
    let printed = all.iter().find_map(|said| match said {
        Said::Insert { new, .. } => Some(new.clone()),
        _ => None,
    });
    let text = |value: &str| Cell::Text(value.into());
    let wanted = [
        "2026-02-01",
        "2026-02-01 12:00:00+00",
        "1 day 02:00:00",
        "0.30000000000000004",
        "\\x00ff",
        "public.t",
        "{\"n\": 1.10, \"big\": 12345678901234567890}",
    ];
    assert_eq!(printed, Some(wanted.map(text).to_vec()));
}
