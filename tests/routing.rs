//! Where events go and what they look like: several outboxes of any shape in one relay, templates, filters, messages without a table.

use harness::{Launch, PATIENCE, Record, Site, shared, until};
use uuid::Uuid;

/// A place whose outboxes are configured by variables, migrated and initialised with them.
async fn site(promise: &str, tables: &str, variables: &[(&str, &str)]) -> (Site, impl Fn(Launch) -> Launch + use<>) {
    let site = Site::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.migrate();
    site.sql(tables).await;
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (format!("POSTRIDER_{name}"), (*value).to_owned())).collect();
    let configured =
        move |launch: Launch| variables.iter().fold(launch, |launch, (name, value)| launch.with(name, value));
    configured(site.initialiser()).complete("init").expect(0, &[]);
    (site, configured)
}

fn text(value: Option<&[u8]>) -> &str {
    std::str::from_utf8(value.unwrap_or_default()).unwrap()
}

/// The records that have come, in the order of one partition.
fn values(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| text(record.value.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_outboxes_and_messages_come_out_in_the_order_of_their_transaction() {
    let order = |site: &str| format!("{site}.outbox.event.order");
    let tables = "create schema sales;
        create table sales.orders_outbox (n integer primary key, kind text, what text, body text)";
    // The name of the place is not known before it is made, so the topics are those of its prefix.
    let (site, configured) = site(
        "several",
        tables,
        &[
            ("OUTBOX_KEY", "same"),
            ("OUTBOXES_ORDERS_TABLE", "sales.orders_outbox"),
            ("OUTBOXES_ORDERS_KEY", "same"),
            ("OUTBOXES_ORDERS_COLUMNS_ID", "n"),
            ("OUTBOXES_ORDERS_COLUMNS_AGGREGATE_TYPE", "kind"),
            ("OUTBOXES_ORDERS_COLUMNS_AGGREGATE_ID", ""),
            ("OUTBOXES_ORDERS_COLUMNS_EVENT_TYPE", "what"),
            ("OUTBOXES_ORDERS_COLUMNS_PAYLOAD", "body"),
            ("OUTBOXES_ORDERS_COLUMNS_PAYLOAD_BYTES", ""),
            ("OUTBOXES_ORDERS_COLUMNS_HEADERS", ""),
            ("OUTBOXES_MESSAGES_MESSAGE_PREFIX", "shop"),
            ("OUTBOXES_MESSAGES_KEY", "same"),
        ],
    )
    .await;
    let topic = order(site.name());
    let topics = |launch: Launch| {
        let launch = launch.with("POSTRIDER_OUTBOXES_ORDERS_TOPIC", &topic);
        launch.with("POSTRIDER_OUTBOXES_MESSAGES_TOPIC", &format!("{}.outbox.event.{{aggregate_type}}", site.name()))
    };
    let mut relay = topics(configured(site.relay())).start();
    relay.ready().await;
    let reader = site.reader();
    site.sql(
        r#"begin;
           select postrider.emit('order', 'k', 'First', '{"n": 1}');
           insert into sales.orders_outbox values (7, 'any', 'Second', 'not JSON: 2');
           select postrider.emit_message('shop', 'order', 'k', 'Third', '{"total": 12345678901234567890.10, "n": 3}', '{"tenant": "acme"}');
           select pg_logical_emit_message(true, 'of others', 'whatever');
           insert into sales.orders_outbox values (8, null, 'Fourth', '4');
           select postrider.emit_message_tombstone('shop', 'order', 'k', 'Fifth');
           select postrider.emit('order', 'k', 'Last', '{"n": 6}');
           commit"#,
    )
    .await;
    let last = |record: &Record| record.header("event_type") == Some("Last");
    reader.record("the last of them arrives", last).await;
    let records = reader.records();
    assert_eq!(
        values(&records),
        [r#"{"n": 1}"#, "not JSON: 2", r#"{"n": 3, "total": 12345678901234567890.10}"#, "4", "", r#"{"n": 6}"#]
    );
    assert!(records.iter().all(|record| record.topic == topic && record.key.as_deref() == Some(b"same")));
    assert_eq!((records[1].header("id"), records[1].header("event_type")), (Some("7"), Some("Second")));
    assert_eq!((records[2].header("tenant"), records[2].header("event_type")), (Some("acme"), Some("Third")));
    assert_eq!(records[4].value, None);
    // The message of others took a number too: positions name places in the transaction, whoever reads it.
    let ordinals: Vec<_> = records.iter().map(|record| &record.header("postrider-position").unwrap()[20..]).collect();
    let expected: Vec<_> = [0, 1, 2, 4, 5, 6].iter().map(|ordinal| format!("{:012x}", 1_u64 << 47 | ordinal)).collect();
    assert_eq!(ordinals, expected);
    // What is rolled back is not published, and what was not written in a transaction neither.
    site.sql("begin; select postrider.emit_message('shop', 'order', 'k', 'Never', '{}'); rollback").await;
    site.sql("select pg_logical_emit_message(false, 'shop', '{}')").await;
    until("the loose message is counted", PATIENCE, async || {
        (relay.metric("postrider_loose_messages_total").await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(reader.count(), records.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_table_of_any_types_maps_to_topic_key_headers_and_bytes() {
    let (site, configured) = site(
        "foreign",
        r#"create table "Events" (
             "Id" uuid not null, kind varchar(20) not null, tenant integer not null, number bigint, occurred timestamptz,
             body bytea, note varchar(50), primary key ("Id"))"#,
        &[
            ("OUTBOX_TABLE", r#"public."Events""#),
            ("OUTBOX_KEY", "{column:tenant}/{aggregate_id}"),
            ("OUTBOX_COLUMNS_ID", "Id"),
            ("OUTBOX_COLUMNS_AGGREGATE_TYPE", "kind"),
            ("OUTBOX_COLUMNS_AGGREGATE_ID", "number"),
            ("OUTBOX_COLUMNS_EVENT_TYPE", ""),
            ("OUTBOX_COLUMNS_PAYLOAD", "body"),
            ("OUTBOX_COLUMNS_PAYLOAD_BYTES", ""),
            ("OUTBOX_COLUMNS_HEADERS", ""),
            ("OUTBOX_HEADERS_FROM", "occurred=occurred;note=note;tenant-id=tenant"),
            ("OUTBOX_HEADER_NAMES_ID", "event-id"),
            ("OUTBOX_HEADER_NAMES_EVENT_TYPE", ""),
        ],
    )
    .await;
    let mut relay = configured(site.relay()).start();
    relay.ready().await;
    let reader = site.reader();
    let id = Uuid::now_v7();
    let insert = r#"insert into "Events" values ($1, 'order', 12, 34, '2026-01-02 03:04:05.678+01', '\x00ff41', null)"#;
    site.db().execute(insert, &[&id]).await.unwrap();
    let record = reader.record("the event arrives", |record| record.header("event-id").is_some()).await;
    assert_eq!(record.header("event-id"), Some(id.to_string().as_str()));
    assert_eq!(record.topic, format!("{}.outbox.event.order", site.name()));
    assert_eq!((text(record.key.as_deref()), record.value.as_deref()), ("12/34", Some(&[0, 255, b'A'][..])));
    assert_eq!(record.header("occurred"), Some("2026-01-02 02:04:05.678+00"));
    let names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["event-id", "postrider-position", "note", "occurred", "tenant-id"]);
    assert_eq!(record.headers[2].1, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_leaves_out_is_counted_and_does_not_hold_the_slot_back() {
    let (site, configured) = site(
        "filter",
        "",
        &[("OUTBOX_FILTER_AGGREGATE_TYPES", "order, parcel*"), ("OUTBOX_FILTER_EVENT_TYPES_EXCEPT", "Test*")],
    )
    .await;
    let mut relay = configured(site.relay()).start();
    relay.ready().await;
    let reader = site.reader();
    site.sql(
        r#"select postrider.emit('user', 'k', 'Renamed', '{"n": 1}'), postrider.emit('order', 'k', 'TestPlaced', '{"n": 2}'),
                  postrider.emit('order', 'k', 'Placed', '{"n": 3}'), postrider.emit('parcels', 'k', 'Testing', '{"n": 4}')"#,
    )
    .await;
    reader.record("the one that passes arrives", |record| text(record.value.as_deref()) == r#"{"n": 3}"#).await;
    let end = site.wal_end().await;
    site.sql(r#"select postrider.emit('user', 'k', 'Renamed', '{"n": 5}')"#).await;
    until("the slot moves over what is left out", PATIENCE, async || (site.confirmed().await > end).then_some(()))
        .await;
    assert!((relay.metric("postrider_filtered_events_total").await - 4.0).abs() < 0.1);
    assert_eq!(reader.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_has_no_key_or_no_form_is_parked_and_the_others_go_on() {
    let (site, configured) = site(
        "unfit",
        "alter table outbox_events alter aggregate_id drop not null",
        &[("OUTBOX_KEY", "{aggregate_type}/{aggregate_id}"), ("OUTBOXES_MESSAGES_MESSAGE_PREFIX", "shop")],
    )
    .await;
    let mut relay = configured(site.relay()).start();
    relay.ready().await;
    let reader = site.reader();
    site.sql(
        r#"begin;
           insert into outbox_events (aggregate_type, event_type, payload) values ('order', 'Keyless', '{"n": 1}');
           select pg_logical_emit_message(true, 'shop', '["no event"]');
           select postrider.emit('order', 'k', 'Placed', '{"n": 2}');
           commit"#,
    )
    .await;
    let record = reader.record("the event behind them arrives", |record| record.header("event_type").is_some()).await;
    assert_eq!((text(record.key.as_deref()), record.header("event_type")), ("order/k", Some("Placed")));
    let parked = site.db().query("select route, reason from postrider.parked order by position", &[]).await.unwrap();
    let parked: Vec<(String, String)> = parked.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(parked.len(), 2, "{parked:?}");
    assert!(parked[0].0 == "outbox" && parked[0].1.contains("aggregate id is null"), "{parked:?}");
    assert!(parked[1].0 == "messages" && parked[1].1.contains("not a JSON object"), "{parked:?}");
    assert!(!relay.log().contains("no event"), "a payload is never logged");
}
