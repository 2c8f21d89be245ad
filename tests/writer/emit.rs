//! `postrider.emit` and its siblings: what any language can call does what the Rust library does.

use tokio_postgres::Client;
use uuid::{Uuid, Variant};

use crate::writer::{Database, count, refusal};

async fn headers(client: &Client, event: Uuid) -> serde_json::Value {
    let headers = "select headers from public.outbox_events where id = $1";
    client.query_one(headers, &[&event]).await.unwrap().get(0)
}

#[tokio::test]
async fn emit_writes_an_event_and_returns_its_id() {
    let database = Database::migrated().await;
    let client = database.client().await;
    // Plain literals, as a person types them: the call must not be ambiguous.
    let emit = r#"select postrider.emit('Order', '42', 'OrderPlaced', '{"total_cents": 1999}', '{"tenant": "acme"}')"#;
    let id: Uuid = client.query_one(emit, &[]).await.unwrap().get(0);
    let row = "select aggregate_type, aggregate_id, event_type, payload::text, payload_bytes, headers::text, published_at is null
        from public.outbox_events where id = $1";
    let row = client.query_one(row, &[&id]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "Order");
    assert_eq!(row.get::<_, &str>(1), "42");
    assert_eq!(row.get::<_, &str>(2), "OrderPlaced");
    assert_eq!(row.get::<_, &str>(3), r#"{"total_cents": 1999}"#);
    assert_eq!(row.get::<_, Option<Vec<u8>>>(4), None);
    assert_eq!(row.get::<_, &str>(5), r#"{"tenant": "acme"}"#);
    assert!(row.get::<_, bool>(6));
}

#[tokio::test]
async fn bytes_and_tombstones_have_functions_of_their_own() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client.query("select postrider.emit_bytes('a', '1', 't', '\\x00ff')", &[]).await.unwrap();
    client.query("select postrider.emit_tombstone('a', '2', 't')", &[]).await.unwrap();
    client.query("select postrider.emit('a', '3', 't', 'null')", &[]).await.unwrap();
    let rows = "select payload::text, payload_bytes from public.outbox_events order by seq";
    let rows = client.query(rows, &[]).await.unwrap();
    let row = |index: usize| (rows[index].get::<_, Option<&str>>(0), rows[index].get::<_, Option<&[u8]>>(1));
    assert_eq!(row(0), (None, Some([0, 255].as_slice())));
    assert_eq!(row(1), (None, None));
    assert_eq!(row(2), (Some("null"), None));
}

#[tokio::test]
async fn a_null_payload_is_refused_with_the_way_out() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for call in ["emit('a', '1', 't', null)", "emit_bytes('a', '1', 't', null)"] {
        let error = client.query(&format!("select postrider.{call}"), &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.message(), "payload is null");
        assert!(error.hint().unwrap().contains("postrider.emit_tombstone"));
    }
    assert_eq!(count(&client).await, 0);
}

#[tokio::test]
async fn settings_of_a_transaction_become_headers_of_its_events() {
    let database = Database::migrated().await;
    let mut client = database.client().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let transaction = client.transaction().await.unwrap();
    let settings = format!(
        "set local postrider.correlation_id = 'c';
         set local postrider.causation_id = 'b';
         set local postrider.traceparent = '{trace}';
         set local postrider.tracestate = 's';
         set local postrider.baggage = 'k=v'"
    );
    transaction.batch_execute(&settings).await.unwrap();
    let emit = |headers: &str| format!("select postrider.emit('a', '1', 't', '{{}}', '{headers}')");
    let all: Uuid = transaction.query_one(&emit("{}"), &[]).await.unwrap().get(0);
    let given: Uuid = transaction.query_one(&emit(r#"{"correlation-id": "mine"}"#), &[]).await.unwrap().get(0);
    transaction.commit().await.unwrap();
    let after: Uuid = client.query_one(&emit("{}"), &[]).await.unwrap().get(0);

    let mut expected = serde_json::json!({
        "correlation-id": "c", "causation-id": "b", "traceparent": trace, "tracestate": "s", "baggage": "k=v",
    });
    assert_eq!(headers(&client, all).await, expected);
    expected["correlation-id"] = "mine".into();
    assert_eq!(headers(&client, given).await, expected);
    assert_eq!(headers(&client, after).await, serde_json::json!({}));
}

#[tokio::test]
async fn a_malformed_setting_is_refused_as_a_malformed_header_is() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client.batch_execute("set postrider.traceparent = '00-0-0-01'").await.unwrap();
    let result = client.query("select postrider.emit('a', '1', 't', '{}')", &[]).await;
    assert_eq!(refusal(result), "header \"traceparent\" is not a W3C traceparent");
}

#[tokio::test]
async fn ids_made_in_sql_are_version_7_and_rise_with_the_clock() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let clock = "select floor(extract(epoch from clock_timestamp()) * 1000)::bigint";
    let ids = "select array_agg(id order by n)
        from (select n, postrider.uuid_v7() as id from generate_series(1, 20000) as n offset 0) as made";
    let before_ms: i64 = client.query_one(clock, &[]).await.unwrap().get(0);
    let ids: Vec<Uuid> = client.query_one(ids, &[]).await.unwrap().get(0);
    let after_ms: i64 = client.query_one(clock, &[]).await.unwrap().get(0);

    assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122));
    // The leading 64 bits are the time, to the microsecond; two ids of one microsecond may stand in either order.
    assert!(ids.is_sorted_by_key(|id| id.as_u64_pair().0));
    let distinct: std::collections::HashSet<&Uuid> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    let made_ms = |id: &Uuid| i64::try_from(id.as_u64_pair().0 >> 16).unwrap();
    assert!(before_ms <= made_ms(&ids[0]) && made_ms(&ids[19_999]) <= after_ms);
}

#[tokio::test]
async fn a_row_inserted_without_an_id_gets_one() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let insert = "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload)
        values ('a', '1', 't', '{}') returning id, headers::text, seq, xid = pg_current_xact_id()";
    let row = client.query_one(insert, &[]).await.unwrap();
    assert_eq!(row.get::<_, Uuid>(0).get_version_num(), 7);
    assert_eq!(row.get::<_, &str>(1), "{}");
    assert_eq!(row.get::<_, i64>(2), 1);
    assert!(row.get::<_, bool>(3));
}

#[tokio::test]
async fn a_service_emits_with_no_right_but_to_insert() {
    let database = Database::migrated().await;
    let service = database.service().await;
    service.query("select postrider.emit('a', '1', 't', '{}')", &[]).await.unwrap();
    service.query("select postrider.emit_bytes('a', '1', 't', '')", &[]).await.unwrap();
    service.query("select postrider.emit_tombstone('a', '1', 't')", &[]).await.unwrap();
    assert_eq!(count(&database.client().await).await, 3);
    let migrations = service.query("select from postrider.migrations", &[]).await;
    assert_eq!(refusal(migrations), "permission denied for table migrations");
}

#[tokio::test]
async fn functions_do_not_resolve_names_through_the_callers_search_path() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let hostile = "
        create schema hostile;
        create function hostile.octet_length(text) returns integer language sql as 'select 0';
        create function hostile.gen_random_uuid() returns uuid language sql as 'select null::uuid';
        create table hostile.outbox_events (like public.outbox_events);
        set search_path = hostile, pg_catalog";
    client.batch_execute(hostile).await.unwrap();
    let result = client.query("select postrider.emit('a', repeat('x', 513), 't', '{}')", &[]).await;
    assert_eq!(refusal(result), "aggregate_id: 513 bytes; at most 512 are allowed");
    client.query("select postrider.emit('a', '1', 't', '{}')", &[]).await.unwrap();
    assert_eq!(count(&client).await, 1);
}
