//! Brokers, topics and progress records that are wrong, on the shared broker.

use harness::{PATIENCE, Site, admin, alter_topic, create_topic, until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::check::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [connection(), topics(), progress()].into_iter().flatten().collect()
}

fn connection() -> Vec<Case> {
    vec![
        Case::variables(
            "no broker at the port",
            &["broker-unreachable"],
            &[("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")],
        )
        .by_hand(),
        Case::variables(
            "TLS with a broker that speaks none",
            &["broker-tls"],
            &[("POSTRIDER_KAFKA_PROPERTIES", "security.protocol=ssl")],
        )
        .by_hand(),
        Case::variables("no broker at all", &["kafka-null"], &[("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "null:")])
            .by_hand(),
        Case::variables(
            "events larger than what is sent",
            &["message-bytes"],
            &[("POSTRIDER_KAFKA_PROPERTIES", "message.max.bytes=100000")],
        ),
        Case::variables(
            "events that would go to the progress topic",
            &["topic-is-progress"],
            &[("POSTRIDER_OUTBOX_TOPIC", "{}.{aggregate_type}")],
        )
        .by_hand(),
        Case::variables(
            "exactly once, which only some readers see",
            &["read-committed"],
            &[("POSTRIDER_KAFKA_DELIVERY", "exactly-once")],
        )
        .with(&["--verbose"])
        .by_hand(),
    ]
}

/// Sets one option of the topic of orders.
macro_rules! order_topic {
    ($name:literal, $code:literal, $option:literal, $value:literal) => {
        Case::spoilt($name, &[$code], |site| {
            Box::pin(async move {
                alter_topic(site.bootstrap(), &order(site), $option, $value).await;
                Vec::new()
            })
        })
    };
}

fn order(site: &Site) -> String {
    format!("{}.outbox.event.order", site.name())
}

fn topics() -> Vec<Case> {
    vec![
        order_topic!("a compacted topic of events", "topic-compacted", "cleanup.policy", "compact"),
        order_topic!("a topic for small messages", "topic-message-bytes", "max.message.bytes", "20000"),
        order_topic!("a topic that takes no old times", "topic-timestamps", "message.timestamp.before.max.ms", "60000"),
        order_topic!("a topic that keeps events for a minute", "topic-retention", "retention.ms", "60000"),
        order_topic!(
            "a topic with unclean elections",
            "topic-unclean-election",
            "unclean.leader.election.enable",
            "true"
        ),
        Case {
            variables: &[("POSTRIDER_TOPICS_CREATE", "false")],
            ..Case::spoilt("a topic that nobody may create", &["topic-missing"], |site| {
                Box::pin(async move {
                    site.sql("select postrider.emit('parcel', 'k', 'Changed', '{\"n\": 1}')").await;
                    delete(site, &format!("{}.outbox.event.parcel", site.name())).await;
                    Vec::new()
                })
            })
        },
        Case::variables(
            "more replicas for new topics than there are brokers",
            &["topic-creation"],
            &[("POSTRIDER_TOPICS_REPLICATION_FACTOR", "3")],
        ),
        Case::sql(
            "aggregate types whose topics collide",
            &["topic-collision"],
            &[
                "select postrider.emit('cart.item', 'k', 'Changed', '{\"n\": 1}')",
                "select postrider.emit('cart_item', 'k', 'Changed', '{\"n\": 1}')",
            ],
        )
        .by_hand(),
    ]
}

fn progress() -> Vec<Case> {
    vec![
        Case::spoilt("a progress topic that forgets", &["progress-policy"], |site| {
            Box::pin(async move {
                create(site, "delete").await;
                Vec::new()
            })
        }),
        Case::spoilt("a progress record of another program", &["progress-foreign"], |site| {
            Box::pin(async move {
                record(site, "not a progress record").await;
                Vec::new()
            })
        }),
        Case::spoilt("a progress record of another server", &["progress-other-server"], |site| {
            Box::pin(async move {
                let value = r#"{"version":1,"system_id":"1","timeline":1,"epoch":1,"commit_lsn":"0/1","ordinal":0,"end_lsn":"0/2"}"#;
                record(site, value).await;
                Vec::new()
            })
        }),
        Case::spoilt("a slot ahead of what was delivered", &["progress-gap"], |site| {
            Box::pin(async move {
                let mut relay = site.relay().start();
                relay.ready().await;
                site.sql("select postrider.emit('order', 'k', 'Changed', '{\"n\": 1}')").await;
                site.assert_all_arrived(&site.reader()).await;
                relay.terminate().await.expect(0, &[]);
                site.sql("select postrider.emit('order', 'k', 'Changed', '{\"n\": 2}')").await;
                let advance = format!("select pg_replication_slot_advance('{}', pg_current_wal_lsn())", site.name());
                site.sql(&advance).await;
                Vec::new()
            })
        }),
    ]
}

async fn create(site: &Site, policy: &str) {
    let name = site.topics().progress();
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("cleanup.policy", policy);
    create_topic(site.bootstrap(), topic).await;
}

/// Deletes a topic and waits until the broker no longer knows it.
async fn delete(site: &Site, topic: &str) {
    let deleted = admin(site.bootstrap()).delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    deleted.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let gone = async || {
        let client = admin(site.bootstrap());
        let metadata = tokio::task::block_in_place(|| client.inner().fetch_metadata(None, PATIENCE)).unwrap();
        metadata.topics().iter().all(|found| found.name() != topic).then_some(())
    };
    until("the topic is gone", PATIENCE, gone).await;
}

/// Writes a progress record under the slot's name.
async fn record(site: &Site, value: &str) {
    create(site, "compact").await;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    let topic = site.topics().progress();
    producer.send(BaseRecord::to(&topic).key(site.name()).payload(value)).unwrap();
    tokio::task::block_in_place(|| producer.flush(PATIENCE)).unwrap();
}
