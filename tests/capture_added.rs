//! Tables are captured by a relay whose slot is older than their publication: its outbox loses nothing, and their changes come.

use harness::{Site, TopicReader};

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_captured_by_a_slot_that_is_older_than_their_publication() {
    let site = Site::new("added").await;
    let (name, topic) = (site.name(), format!("{}.cdc.users", site.name()));
    let emit = "select postrider.emit('order', '1', 'Placed', '{}')";
    // For this event the publication does not exist.
    site.sql(emit).await;
    site.sql("create table users (id int primary key, name text)").await;
    site.sql(&format!("create publication {name}_capture for table users")).await;
    site.sql(&format!("{emit}; insert into users values (1, 'during')")).await;
    site.sql(&format!("grant select on users to {}", site.role())).await;

    let mut relay = site
        .relay()
        .with("POSTRIDER_CAPTURE_TABLES", "public.users")
        .with("POSTRIDER_CAPTURE_PUBLICATION", &format!("{name}_capture"))
        .with("POSTRIDER_CAPTURE_TOPIC", &topic)
        .with("POSTRIDER_TOPICS_CREATE", "true")
        .with("POSTRIDER_TOPICS_PARTITIONS", "1")
        .start();
    relay.ready().await;
    relay.logs(&["the outbox is read alone"]).await;
    relay.logs(&["exists from here on"]).await;
    site.sql(&format!("{emit}; insert into users values (2, 'after')")).await;

    relay.logs(&["topic created", &topic]).await;
    let changes = TopicReader::start(site.bootstrap(), [(topic, 0)]);
    let record = changes.record("the change", |record| record.key.as_deref() == Some(br#"{"id":2}"#)).await;
    let value = String::from_utf8(record.value.expect("a value")).unwrap();
    assert!(value.contains(r#""after":{"id":2,"name":"after"}"#) && value.contains(r#""op":"c""#), "{value}");
    site.reader().distinct(3).await;
    // The snapshot took what was there before, and every later change came by the stream: each row once.
    let rows = |key: &[u8]| changes.records().iter().filter(|record| record.key.as_deref() == Some(key)).count();
    assert_eq!((rows(br#"{"id":1}"#), rows(br#"{"id":2}"#)), (1, 1));
    relay.terminate().await.expect(0, &[]);
}
