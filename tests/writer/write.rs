//! Events exist exactly if their transaction commits, in the order and the form in which they were written.

use postrider::{Error, Event};
use uuid::Uuid;

use crate::writer::{Database, count};

fn event(number: usize) -> Event {
    Event::json_text("Order", number, "OrderPlaced", r#"{"total_cents": 1999}"#).build().unwrap()
}

#[tokio::test]
async fn a_rolled_back_transaction_leaves_no_event() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;

    let mut transaction = client.transaction().await.unwrap();
    postrider::write(&mut transaction, &event(1)).await.unwrap();
    postrider::write_all(&mut transaction, &[event(2), event(3)]).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    postrider::write(&mut transaction, &event(4)).await.unwrap();
    postrider::write_all(&mut transaction, &[event(5), event(6)]).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count(&client).await, 0);
}

#[tokio::test]
async fn a_savepoint_takes_only_its_own_events_with_it() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;

    let mut outer = client.transaction().await.unwrap();
    postrider::write(&mut outer, &event(1)).await.unwrap();
    let mut inner = outer.transaction().await.unwrap();
    postrider::write(&mut inner, &event(2)).await.unwrap();
    inner.rollback().await.unwrap();
    let mut inner = outer.savepoint("kept").await.unwrap();
    postrider::write(&mut inner, &event(3)).await.unwrap();
    inner.commit().await.unwrap();
    outer.commit().await.unwrap();

    let mut outer = pool.begin().await.unwrap();
    postrider::write(&mut outer, &event(4)).await.unwrap();
    let mut inner = sqlx::Acquire::begin(&mut outer).await.unwrap();
    postrider::write(&mut inner, &event(5)).await.unwrap();
    inner.rollback().await.unwrap();
    outer.commit().await.unwrap();

    let ids = "select array_agg(aggregate_id order by seq) from public.outbox_events";
    let ids: Vec<String> = client.query_one(ids, &[]).await.unwrap().get(0);
    assert_eq!(ids, ["1", "3", "4"]);
}

#[tokio::test]
async fn every_field_is_stored_as_it_was_written() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;
    // A driver that read these numbers would round them; JSON's null is a payload, and a tombstone has none.
    let numbers = r#"[0.10, 1e2, 123456789012345678901234567890.123456789, 9007199254740993]"#;
    let events = [
        Event::json_text("Order", 1, "t", numbers).correlation_id("c\"ü").build().unwrap(),
        Event::json("Order", 2, "t", &None::<i32>).build().unwrap(),
        Event::bytes("Order", 3, "t", [0, 255]).id(Uuid::from_u128(3)).build().unwrap(),
        Event::bytes("Order", 4, "t", []).build().unwrap(),
        Event::tombstone("Order", 5, "t").build().unwrap(),
    ];
    let mut transaction = client.transaction().await.unwrap();
    postrider::write_all(&mut transaction, &events).await.unwrap();
    transaction.commit().await.unwrap();
    let many = stored(&client).await;

    client.batch_execute("truncate public.outbox_events").await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    for event in &events {
        postrider::write(&mut transaction, event).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(stored(&client).await, many);

    client.batch_execute("truncate public.outbox_events").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    postrider::write(&mut transaction, &events[0]).await.unwrap();
    postrider::write_all(&mut transaction, &events[1..]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(stored(&client).await, many);

    let text = |value: &str| Some(value.to_owned());
    let printed = text("[0.10, 100, 123456789012345678901234567890.123456789, 9007199254740993]");
    assert_eq!(many[0], (events[0].id(), printed, None, r#"{"correlation-id": "c\"ü"}"#.to_owned()));
    assert_eq!(many[1], (events[1].id(), text("null"), None, "{}".to_owned()));
    assert_eq!(many[2], (Uuid::from_u128(3), None, Some(vec![0, 255]), "{}".to_owned()));
    assert_eq!(many[3], (events[3].id(), None, Some(vec![]), "{}".to_owned()));
    assert_eq!(many[4], (events[4].id(), None, None, "{}".to_owned()));
}

type Stored = (Uuid, Option<String>, Option<Vec<u8>>, String);

async fn stored(client: &tokio_postgres::Client) -> Vec<Stored> {
    let rows = "select id, payload::text, payload_bytes, headers::text from public.outbox_events order by seq";
    let rows = client.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[tokio::test]
async fn ten_thousand_events_keep_the_order_of_the_slice() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;
    let events: Vec<Event> = (0..10_000).map(event).collect();

    let mut transaction = client.transaction().await.unwrap();
    postrider::write_all(&mut transaction, &events).await.unwrap();
    transaction.commit().await.unwrap();
    let ids = "select array_agg(id order by seq) from public.outbox_events";
    let written: Vec<Uuid> = client.query_one(ids, &[]).await.unwrap().get(0);
    assert!(written.iter().eq(events.iter().map(Event::id).collect::<Vec<_>>().iter()));

    client.batch_execute("truncate public.outbox_events").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    postrider::write_all(&mut transaction, &events).await.unwrap();
    postrider::write_all(&mut transaction, &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let written: Vec<Uuid> = client.query_one(ids, &[]).await.unwrap().get(0);
    assert!(written.iter().eq(events.iter().map(Event::id).collect::<Vec<_>>().iter()));
}

#[tokio::test]
async fn the_largest_events_are_written_however_many_they_are() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let large = |number: usize| Event::bytes("Blob", number, "t", vec![7; 1_000_000]).build().unwrap();
    let events: Vec<Event> = (0..20).map(large).collect();
    let mut transaction = client.transaction().await.unwrap();
    postrider::write_all(&mut transaction, &events).await.unwrap();
    transaction.commit().await.unwrap();
    let sizes = "select count(*), sum(octet_length(payload_bytes)) from public.outbox_events";
    let row = client.query_one(sizes, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (20, 20_000_000));
}

#[tokio::test]
async fn a_service_needs_no_right_but_to_insert() {
    let database = Database::migrated().await;
    let mut service = database.service().await;
    let mut transaction = service.transaction().await.unwrap();
    postrider::write(&mut transaction, &event(1)).await.unwrap();
    postrider::write_all(&mut transaction, &[event(2), event(3)]).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(service.query("select from public.outbox_events", &[]).await.is_err());
    assert_eq!(count(&database.client().await).await, 3);
}

#[tokio::test]
async fn refusals_of_the_server_carry_their_state_and_a_hint() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let pool = database.pool().await;

    let mut transaction = client.transaction().await.unwrap();
    postrider::write(&mut transaction, &event(1)).await.unwrap();
    let first = event(1);
    let error = postrider::write_all(&mut transaction, &[first.clone(), first]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("23505"));
    transaction.rollback().await.unwrap();

    client.batch_execute("drop table public.outbox_events").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let error = postrider::write(&mut transaction, &event(1)).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));
    assert_eq!(
        error.to_string(),
        "writing an event failed: the tables are not the expected ones; have the migrations run?"
    );
    assert!(matches!(error, Error::Database { .. }));
}

#[tokio::test]
async fn writing_through_tokio_postgres_leaves_no_prepared_statement() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let mut transaction = client.transaction().await.unwrap();
    postrider::write(&mut transaction, &event(1)).await.unwrap();
    postrider::write_all(&mut transaction, &[event(2)]).await.unwrap();
    let prepared = transaction.query_typed("select count(*) from pg_prepared_statements", &[]).await.unwrap();
    assert_eq!(prepared[0].get::<_, i64>(0), 0);
}

#[tokio::test]
async fn an_event_that_a_trigger_swallows_is_an_error() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let trigger = "
        create function swallow() returns trigger language plpgsql as 'begin return null; end';
        create trigger swallow before insert on public.outbox_events for each row
        when (new.aggregate_id = '2') execute function swallow()";
    client.batch_execute(trigger).await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    let error = postrider::write_all(&mut transaction, &[event(1), event(2)]).await.unwrap_err();
    assert!(matches!(error, Error::NotStored { written: 2, stored: 1 }));
    let error = postrider::write(&mut transaction, &event(2)).await.unwrap_err();
    assert!(matches!(error, Error::NotStored { written: 1, stored: 0 }));
}
