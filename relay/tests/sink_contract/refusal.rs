//! Records that Kafka does not take: known beforehand, or told by the broker. Never skipped, always named.

use std::collections::HashSet;
use std::time::Duration;

use postrider_relay::pipeline::{Durable, Kind, Sink};
use postrider_relay::sinks::Kafka;
use postrider_relay::sinks::kafka::Compression;
use tokio::time::timeout;

use super::batch::{COMMITTED_AT_MS, Text, batch, batch_at, keyed};
use super::kafka::Shared;
use super::topic::{self, unique};
use super::{PATIENCE, Rig, durable};

fn named(value_bytes: usize) -> Text {
    Text {
        key: Some("key-1".into()),
        value: Some("secret".repeat(value_bytes / 6).into()),
        headers: vec![("id", Some("0190-the-id")), ("postrider-position", Some("0001/2/3"))],
    }
}

fn assert_names_the_event(text: &str) {
    assert!(text.contains("0190-the-id") && text.contains("0001/2/3"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_by_name_before_it_is_sent_and_the_next_one_goes_on() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    let refused = sink.admit(&batch(rig.topic(), &[keyed(1, 1), named(1_100_000), keyed(1, 2)])).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].index, refused[0].overtaken), (1, false));
    assert_names_the_event(&refused[0].reason);
    assert!(refused[0].help.as_deref().unwrap().contains("message.max.bytes"), "{:?}", refused[0].help);

    let fine = batch(rig.topic(), &[keyed(1, 3)]);
    assert_eq!(sink.admit(&fine).await.unwrap(), []);
    let receipt = sink.send(fine).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    assert_eq!(topic::numbers_of(&rig.delivered().await.unwrap(), 1), [3]);
}

#[tokio::test]
async fn a_record_at_the_limit_is_taken() {
    let rig = Shared::new();
    let (mut sink, _) = rig.open().await;
    let receipt = sink.send(batch(rig.topic(), &[named(999_000)])).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

/// Sends a batch until it is delivered or its refusal is told exactly, resetting in between as the pump does.
async fn insist(sink: &mut Kafka, topic: &str, texts: &[Text]) -> Durable {
    for _ in 0..20 {
        let receipt = sink.send(batch(topic, texts)).await.unwrap();
        match timeout(PATIENCE, receipt).await.unwrap() {
            Ok(durable) => return durable,
            Err(error) => assert_eq!(error.kind(), Kind::Refused, "{}", error.chain()),
        }
        sink.reset().await.unwrap();
    }
    panic!("neither delivered nor refused exactly");
}

/// A sink that knows a topic of one partition, which then takes no more than 2000 bytes at once behind its back.
async fn strict() -> (Shared, Kafka, String) {
    let mut rig = Shared::new();
    let strict = unique("strict");
    topic::create(&rig.options.bootstrap_servers, &strict, 1, &[]).await;
    // Without compression the broker sees the size that was sent.
    rig.options.compression = Compression::None;
    rig.options.topic_refresh_interval = Duration::from_secs(3600);
    let (mut sink, _) = rig.open().await;
    assert_eq!(sink.admit(&batch(&strict, &[named(6000)])).await.unwrap(), []);
    topic::alter(&rig.options.bootstrap_servers, &strict, &[("max.message.bytes", "2000")]).await;
    (rig, sink, strict)
}

#[tokio::test]
async fn what_the_broker_refuses_is_found_among_its_neighbours_and_named() {
    let (_, mut sink, strict) = strict().await;
    let texts = [keyed(1, 1), keyed(2, 1), named(6000), keyed(2, 2)];
    let fate = insist(&mut sink, &strict, &texts[..3]).await;
    let indexes: Vec<usize> = fate.refused.iter().map(|refused| refused.index).collect();
    assert_eq!(indexes, [2], "{:?}", fate.refused);
    assert_names_the_event(&fate.refused[0].reason);
}

#[tokio::test]
async fn nothing_arrives_behind_a_refused_record_until_the_reset() {
    let (rig, mut sink, strict) = strict().await;
    let first = sink.send(batch(&strict, &[keyed(1, 1)])).await.unwrap();
    assert_eq!(durable(first).await, Durable::default());

    let mut behind = vec![sink.send(batch(&strict, &[named(6000)])).await.unwrap()];
    for number in 2..50 {
        behind.push(sink.send(batch(&strict, &[keyed(1, number)])).await.unwrap());
    }
    for receipt in behind {
        let error = timeout(PATIENCE, receipt).await.expect("decided without a reset").unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{}", error.chain());
    }
    sink.reset().await.unwrap();
    assert_eq!(topic::numbers_of(&topic::read(&rig.options.bootstrap_servers, &strict).await, 1), [1]);

    let receipt = sink.send(batch(&strict, &[keyed(1, 50), keyed(1, 51)])).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    assert_eq!(topic::numbers_of(&topic::read(&rig.options.bootstrap_servers, &strict).await, 1), [1, 50, 51]);
}

#[tokio::test]
async fn nothing_overtakes_a_record_that_is_refused_again_after_each_reset() {
    let (rig, mut sink, strict) = strict().await;
    let first = sink.send(batch(&strict, &[keyed(1, 1)])).await.unwrap();
    assert_eq!(durable(first).await, Durable::default());
    for _ in 0..6 {
        // A broker takes any first sequence number from a producer that it does not know yet, as it is after a reset.
        let refused = sink.send(batch(&strict, &[named(6000)])).await.unwrap();
        for number in 2..10 {
            drop(sink.send(batch(&strict, &[keyed(1, number)])).await.unwrap());
        }
        // Told as an error, or, once a request holds one record, as the refusal of this very one.
        let fate = timeout(PATIENCE, refused).await.expect("decided without a reset");
        assert!(fate.map_or(true, |durable| durable.refused.len() == 1));
        sink.reset().await.unwrap();
    }
    assert_eq!(topic::numbers_of(&topic::read(&rig.options.bootstrap_servers, &strict).await, 1), [1]);
}

#[tokio::test]
async fn after_a_refusal_was_overcome_requests_are_large_again() {
    let (_, mut sink, strict) = strict().await;
    let texts: Vec<Text> = (0..500).map(|number| keyed(number % 3, number)).collect();
    assert_eq!(insist(&mut sink, &strict, &texts).await, Durable::default());
    // With small requests each of these passes; with large ones again, the topic refuses them.
    let mut refused = false;
    for _ in 0..8 {
        let receipt = sink.send(batch(&strict, &texts)).await.unwrap();
        refused |= timeout(PATIENCE, receipt).await.unwrap().is_err();
    }
    assert!(refused, "requests stayed small");
    sink.reset().await.unwrap();
    assert_eq!(insist(&mut sink, &strict, &texts).await, Durable::default());
}

#[tokio::test]
async fn small_records_pass_a_topic_that_takes_less_than_a_whole_request() {
    let (rig, mut sink, strict) = strict().await;
    let texts: Vec<Text> = (0..500).map(|number| keyed(number % 3, number)).collect();
    assert_eq!(insist(&mut sink, &strict, &texts).await, Durable::default());
    let delivered = topic::read(&rig.options.bootstrap_servers, &strict).await;
    // What arrived before the refusal may arrive again.
    let mut seen = HashSet::new();
    let firsts: Vec<u64> = topic::numbers_of(&delivered, 0).into_iter().filter(|number| seen.insert(*number)).collect();
    assert!(firsts.is_sorted() && firsts.len() == 167, "{firsts:?}");
}

#[tokio::test]
async fn nothing_overtakes_the_first_record_of_a_producer() {
    // A broker takes any first sequence number from a producer that it does not know yet on a partition: what is on its way
    // behind a refused first request would be taken.
    for _ in 0..3 {
        let (rig, mut sink, strict) = strict().await;
        let refused = sink.send(batch(&strict, &[named(6000)])).await.unwrap();
        for number in 2..10 {
            drop(sink.send(batch(&strict, &[keyed(1, number)])).await.unwrap());
        }
        timeout(PATIENCE, refused).await.expect("decided without a reset").unwrap_err();
        sink.reset().await.unwrap();
        assert_eq!(topic::numbers_of(&topic::read(&rig.options.bootstrap_servers, &strict).await, 1), [0_u64; 0]);
    }
}

#[tokio::test]
async fn what_a_broker_refused_is_refused_before_it_is_sent_again_and_tried_anew_after_that() {
    let (rig, mut sink, strict) = strict().await;
    // Only the broker knows how small it becomes.
    let insisting = || batch_at(77, COMMITTED_AT_MS, &strict, &[keyed(2, 1), named(6000)]);
    let mut told = None;
    for _ in 0..20 {
        let refused = sink.admit(&insisting()).await.unwrap();
        if let [refused] = &refused[..] {
            told = Some(refused.clone());
            break;
        }
        drop(timeout(PATIENCE, sink.send(insisting()).await.unwrap()).await.unwrap());
        sink.reset().await.unwrap();
    }
    let told = told.expect("refused beforehand at last");
    assert_eq!((told.index, told.overtaken), (1, false));
    assert_names_the_event(&told.reason);
    let help = told.help.unwrap();
    assert!(help.contains("kafka-configs.sh") && help.contains(&strict), "{help}");

    topic::alter(&rig.options.bootstrap_servers, &strict, &[("max.message.bytes", "100000")]).await;
    timeout(PATIENCE, async { while !sink.admit(&insisting()).await.unwrap().is_empty() {} }).await.unwrap();
    let receipt = sink.send(insisting()).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

#[tokio::test]
async fn a_record_that_only_compression_makes_small_enough_is_sent_alone_and_the_topic_decides() {
    let mut rig = Shared::new();
    let strict = unique("strict");
    topic::create(&rig.options.bootstrap_servers, &strict, 1, &[("max.message.bytes", "2000")]).await;
    rig.options.compression = Compression::Lz4;
    let (mut sink, _) = rig.open().await;
    // One that shrinks to a few bytes, and one that does not.
    let noise: String = (0_u64..2000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let large = Text { value: Some(noise.into()), ..named(0) };
    let texts = [keyed(2, 1), named(60_000), keyed(2, 2), large, keyed(2, 3)];
    let sent = || batch_at(500, COMMITTED_AT_MS, &strict, &texts);
    assert_eq!(sink.admit(&sent()).await.unwrap(), []);
    let fate = timeout(PATIENCE, sink.send(sent()).await.unwrap()).await.unwrap();
    assert_eq!(fate.unwrap_err().kind(), Kind::Refused);
    sink.reset().await.unwrap();
    // Its neighbours arrived, nothing behind it did, and it alone is refused from now on.
    let delivered = topic::read(&rig.options.bootstrap_servers, &strict).await;
    assert_eq!(delivered.len(), 3);
    assert_eq!(topic::numbers_of(&delivered, 2), [1, 2]);
    let indexes: Vec<usize> = sink.admit(&sent()).await.unwrap().iter().map(|refused| refused.index).collect();
    assert_eq!(indexes, [3]);
}
