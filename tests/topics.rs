//! Topics come into being at their first event, as configured, and what writers call their aggregates cannot do harm.

use harness::{PATIENCE, Site, TopicReader, until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

async fn emit(site: &Site, aggregate_type: &str, n: i64) {
    let emit = "select postrider.emit($1, 'k', 'Changed', jsonb_build_object('n', $2::bigint))";
    site.db().execute(emit, &[&aggregate_type, &n]).await.unwrap();
}

/// The topics of this place and how many partitions each has.
fn topics(site: &Site) -> Vec<(String, usize)> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    let metadata = client.fetch_metadata(None, PATIENCE).unwrap();
    let own = metadata.topics().iter().filter(|topic| topic.name().starts_with(site.topics().prefix()));
    own.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_aggregate_type_gets_its_topic_as_configured() {
    let site = Site::new("newtopic").await;
    let mut relay = site.relay().with("POSTRIDER_TOPICS_PARTITIONS", "2").start();
    relay.ready().await;
    emit(&site, "brand-new", 1).await;
    let name = format!("{}outbox.event.brand-new", site.topics().prefix());
    let created = async || topics(&site).contains(&(name.clone(), 2)).then_some(());
    until("the topic is created with two partitions", PATIENCE, created).await;
    let reader = TopicReader::start(site.bootstrap(), [(name.clone(), 0), (name.clone(), 1)]);
    reader.record("the event arrives", |record| record.key.as_deref() == Some(b"k")).await;
    assert!(relay.metric("postrider_kafka_topics_created_total").await > 0.5);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_aggregate_types_create_nothing_and_are_refused_by_name() {
    let site = Site::new("hostile").await;
    let reader = site.reader();
    let mut relay =
        site.relay().with("POSTRIDER_OUTBOX_ON_REFUSAL", "block").with("POSTRIDER_TOPICS_TOPICS_MAX", "0").start();
    relay.ready().await;
    emit(&site, "order", 1).await;
    reader.distinct(1).await;
    let before = topics(&site);
    // Our own table refuses such a type itself; a table that somebody else made does not.
    site.sql("alter table outbox_events drop constraint outbox_events_aggregate_type").await;
    let insert = "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload)
                  values (gen_random_uuid(), $1, 'k', 'Changed', '{}')";
    for hostile in ["../etc/passwd", "__consumer_offsets", "of-a-million"] {
        site.db().execute(insert, &[&hostile]).await.unwrap();
    }
    relay.unready(&["kafka cannot take event", "letters, digits"]).await;
    drop(relay);
    assert_eq!(topics(&site), before);
}
