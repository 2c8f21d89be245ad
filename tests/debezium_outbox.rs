//! A table that Debezium's outbox event router read before: the same options, and the same records.

use harness::{PATIENCE, Site, shared, until};
use uuid::Uuid;

const OPTIONS: &str = "key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
table.expand.json.payload=true
table.fields.additional.placement=type:header:eventType,tenant:header,part:partition
table.field.event.timestamp=at
route.topic.regex=(?<kind>.*)-v[0-9]+
route.tombstone.on.empty.payload=true";

#[tokio::test(flavor = "multi_thread")]
async fn the_options_of_a_connector_publish_what_it_published() {
    let site = Site::bare("event_router", &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    site.migrate();
    site.sql(
        "create table outboxevent (id uuid primary key, aggregatetype varchar(255), aggregateid varchar(255) not null,
           type varchar(255) not null, tenant integer not null, part integer, at timestamp, payload jsonb)",
    )
    .await;
    let options = format!("{OPTIONS}\nroute.topic.replacement={}.outbox.event.${{kind}}", site.name());
    let configured = |launch: harness::Launch| {
        let launch = launch.with("POSTRIDER_OUTBOXES_OLD_TABLE", "public.outboxevent");
        let launch = launch.with("POSTRIDER_OUTBOXES_OLD_COMPATIBILITY", "debezium");
        launch.with("POSTRIDER_OUTBOXES_OLD_DEBEZIUM", &options)
    };
    configured(site.initialiser()).complete("init").expect(0, &[]);
    let mut relay = configured(site.relay()).start();
    relay.ready().await;
    let reader = site.reader();

    let id = Uuid::now_v7();
    // Debezium ends at the payload of the first row, at the second row's null and at the third one's partition.
    let insert = "insert into outboxevent values
        ($1, 'order-v2', '4\"2', 'OrderCreated', 12, 3, '2020-09-13 12:26:40.456789',
         '{\"lines\": [{\"price\": 10}, {\"price\": 10.5}], \"none\": null}'),
        (gen_random_uuid(), null, 'k', 'Lost', 1, null, null, '{}'),
        (gen_random_uuid(), 'order-v2', 'other', 'Nowhere', 1, 99, null, '{}'),
        (gen_random_uuid(), 'order-v1', '42', 'OrderDeleted', 12, null, null, null)";
    site.db().execute(insert, &[&id]).await.unwrap();
    let last = |record: &harness::Record| record.header("eventType") == Some("OrderDeleted");
    let deleted = reader.record("the last one arrives", last).await;
    assert_eq!((deleted.key.as_deref(), deleted.value), (Some(&b"42"[..]), None));

    let created = reader.record("the first one arrives", |record| record.id() == Some(id)).await;
    assert_eq!(created.topic, format!("{}.outbox.event.order", site.name()));
    assert_eq!((created.key.as_deref(), created.partition), (Some(&b"4\"2"[..]), 3));
    assert_eq!(created.value.as_deref(), Some(&br#"{"lines":[{"price":10},{"price":10.5}]}"#[..]));
    assert_eq!(created.timestamp_ms, 1_600_000_000_456);
    let headers: Vec<_> = created.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let some = |value: &str| Some(value.as_bytes().to_vec());
    assert_eq!(headers, [("id", some(&id.to_string())), ("eventType", some("OrderCreated")), ("tenant", some("12"))]);
    until("what could not be published is parked", PATIENCE, async || {
        let rows = site.db().query("select reason from postrider.parked order by position", &[]).await.unwrap();
        let reasons: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let [null, partition] = &reasons[..] else { return None };
        assert!(null.contains("routing column is null") && partition.contains("names a partition"), "{reasons:?}");
        Some(())
    })
    .await;
    // A table without our columns is compared, and published again, as any other; one without times from the topics' beginning on.
    let outbox = |arguments: &[&str]| {
        arguments.iter().fold(configured(site.relay()), |launch, argument| launch.argument(argument)).complete("outbox")
    };
    outbox(&["verify", "--wait", "30s"])
        .expect(0, &["delivered once     2", "missing            0", "parked             2"]);
    outbox(&["replay", "--outbox", "old", "--id", &id.to_string(), "--yes"]).expect(0, &["1 rows published"]);
    let again = |record: &harness::Record| record.header("postrider-replay").is_some();
    let again = reader.record("it is published again", again).await;
    assert_eq!((&again.key, &again.value, again.partition), (&created.key, &created.value, created.partition));
    assert_eq!(again.headers[..created.headers.len()], created.headers);
}
