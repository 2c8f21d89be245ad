//! `postrider.emit_soft_delete`: a soft delete is an event, once, in the same transaction.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::writer::{Database, count, refusal};

const POSTS: &str = "
    create table posts (id bigint primary key, title text, deleted_at timestamptz, deleted_by text);
    insert into posts (id, title) values (1, 'one'), (2, 'two')";

async fn posts(database: &Database, arguments: &str) -> Client {
    let client = database.client().await;
    client.batch_execute(POSTS).await.unwrap();
    let trigger = format!(
        "create trigger post_deleted after update on posts for each row
         when (old.deleted_at is null and new.deleted_at is not null)
         execute function postrider.emit_soft_delete({arguments})"
    );
    client.batch_execute(&trigger).await.unwrap();
    client
}

async fn payload(client: &Client) -> Value {
    client.query_one("select payload from public.outbox_events", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_soft_delete_becomes_one_event() {
    let database = Database::migrated().await;
    let client = posts(&database, "'Post', 'PostDeleted'").await;
    client.batch_execute("set postrider.correlation_id = 'c'; set timezone = 'Asia/Tokyo'").await.unwrap();
    let delete = "update posts set deleted_at = '2026-01-02 03:04:05.678901+00', deleted_by = 'me' where id = 1";
    client.batch_execute(delete).await.unwrap();
    let event = "select aggregate_type, aggregate_id, event_type, payload, headers from public.outbox_events";
    let event = client.query_one(event, &[]).await.unwrap();
    assert_eq!(event.get::<_, &str>(0), "Post");
    assert_eq!(event.get::<_, &str>(1), "1");
    assert_eq!(event.get::<_, &str>(2), "PostDeleted");
    let deleted_at = "2026-01-02T03:04:05.678901+00:00";
    assert_eq!(event.get::<_, Value>(3), json!({"id": 1, "deleted_at": deleted_at, "deleted_by": "me"}));
    assert_eq!(event.get::<_, Value>(4), json!({"correlation-id": "c"}));

    // Neither another update of the deleted row, nor its return, is a deletion; deleting it again is.
    client.batch_execute("update posts set deleted_at = now(), title = 'x' where id = 1").await.unwrap();
    client.batch_execute("update posts set deleted_at = null where id = 1").await.unwrap();
    client.batch_execute("update posts set title = 'y' where id = 2").await.unwrap();
    assert_eq!(count(&client).await, 1);
    client.batch_execute("update posts set deleted_at = now()").await.unwrap();
    assert_eq!(count(&client).await, 3);
}

#[tokio::test]
async fn the_functions_own_test_holds_without_a_when_clause() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client.batch_execute(POSTS).await.unwrap();
    let trigger = "create trigger post_deleted after update on posts for each row
        execute function postrider.emit_soft_delete('Post', 'PostDeleted')";
    client.batch_execute(trigger).await.unwrap();
    client.batch_execute("update posts set title = 'x'").await.unwrap();
    client.batch_execute("update posts set deleted_at = now() where id = 1").await.unwrap();
    client.batch_execute("update posts set deleted_at = now() where id = 1").await.unwrap();
    assert_eq!(count(&client).await, 1);
}

#[tokio::test]
async fn a_rolled_back_delete_leaves_no_event() {
    let database = Database::migrated().await;
    let client = posts(&database, "'Post', 'PostDeleted'").await;
    client.batch_execute("begin; update posts set deleted_at = now(); rollback").await.unwrap();
    assert_eq!(count(&client).await, 0);
}

#[tokio::test]
async fn the_row_is_in_the_payload_if_asked_for() {
    let database = Database::migrated().await;
    let client = posts(&database, "'Post', 'PostDeleted', 'id', 'deleted_at', 'row'").await;
    client.batch_execute("update posts set deleted_at = '2026-01-02 00:00:00+00' where id = 1").await.unwrap();
    let deleted_at = "2026-01-02T00:00:00+00:00";
    let row = json!({"id": 1, "title": "one", "deleted_at": deleted_at, "deleted_by": null});
    assert_eq!(payload(&client).await, json!({"id": 1, "deleted_at": deleted_at, "deleted_by": null, "row": row}));
}

#[tokio::test]
async fn other_column_names_are_arguments() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let table = r#"
        create table "Odd Table" ("the key" text primary key, gone timestamp);
        create trigger odd after update on "Odd Table" for each row
        execute function postrider.emit_soft_delete('Odd', 'OddGone', 'the key', 'gone');
        insert into "Odd Table" values ('k');
        update "Odd Table" set gone = '2026-01-02'"#;
    client.batch_execute(table).await.unwrap();
    let expected = json!({"id": "k", "deleted_at": "2026-01-02T00:00:00", "deleted_by": null});
    assert_eq!(payload(&client).await, expected);
}

#[tokio::test]
async fn a_trigger_that_cannot_work_says_why_and_stops_the_delete() {
    let database = Database::migrated().await;
    let client = posts(&database, "'Post', 'PostDeleted', 'uuid'").await;
    let delete = "update posts set deleted_at = now() where id = 1";
    let message = refusal(client.batch_execute(delete).await);
    assert_eq!(
        message,
        "trigger post_deleted on public.posts: the table has no column \"uuid\" or no column \"deleted_at\""
    );
    for (arguments, timing, expected) in [
        ("'Post'", "after update", "has wrong arguments"),
        ("'Post', 'PostDeleted', 'id', 'deleted_at', 'rows'", "after update", "has wrong arguments"),
        ("'Post', 'PostDeleted'", "before update", "must fire after update, for each row"),
    ] {
        let trigger = format!(
            "drop trigger post_deleted on posts;
             create trigger post_deleted {timing} on posts for each row
             execute function postrider.emit_soft_delete({arguments})"
        );
        client.batch_execute(&trigger).await.unwrap();
        let message = refusal(client.batch_execute(delete).await);
        assert_eq!(message, format!("trigger post_deleted on public.posts {expected}"));
    }
    let kept = client.query_one("select count(*) from posts where deleted_at is null", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn who_may_delete_and_insert_events_needs_no_further_right() {
    let database = Database::migrated().await;
    let admin = posts(&database, "'Post', 'PostDeleted'").await;
    admin.batch_execute("grant select, update on posts to public").await.unwrap();
    let service = database.service().await;
    service.batch_execute("update posts set deleted_at = now()").await.unwrap();
    assert_eq!(count(&admin).await, 2);
}
