//! An independent look at Kafka: what stands in a topic, and topics made to measure.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::PATIENCE;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The longest that one takes.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// A record as a consumer sees it.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

/// A name that no other test, and no earlier run, uses.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    format!("sink-contract.{what}.{}.{since}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The numbers that [`keyed`](super::batch::keyed) messages of `key` carry, in the order of their partition.
pub(crate) fn numbers_of(delivered: &[Delivered], key: u64) -> Vec<u64> {
    let key = format!("key-{key}").into_bytes();
    let of_key = delivered.iter().filter(|message| message.key.as_ref() == Some(&key));
    of_key.map(|message| String::from_utf8(message.value.clone().unwrap()).unwrap().parse().unwrap()).collect()
}

/// Everything in the topic now; nothing if it does not exist.
pub(crate) async fn read(bootstrap: &str, topic: &str) -> Vec<Delivered> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_blocking(&bootstrap, &topic)).await.unwrap()
}

fn read_blocking(bootstrap: &str, topic: &str) -> Vec<Delivered> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "sink-contract")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut ended = HashMap::new();
    let mut delivered = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while ended.len() < partitions.len() {
        assert!(Instant::now() < deadline, "the topic {topic} was not read to its end");
        match consumer.poll(PATIENCE) {
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition, ())),
            Some(Ok(message)) => delivered.push(Delivered {
                partition: message.partition(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map_or_else(Vec::new, |headers| {
                    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
                }),
                timestamp_ms: message.timestamp().to_millis(),
            }),
            // Troubles with connections pass, or the deadline does.
            Some(Err(_)) | None => {}
        }
    }
    delivered
}

/// Waits until no transaction is open in the topic: what stands in it then is committed or aborted.
pub(crate) async fn settled(bootstrap: &str, topic: &str) {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let settle = move || {
        // None where a leader is just being made.
        let ends = |isolation: &str| -> Option<Vec<i64>> {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &bootstrap)
                .set("isolation.level", isolation)
                .create()
                .unwrap();
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap();
            let partitions = metadata.topics()[0].partitions().iter();
            partitions.map(|p| Some(consumer.fetch_watermarks(&topic, p.id(), PATIENCE).ok()?.1)).collect()
        };
        let deadline = Instant::now() + PATIENCE;
        // The end of all first: what is added meanwhile is none of it.
        let is_open = || {
            let (Some(all), Some(stable)) = (ends("read_uncommitted"), ends("read_committed")) else { return true };
            all.iter().zip(stable).any(|(all, stable)| stable < *all)
        };
        while is_open() {
            assert!(Instant::now() < deadline, "a transaction is still open in {topic}");
        }
    };
    tokio::task::spawn_blocking(settle).await.unwrap();
}

/// Waits until anything stands in the topic, committed or not.
pub(crate) async fn begun(bootstrap: &str, topic: &str) {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let begin = move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .set("isolation.level", "read_uncommitted")
            .create()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap();
            let mut ends = metadata.topics()[0].partitions().iter();
            if ends.any(|p| consumer.fetch_watermarks(&topic, p.id(), PATIENCE).is_ok_and(|(_, end)| end > 0)) {
                return;
            }
            assert!(Instant::now() < deadline, "nothing arrived in {topic}");
        }
    };
    tokio::task::spawn_blocking(begin).await.unwrap();
}

/// A client that makes and changes topics.
pub(crate) fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

/// Makes a topic with this configuration.
pub(crate) async fn create(bootstrap: &str, topic: &str, partitions: i32, config: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    new.config = config.to_vec();
    let outcome = admin(bootstrap).create_topics([&new], &AdminOptions::new()).await.unwrap();
    outcome.into_iter().next().unwrap().unwrap();
    let (client, topic) = (admin(bootstrap), topic.to_owned());
    // The controller answers before the broker has heard of it.
    let led = move || {
        let begun = Instant::now();
        loop {
            // A client that has just connected may wait in vain for its first answer.
            if let Ok(metadata) = client.inner().fetch_metadata(Some(&topic), LOOK_MAX) {
                let leaders = metadata.topics().iter().flat_map(MetadataTopic::partitions);
                if leaders.filter(|found| found.leader() >= 0).count() >= usize::try_from(partitions).unwrap() {
                    break;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{topic} has no leader");
            std::thread::sleep(LOOK_AGAIN);
        }
    };
    tokio::task::spawn_blocking(led).await.unwrap();
}

/// Changes what a topic is configured with; what is not named goes back to its default.
pub(crate) async fn alter(bootstrap: &str, topic: &str, config: &[(&str, &str)]) {
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in config {
        change = change.set(name, value);
    }
    let outcome = admin(bootstrap).alter_configs([&change], &AdminOptions::new()).await.unwrap();
    outcome.into_iter().next().unwrap().unwrap();
    let begun = Instant::now();
    for (name, value) in config {
        while self::config(bootstrap, topic, name).await != *value {
            assert!(begun.elapsed() < PATIENCE, "{name} of {topic} is not {value}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Gives a topic more partitions.
pub(crate) async fn extend(bootstrap: &str, topic: &str, partitions: usize) {
    let more = NewPartitions::new(topic, partitions);
    let outcome = admin(bootstrap).create_partitions([&more], &AdminOptions::new()).await.unwrap();
    outcome.into_iter().next().unwrap().unwrap();
}

/// The names of all topics.
pub(crate) fn names(bootstrap: &str) -> Vec<String> {
    let metadata = admin(bootstrap).inner().fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// One entry of a topic's configuration.
pub(crate) async fn config(bootstrap: &str, topic: &str, name: &str) -> String {
    let resource = [ResourceSpecifier::Topic(topic)];
    let described = admin(bootstrap).describe_configs(&resource, &AdminOptions::new()).await.unwrap();
    let config = described.into_iter().next().unwrap().unwrap();
    config.get(name).unwrap().value.clone().unwrap()
}

/// Deletes a topic and waits until nobody lists it.
pub(crate) async fn delete(bootstrap: &str, topic: &str) {
    admin(bootstrap).delete_topics(&[topic], &AdminOptions::new()).await.unwrap().into_iter().for_each(|outcome| {
        outcome.unwrap();
    });
    let deadline = Instant::now() + PATIENCE;
    while names(bootstrap).iter().any(|name| name == topic) {
        assert!(Instant::now() < deadline, "{topic} is still listed");
    }
}
