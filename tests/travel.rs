//! An event travels from the outbox to its topic, whole: topic, key, value, headers, time.

use harness::{PATIENCE, Site, until};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_with_its_topic_key_value_headers_and_commit_time() {
    let site = Site::new("whole").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();

    // A number that no float holds, a null, an escape and text beyond ASCII: none of it may be read as anything but text.
    let payload = r#"{"n": 1, "none": null, "text": "Zoë \" 🐎", "total": 12345678901234567890.10}"#;
    let headers =
        r#"{"correlation-id": "c-7", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let emit = "select postrider.emit('order', 'Ö-42', 'OrderPlaced', $1::text::jsonb, $2::text::jsonb),
                       floor(extract(epoch from clock_timestamp()) * 1000)::bigint";
    let row = site.db().query_one(emit, &[&payload, &headers]).await.unwrap();
    let (id, written_ms): (Uuid, i64) = (row.get(0), row.get(1));

    let record = reader.record("the event arrives", |record| record.id() == Some(id)).await;
    assert_eq!(record.topic, format!("{}.outbox.event.order", site.name()));
    assert_eq!(record.key.as_deref(), Some("Ö-42".as_bytes()));
    assert_eq!(record.value.as_deref(), Some(payload.as_bytes()));
    assert_eq!(record.header("event_type"), Some("OrderPlaced"));
    assert_eq!(record.header("correlation-id"), Some("c-7"));
    assert_eq!(record.header("traceparent"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    let position = record.header("postrider-position").expect("a position");
    assert!(position.len() == 32 && position.starts_with("0001") && position.ends_with("000000000000"), "{position}");
    assert!((0..2000).contains(&(record.timestamp_ms - written_ms)), "{} {written_ms}", record.timestamp_ms);
    site.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_as_they_were_written_and_a_null_payload_is_a_tombstone() {
    let site = Site::new("bytes").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();

    let every_byte: Vec<u8> = (0..=255).collect();
    let emit =
        "select postrider.emit_bytes('parcel', 'p', 'Packed', $1), postrider.emit_tombstone('parcel', 'p', 'Gone')";
    let row = site.db().query_one(emit, &[&every_byte]).await.unwrap();
    let (packed, gone): (Uuid, Uuid) = (row.get(0), row.get(1));
    let json_null = site.db().query_one("select postrider.emit('parcel', 'p', 'Null', 'null')", &[]).await.unwrap();

    let gone = reader.record("the tombstone arrives", |record| record.id() == Some(gone)).await;
    assert_eq!((gone.value, gone.key.as_deref()), (None, Some(&b"p"[..])));
    let packed = reader.record("the bytes arrive", |record| record.id() == Some(packed)).await;
    assert_eq!(packed.value, Some(every_byte));
    assert_eq!(packed.partition, gone.partition);
    assert!(packed.offset < gone.offset);
    // JSON's null is a payload; SQL's is none.
    let json_null = reader.record("JSON null arrives", |record| record.id() == Some(json_null.get(0))).await;
    assert_eq!(json_null.value.as_deref(), Some(&b"null"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_headers_do_not_hold_an_event_back_and_are_counted() {
    let site = Site::new("headers").await;
    // Our own table refuses such headers; a table of the user's own may not.
    site.sql("alter table outbox_events drop constraint outbox_events_headers").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();

    let insert = "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload, headers)
                  values (gen_random_uuid(), 'order', 'k', 'Changed', $1::text::jsonb, $2::text::jsonb) returning id";
    let mut ids = Vec::new();
    for (n, headers) in
        [r#"["a", 1]"#, r#""text""#, r#"{"number": 5, "nested": {"a": [1]}, "null": null}"#].iter().enumerate()
    {
        let payload = format!(r#"{{"n": {}}}"#, n + 1);
        let row = site.db().query_one(insert, &[&payload, headers]).await.unwrap();
        ids.push(row.get::<_, Uuid>(0));
    }

    let array = reader.record("the event with an array arrives", |record| record.id() == Some(ids[0])).await;
    assert_eq!(array.header("postrider-malformed-headers"), Some(r#"["a", 1]"#));
    assert_eq!(array.header("event_type"), Some("Changed"));
    let text = reader.record("the event with a text arrives", |record| record.id() == Some(ids[1])).await;
    assert_eq!(text.header("postrider-malformed-headers"), Some(r#""text""#));
    let nested = reader.record("the event with other values arrives", |record| record.id() == Some(ids[2])).await;
    assert_eq!(nested.header("number"), Some("5"));
    assert_eq!(nested.header("nested"), Some(r#"{"a": [1]}"#));
    assert!(nested.headers.contains(&("null".to_owned(), None)));
    assert_eq!(nested.header("postrider-malformed-headers"), None);
    assert!((relay.metric("postrider_header_errors_total").await - 2.0).abs() < 0.1);
    site.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_event_that_the_outbox_takes_arrives() {
    let site = Site::new("largest").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();
    // Bytes of chance, that no compression makes smaller: the payload, the key, the type and every header at their limits.
    let row = site
        .db()
        .query_one(
            "select postrider.emit_bytes('order', repeat('k', 512), repeat('t', 255),
               (select string_agg(uuid_send(gen_random_uuid()), '') from generate_series(1, 62500)),
               (select jsonb_object_agg('header-' || n, left(repeat(md5(random()::text), 300), 8183)) from generate_series(1, 4) n))",
            &[],
        )
        .await
        .unwrap();
    let record = reader.record("the event arrives", |record| record.id() == Some(row.get(0))).await;
    assert_eq!(record.value.map(|value| value.len()), Some(1_000_000));
    assert_eq!(record.headers.iter().filter(|(name, _)| name.starts_with("header-")).count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_for_debezium_works_as_it_is() {
    let site = Site::bare("debezium", &harness::shared().postgres, &harness::shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.sql(
        "create table outboxevent (id uuid primary key, aggregatetype varchar(255) not null,
           aggregateid varchar(255) not null, type varchar(255) not null, payload jsonb)",
    )
    .await;
    let columns = [
        ("TABLE", "public.outboxevent"),
        ("COLUMNS_AGGREGATE_TYPE", "aggregatetype"),
        ("COLUMNS_AGGREGATE_ID", "aggregateid"),
        ("COLUMNS_EVENT_TYPE", "type"),
        ("COLUMNS_PAYLOAD_BYTES", ""),
        ("COLUMNS_HEADERS", ""),
    ];
    let configured = |launch: harness::Launch| {
        columns.iter().fold(launch, |launch, (key, value)| launch.with(&format!("POSTRIDER_OUTBOX_{key}"), value))
    };
    configured(site.initialiser()).complete("init").expect(0, &[]);
    let mut relay = configured(site.relay()).start();
    relay.ready().await;
    let reader = site.reader();
    let id = Uuid::now_v7();
    let insert = "insert into outboxevent values ($1, 'order', '7', 'OrderCreated', '{\"n\": 1}')";
    site.db().execute(insert, &[&id]).await.unwrap();
    let record = reader.record("the event arrives", |record| record.id() == Some(id)).await;
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"7"[..]), Some(&br#"{"n": 1}"#[..])));
    assert_eq!(record.header("event_type"), Some("OrderCreated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_events_are_never_seen_and_probes_tell_what_flows() {
    let site = Site::new("probes").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    let reader = site.reader();
    site.sql(
        r#"begin;
           select postrider.emit('order', 'k', 'Never', '{"n": 1}');
           savepoint s;
           select postrider.emit('order', 'k', 'Never', '{"n": 2}');
           rollback"#,
    )
    .await;
    site.sql(
        r#"begin;
           select postrider.emit('order', 'k', 'First', '{"n": 3}');
           savepoint s;
           select postrider.emit('order', 'k', 'Never', '{"n": 4}');
           rollback to s;
           select postrider.emit('order', 'k', 'Second', '{"n": 5}');
           commit"#,
    )
    .await;
    let findings = site.assert_all_arrived(&reader).await;
    assert_eq!((findings.delivered, findings.duplicated), (2, 0));

    assert_eq!(relay.get("/live").await.map(|(code, _)| code), Some(200));
    until("the events are counted as delivered", PATIENCE, async || {
        (relay.metric("postrider_delivered_messages_total").await >= 2.0).then_some(())
    })
    .await;
    let (code, status) = relay.get("/status").await.expect("the status answers");
    assert_eq!(code, 200);
    assert!(status.contains(site.name()) && status.contains("streaming"), "{status}");
}
