//! The progress topic in the states that years of use leave behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_relay::pipeline::{Progress, Sink};
use postrider_relay::sinks::Kafka;
use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::batch::{Text, batch, keyed};
use super::kafka::{KEY, Shared};
use super::{PATIENCE, Rig, durable, note, topic};

/// Records one note of the rig's key.
async fn recorded(sink: &mut Kafka, value: &str) {
    let receipt = sink.record(note(value)).await.unwrap();
    assert!(durable(receipt).await.refused.is_empty());
}

/// Records `count` notes of other keys.
async fn crowd(sink: &mut Kafka, count: usize) {
    let mut receipts = Vec::new();
    for number in 0..count {
        let key = Bytes::from(format!("other-{}", number % 50));
        receipts.push(sink.record(Progress { key, value: Bytes::from_static(b"theirs") }).await.unwrap());
    }
    for receipt in receipts {
        durable(receipt).await;
    }
}

#[tokio::test]
async fn the_topic_is_created_compacted_with_one_partition() {
    let rig = Shared::new();
    drop(rig.open().await);
    let name = &rig.options.progress_topic;
    let resource = [ResourceSpecifier::Topic(name)];
    let admin = topic::admin(&rig.options.bootstrap_servers);
    let described = admin.describe_configs(&resource, &AdminOptions::new()).await.unwrap();
    let config = described.into_iter().next().unwrap().unwrap();
    assert_eq!(config.get("cleanup.policy").unwrap().value.as_deref(), Some("compact"));
    let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 1);
}

#[tokio::test]
async fn relays_that_start_at_once_do_not_fight_over_creating_the_topic() {
    let rig = Arc::new(Shared::new());
    let openings: Vec<_> = (0..4)
        .map(|_| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.try_open().await.map(|(_, progress)| progress) })
        })
        .collect();
    for opening in openings {
        assert_eq!(opening.await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn a_key_is_found_however_many_others_wrote_since() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    recorded(&mut sink, "long ago").await;
    // Beyond the first and the second window.
    crowd(&mut sink, 6000).await;
    let (_, progress) = rig.open().await;
    assert_eq!(progress, Some(note("long ago")));
}

#[tokio::test]
async fn a_key_that_never_wrote_has_no_progress_among_many_others() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    crowd(&mut sink, 600).await;
    assert_eq!(rig.open().await.1, None);
}

#[tokio::test]
async fn a_truncated_topic_yields_what_is_left() {
    let rig = Shared::new();
    // Somebody made it, with a policy under which records are deleted.
    let Shared { options, .. } = &rig;
    topic::create(&options.bootstrap_servers, &options.progress_topic, 1, &[("cleanup.policy", "compact,delete")])
        .await;
    let (mut sink, _) = rig.open().await;
    recorded(&mut sink, "old").await;
    crowd(&mut sink, 10).await;
    recorded(&mut sink, "new").await;
    truncate(&rig, 5).await;
    assert_eq!(rig.open().await.1, Some(note("new")));
    truncate(&rig, 12).await;
    assert_eq!(rig.open().await.1, None, "all of it was deleted");
    recorded(&mut sink, "newer").await;
    assert_eq!(rig.open().await.1, Some(note("newer")));
}

/// Deletes the records before `offset`, as retention would.
async fn truncate(rig: &Shared, offset: i64) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&rig.options.progress_topic, 0, Offset::Offset(offset)).unwrap();
    let admin = topic::admin(&rig.options.bootstrap_servers);
    let deleted = admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
    deleted.elements()[0].error().unwrap();
}

#[tokio::test]
async fn values_that_nobody_here_wrote_are_handed_on_as_they_are() {
    let rig = Shared::new();
    drop(rig.open().await);
    write(&rig, Some(b"\x00\xff not ours"));
    let (_, progress) = rig.open().await;
    assert_eq!(progress.unwrap().value, Bytes::from_static(b"\x00\xff not ours"));
}

#[tokio::test]
async fn a_batch_given_up_half_accepted_does_not_stop_the_progress_of_those_before_it() {
    let mut rig = Shared::new();
    // Long enough that no record can be delivered between two that are handed over, however busy the machine is.
    rig.options.linger = Duration::from_secs(1);
    let (mut sink, _) = rig.open().await;
    let first = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    durable(first).await;
    // Nothing may follow the first record in a partition until that one is delivered, so this call waits; its caller does not.
    let texts: Vec<Text> = (2..20).map(|number| keyed(number / 2, number)).collect();
    let second = sink.send(batch(rig.topic(), &texts));
    assert!(tokio::time::timeout(Duration::ZERO, second).await.is_err(), "nothing was given up");
    recorded(&mut sink, "after the first").await;
    sink.close(PATIENCE).await.unwrap();
    let (_, progress) = rig.open().await;
    assert_eq!(progress.map(|progress| progress.value), Some(Bytes::from_static(b"after the first")));
}

#[tokio::test]
async fn a_tombstone_means_no_progress() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    recorded(&mut sink, "removed soon").await;
    write(&rig, None);
    assert_eq!(rig.open().await.1, None);
}

/// Writes to the progress topic past the sink.
fn write(rig: &Shared, value: Option<&[u8]>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &rig.options.bootstrap_servers).create().unwrap();
    let mut record = BaseRecord::to(&rig.options.progress_topic).partition(0).key(KEY);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}
