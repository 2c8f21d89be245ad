//! The migrations: once, by whoever comes first, on the oldest and the newest Postgres, beside what is there already.

use std::error::Error as _;

use postrider::{Error, Event, inbox, migrations};

use crate::writer::{Database, count};

/// How many tables, functions and indexes the schema and the outbox are made of.
const OBJECTS: &str = "select
    (select count(*) from pg_proc where pronamespace = 'postrider'::regnamespace),
    (select count(*) from pg_index where indrelid in ('public.outbox_events'::regclass, 'postrider.inbox'::regclass)),
    (select count(*) from postrider.migrations)";

async fn objects(client: &tokio_postgres::Client) -> (i64, i64, i64) {
    let row = client.query_one(OBJECTS, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn of_many_runs_at_once_one_does_the_work() {
    let database = Database::empty().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(database.client().await);
    }
    let runs = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { migrations::run(&mut client).await.unwrap().len() }));
    let mut applied = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        applied.push(run.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, migrations::files().len()]);

    let mut client = database.client().await;
    let before = objects(&client).await;
    assert_eq!(migrations::run(&mut client).await.unwrap(), Vec::<String>::new());
    assert_eq!(objects(&client).await, before);
}

#[tokio::test]
async fn tables_that_are_there_already_are_kept_with_their_rows() {
    let database = Database::empty().await;
    let mut client = database.client().await;
    for (_, sql) in migrations::files() {
        client.batch_execute(sql).await.unwrap();
    }
    client.batch_execute("select postrider.emit('a', '1', 't', '{}')").await.unwrap();
    assert_eq!(migrations::run(&mut client).await.unwrap().len(), migrations::files().len());
    assert_eq!(count(&client).await, 1);
}

#[tokio::test]
async fn a_table_of_another_shape_is_left_alone_and_named() {
    let database = Database::empty().await;
    let mut client = database.client().await;
    let table =
        "create table public.outbox_events (id uuid primary key, payload text, seq bigint, published_at timestamptz)";
    client.batch_execute(table).await.unwrap();
    let error = migrations::run(&mut client).await.unwrap_err();
    assert!(matches!(error, Error::Migration(_)));
    let refused = error.source().unwrap().source().unwrap().source().unwrap().to_string();
    assert!(refused.contains("table public.outbox_events exists, but not with the expected columns"), "{refused}");
    assert!(refused.contains("payload jsonb") && refused.contains("xid xid8"), "{refused}");
    assert!(!refused.contains("id uuid,") && !refused.contains("seq bigint"), "{refused}");
    // The transaction of the migration left nothing, and the lock is free for the next try.
    client.batch_execute("create schema old; alter table public.outbox_events set schema old").await.unwrap();
    assert_eq!(migrations::run(&mut client).await.unwrap().len(), migrations::files().len());
}

#[tokio::test]
async fn a_database_that_a_newer_version_migrated_is_left_as_it_is() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let newer = "insert into postrider.migrations (version, name, applied_on, checksum)
        values (1000, 'of_the_future', '2030-01-01T00:00:00Z', '1')";
    client.batch_execute(newer).await.unwrap();
    assert_eq!(migrations::run(&mut client).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    client.batch_execute("update postrider.migrations set checksum = '1' where version = 2").await.unwrap();
    assert!(matches!(migrations::run(&mut client).await, Err(Error::Migration(_))));
}

#[tokio::test]
async fn a_waiting_run_ends_with_the_sessions_lock_timeout() {
    let database = Database::empty().await;
    let holder = database.client().await;
    holder.batch_execute("select pg_advisory_lock(x'706f737472696465'::bigint)").await.unwrap();
    let mut client = database.client().await;
    client.batch_execute("set lock_timeout = '50ms'").await.unwrap();
    let error = migrations::run(&mut client).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("55P03"));
    assert_eq!(error.to_string(), "locking the migrations failed");
}

#[tokio::test]
async fn a_role_without_rights_is_told_so() {
    let database = Database::empty().await;
    let mut client = database.client().await;
    client.batch_execute(&format!("set role {}", database.name)).await.unwrap();
    let error = migrations::run(&mut client).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42501"));
}

/// The shared Postgres may be of any major; the newest has changed `jsonb`, `uuid` and constraints since the oldest.
#[tokio::test]
async fn everything_works_on_the_oldest_and_the_newest_postgres() {
    for postgres in [harness::oldest(), harness::newest()] {
        let database = Database::migrated_on(&postgres.environment()).await;
        let mut client = database.client().await;
        let events = [
            Event::json("Order", 1, "t", &[1.5]).traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Event::bytes("Order", 2, "t", [0]),
            Event::tombstone("Order", 3, "t"),
        ];
        let events = events.map(|event| event.build().unwrap());
        let mut transaction = client.transaction().await.unwrap();
        postrider::write(&mut transaction, &events[0]).await.unwrap();
        postrider::write_all(&mut transaction, &events[1..]).await.unwrap();
        assert!(inbox::first_time(&mut transaction, "billing", events[0].id()).await.unwrap());
        transaction.commit().await.unwrap();
        let posts = "
            create table posts (id bigint primary key, deleted_at timestamptz);
            create trigger post_deleted after update on posts for each row
            execute function postrider.emit_soft_delete('Post', 'PostDeleted');
            insert into posts values (1);
            update posts set deleted_at = now();
            select postrider.emit('Order', '4', 't', '{}', '{\"tenant\": \"acme\"}')";
        client.batch_execute(posts).await.unwrap();
        assert_eq!(count(&client).await, 5);
    }
}
