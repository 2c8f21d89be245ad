//! What a topic says about itself decides what is taken: before anything is sent, and as the topic is now.

use std::time::{Duration, SystemTime};

use postrider_relay::pipeline::{Durable, Sink};
use postrider_relay::sinks::kafka::{Compression, Untimely};
use tokio::time::timeout;

use super::batch::{COMMITTED_AT_MS, Text, batch, batch_at, keyed};
use super::kafka::Shared;
use super::topic;
use super::{PATIENCE, Rig, durable};

fn sized(bytes: usize) -> Text {
    Text { value: Some("x".repeat(bytes).into()), ..keyed(1, 1) }
}

#[tokio::test]
async fn a_record_too_large_for_its_topic_is_refused_until_the_topic_is_mended() {
    let mut rig = Shared::new();
    rig.options.compression = Compression::None;
    let broker = rig.options.bootstrap_servers.clone();
    topic::create(&broker, rig.topic(), 1, &[("max.message.bytes", "5000")]).await;
    let (mut sink, _) = rig.open().await;
    let texts = [keyed(1, 1), sized(6000), keyed(1, 3)];
    let refused = sink.admit(&batch(rig.topic(), &texts)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [1]);
    assert!(refused[0].reason.contains("5000"), "{refused:?}");
    let help = refused[0].help.as_deref().unwrap();
    assert!(help.contains("kafka-configs.sh") && help.contains(rig.topic()), "{help}");

    // The next question finds the topic mended, although nobody refreshed what is known of it.
    topic::alter(&broker, rig.topic(), &[("max.message.bytes", "10000")]).await;
    let mended = async { while !sink.admit(&batch(rig.topic(), &texts)).await.unwrap().is_empty() {} };
    timeout(PATIENCE, mended).await.unwrap();
    let receipt = sink.send(batch(rig.topic(), &texts)).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

#[tokio::test]
async fn the_largest_record_that_a_topic_takes_is_taken_and_one_byte_more_is_not() {
    let mut rig = Shared::new();
    rig.options.compression = Compression::None;
    topic::create(&rig.options.bootstrap_servers, rig.topic(), 1, &[("max.message.bytes", "5000")]).await;
    let (mut sink, _) = rig.open().await;
    // 61 bytes of the batch; 2 of the record's length; 3 of attributes, time and offset; 6 of the key; 2 of the value's length;
    // 1 of no headers.
    let most = 5000 - 61 - 2 - 3 - 6 - 2 - 1;
    assert_eq!(sink.admit(&batch(rig.topic(), &[sized(most + 1)])).await.unwrap().len(), 1);
    assert_eq!(sink.admit(&batch(rig.topic(), &[sized(most)])).await.unwrap(), []);
    let receipt = sink.send(batch(rig.topic(), &[sized(most)])).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

#[tokio::test]
async fn a_record_without_a_key_is_refused_for_a_compacted_topic_only() {
    for (policy, expected) in [("compact", vec![1]), ("compact,delete", vec![1]), ("delete", vec![])] {
        let rig = Shared::new();
        topic::create(&rig.options.bootstrap_servers, rig.topic(), 1, &[("cleanup.policy", policy)]).await;
        let (mut sink, _) = rig.open().await;
        let keyless = Text { key: None, ..keyed(1, 2) };
        let refused = sink.admit(&batch(rig.topic(), &[keyed(1, 1), keyless])).await.unwrap();
        assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), expected, "{policy}: {refused:?}");
    }
}

#[tokio::test]
async fn a_header_name_that_clients_cannot_read_is_refused() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    let odd = Text { headers: vec![("a\0b", None)], ..keyed(1, 1) };
    let refused = sink.admit(&batch(rig.topic(), &[odd])).await.unwrap();
    assert!(refused[0].reason.contains("NUL"), "{refused:?}");
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test]
async fn a_commit_time_outside_the_topics_window_travels_in_a_header() {
    let day = 24 * 3600 * 1000;
    let rig = Shared::new();
    let window = [("message.timestamp.before.max.ms", "86400000"), ("message.timestamp.after.max.ms", "3600000")];
    topic::create(&rig.options.bootstrap_servers, rig.topic(), 1, &window).await;
    let (mut sink, _) = rig.open().await;
    let now = now_ms();
    for (number, committed) in [(1, COMMITTED_AT_MS), (2, now), (3, now + day)] {
        let sent = batch_at(u128::from(number), committed, rig.topic(), &[keyed(1, number)]);
        assert_eq!(sink.admit(&sent).await.unwrap(), []);
        let receipt = sink.send(sent).await.unwrap();
        assert_eq!(durable(receipt).await, Durable::default());
    }
    let delivered = rig.delivered().await.unwrap();
    let seen: Vec<(i64, Option<i64>)> = delivered
        .iter()
        .map(|record| {
            let header = record.headers.iter().find(|(name, _)| name == "postrider-commit-time");
            let time = header.map(|(_, value)| String::from_utf8(value.clone().unwrap()).unwrap().parse().unwrap());
            (record.timestamp_ms.unwrap(), time)
        })
        .collect();
    assert_eq!(seen[1], (now, None));
    assert_eq!((seen[0].1, seen[2].1), (Some(COMMITTED_AT_MS), Some(now + day)));
    assert!(seen[0].0 > now - day && seen[0].0 < now - day / 2, "{seen:?}");
    assert!(seen[2].0 > now && seen[2].0 <= now_ms() + 3_600_000, "{seen:?}");
}

#[tokio::test]
async fn a_commit_time_outside_the_topics_window_is_refused_where_that_is_wanted() {
    let mut rig = Shared::new();
    rig.options.untimely = Untimely::Refuse;
    let window = [("message.timestamp.before.max.ms", "86400000")];
    topic::create(&rig.options.bootstrap_servers, rig.topic(), 1, &window).await;
    let (mut sink, _) = rig.open().await;
    let refused = sink.admit(&batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    assert!(refused[0].reason.contains("committed at a time"), "{refused:?}");
}

/// On one thread this loop would leave no turn to the look at the topic, which goes on beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_gets_more_partitions_keeps_each_keys_order() {
    let mut rig = Shared::new();
    rig.options.topic_refresh_interval = Duration::from_millis(20);
    let broker = rig.options.bootstrap_servers.clone();
    topic::create(&broker, rig.topic(), 3, &[]).await;
    let (mut sink, _) = rig.open().await;
    let mut receipts = Vec::new();
    let mut number = 0;
    // Until keys have moved, and for a while after.
    let mut left = 50;
    while left > 0 {
        let texts: Vec<Text> = (0..100).map(|n| keyed(n % 20, number + n)).collect();
        number += 100;
        let sent = batch(rig.topic(), &texts);
        assert_eq!(sink.admit(&sent).await.unwrap(), []);
        receipts.push(sink.send(sent).await.unwrap());
        if number == 2000 {
            topic::extend(&broker, rig.topic(), 6).await;
        }
        if number > 2000 && sink.partitions(rig.topic()) == Some(6) {
            left -= 1;
        }
        assert!(number < 10_000_000, "the change is never noticed");
    }
    for receipt in receipts {
        assert_eq!(durable(receipt).await, Durable::default());
    }
    let delivered = rig.delivered().await.unwrap();
    assert_eq!(delivered.len() as u64, number);
    let mut moved = 0;
    for key in 0..20 {
        let own = format!("key-{key}").into_bytes();
        let mut places: Vec<(u64, i32)> = delivered
            .iter()
            .filter(|record| record.key.as_ref() == Some(&own))
            .map(|record| {
                (String::from_utf8(record.value.clone().unwrap()).unwrap().parse().unwrap(), record.partition)
            })
            .collect();
        // In order within each partition, and each key moved at most once: with one point in time between.
        for partition in 0..6 {
            let numbers: Vec<u64> = places.iter().filter(|place| place.1 == partition).map(|place| place.0).collect();
            assert!(numbers.is_sorted(), "key {key} in partition {partition}");
        }
        places.sort_unstable();
        let moves = places.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        assert!(moves <= 1, "key {key} went to and fro");
        moved += moves;
    }
    assert!(moved > 0, "no key moved");
}
