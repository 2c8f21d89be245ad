//! What only the transactional sink promises: a batch and its note are seen together or not at all, and one producer at a time
//! delivers.

use std::time::Duration;

use postrider_relay::pipeline::{Kind, Messages, Progress, Sink};
use postrider_relay::sinks::Kafka;
use postrider_relay::sinks::kafka::Compression;
use postrider_relay::telemetry::Metrics;

use super::batch::{Text, batch, keyed};
use super::kafka::Exactly;
use super::topic::unique;
use super::{PATIENCE, Rig, durable, note, topic};

/// Sends one batch with the note that covers it, and waits until both are committed.
async fn delivered(sink: &mut Kafka, rig: &Exactly, numbers: std::ops::Range<u64>, value: &str) {
    sink.cover(note(value));
    let texts: Vec<_> = numbers.map(|number| keyed(1, number)).collect();
    let receipt = sink.send(batch(rig.topic(), &texts)).await.unwrap();
    sink.rest();
    durable(receipt).await;
}

/// The numbers that readers of the committed see.
async fn seen(rig: &Exactly) -> Vec<u64> {
    topic::numbers_of(&rig.delivered().await.unwrap(), 1)
}

#[tokio::test]
async fn a_batch_and_its_note_are_committed_together() {
    let rig = Exactly::new();
    let (mut sink, _) = rig.open().await;
    assert!(sink.is_atomic());
    delivered(&mut sink, &rig, 0..10, "ten").await;
    assert_eq!(sink.newest(), Some(note("ten")));
    delivered(&mut sink, &rig, 10..20, "twenty").await;
    // A note alone: an idle advance.
    sink.cover(note("on"));
    let receipt = sink.send(Messages::default()).await.unwrap();
    durable(receipt).await;
    assert_eq!(sink.newest(), Some(note("on")));
    sink.close(PATIENCE).await.unwrap();
    assert_eq!(seen(&rig).await, (0..20).collect::<Vec<_>>());
    assert_eq!(rig.open().await.1, Some(note("on")));
}

#[tokio::test]
async fn what_was_not_committed_is_never_seen() {
    let mut rig = Exactly::new();
    rig.0.options.transactions.as_mut().unwrap().interval = Duration::from_secs(30);
    let (mut sink, _) = rig.open().await;
    delivered(&mut sink, &rig, 0..5, "five").await;
    sink.cover(note("ten"));
    let texts: Vec<_> = (5..10).map(|number| keyed(1, number)).collect();
    let receipt = sink.send(batch(rig.topic(), &texts)).await.unwrap();
    sink.reset().await.unwrap();
    receipt.await.unwrap_err();
    assert_eq!(sink.newest(), Some(note("five")));
    delivered(&mut sink, &rig, 5..10, "ten").await;
    // A crash: nobody aborts, but the one that comes next does.
    sink.cover(note("fifteen"));
    let texts: Vec<_> = (10..15).map(|number| keyed(1, number)).collect();
    let receipt = sink.send(batch(rig.topic(), &texts)).await.unwrap();
    drop((sink, receipt));
    assert_eq!(rig.open().await.1, Some(note("ten")));
    assert_eq!(seen(&rig).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_given_up_halfway_is_never_committed() {
    let mut rig = Exactly::new();
    rig.0.options.linger = Duration::from_secs(2);
    // A second batch waits for room, and its caller does not.
    rig.0.options.queue_bytes_max = 1;
    let (mut sink, _) = rig.open().await;
    sink.cover(note("first"));
    let first = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    sink.cover(note("second"));
    let second = sink.send(batch(rig.topic(), &[keyed(1, 2), keyed(1, 3)]));
    assert!(tokio::time::timeout(Duration::from_millis(50), second).await.is_err(), "nothing was given up");
    let outcome = tokio::time::timeout(PATIENCE, first).await.unwrap();
    let committed = outcome.is_ok();
    sink.reset().await.unwrap();
    assert_eq!(sink.newest(), committed.then(|| note("first")));
    assert_eq!(seen(&rig).await, if committed { vec![1] } else { Vec::new() });
}

#[tokio::test]
async fn an_older_producer_of_the_id_is_refused_and_nothing_of_it_is_seen() {
    let rig = Exactly::new();
    let (mut zombie, _) = rig.open().await;
    delivered(&mut zombie, &rig, 0..5, "five").await;
    // It is in the middle of a transaction when another one takes over.
    zombie.cover(note("zombie"));
    let begun = zombie.send(batch(rig.topic(), &[keyed(1, 100)])).await.unwrap();
    let (mut sink, found) = rig.open().await;
    let before = found.unwrap();
    drop(begun);
    delivered(&mut sink, &rig, 5..10, "ten").await;
    zombie.cover(note("zombie"));
    let outcome = match zombie.send(batch(rig.topic(), &[keyed(1, 200)])).await {
        Ok(receipt) => {
            zombie.rest();
            tokio::time::timeout(PATIENCE, receipt).await.unwrap().map(drop)
        }
        Err(error) => Err(error),
    };
    outcome.unwrap_err();
    let error = zombie.reset().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{}", error.chain());
    let says = error.to_string();
    assert!(says.contains("another relay") && says.contains(&std::process::id().to_string()), "{says}");
    delivered(&mut sink, &rig, 10..15, "fifteen").await;
    let mut expected: Vec<u64> = (0..15).collect();
    if before == note("zombie") {
        // Its first transaction was over before it was taken over.
        expected.insert(5, 100);
    }
    assert_eq!(seen(&rig).await, expected);
    sink.close(PATIENCE).await.unwrap();
    assert_eq!(rig.open().await.1, Some(note("fifteen")));
}

#[tokio::test]
async fn a_transaction_that_the_brokers_gave_up_is_no_reason_to_stop() {
    let mut rig = Exactly::new();
    let transactions = rig.0.options.transactions.as_mut().unwrap();
    (transactions.interval, transactions.timeout) = (Duration::from_secs(600), Duration::from_secs(1));
    let (mut sink, _) = rig.open().await;
    sink.cover(note("late"));
    let receipt = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    topic::begun(&rig.0.options.bootstrap_servers, rig.topic()).await;
    // Brokers look for such transactions every ten seconds.
    topic::settled(&rig.0.options.bootstrap_servers, rig.topic()).await;
    sink.rest();
    tokio::time::timeout(PATIENCE, receipt).await.unwrap().unwrap_err();
    let error = sink.reset().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Broken, "{}", error.chain());
    drop(sink);
    let (mut sink, progress) = rig.open().await;
    assert_eq!(progress, None::<Progress>);
    delivered(&mut sink, &rig, 1..2, "again").await;
    assert_eq!(seen(&rig).await, [1]);
}

#[tokio::test]
async fn what_the_broker_refuses_within_a_transaction_is_found_and_refused_before_it_is_sent_again() {
    let mut rig = Exactly::new();
    let (strict, bootstrap) = (unique("strict"), rig.0.options.bootstrap_servers.clone());
    topic::create(&bootstrap, &strict, 1, &[]).await;
    // Without compression the broker sees the size that was sent.
    rig.0.options.compression = Compression::None;
    rig.0.options.topic_refresh_interval = Duration::from_secs(3600);
    let (mut sink, _) = rig.open().await;
    let large = Text { key: Some("key-2".into()), value: Some("x".repeat(6000).into()), headers: Vec::new() };
    let texts = [keyed(1, 1), large, keyed(1, 2)];
    assert_eq!(sink.admit(&batch(&strict, &texts)).await.unwrap(), []);
    // It takes less behind the sink's back.
    topic::alter(&bootstrap, &strict, &[("max.message.bytes", "2000")]).await;
    let mut attempts = 0;
    let refused = loop {
        let refused = sink.admit(&batch(&strict, &texts)).await.unwrap();
        if !refused.is_empty() {
            break refused;
        }
        attempts += 1;
        assert!(attempts < 20, "never refused exactly");
        sink.cover(note("all"));
        let receipt = sink.send(batch(&strict, &texts)).await.unwrap();
        sink.rest();
        let error = tokio::time::timeout(PATIENCE, receipt).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{}", error.chain());
        sink.reset().await.unwrap();
        assert_eq!(sink.newest(), None);
    };
    assert_eq!((refused.len(), refused[0].index, refused[0].overtaken), (1, 1, false));
    // The rest goes on, as it does when that one is parked.
    sink.cover(note("but one"));
    let receipt = sink.send(batch(&strict, &[keyed(1, 1), keyed(1, 2)])).await.unwrap();
    sink.rest();
    durable(receipt).await;
    topic::settled(&bootstrap, &strict).await;
    assert_eq!(topic::numbers_of(&topic::read(&bootstrap, &strict).await, 1), [1, 2]);
}

#[tokio::test]
async fn whoever_shares_the_progress_topic_reads_it_to_its_end() {
    let mut rig = Exactly::new();
    rig.0.options.transactions.as_mut().unwrap().interval = Duration::from_secs(30);
    let mut plain = rig.0.options.clone();
    plain.transactions = None;
    let (mut sink, _) = rig.open().await;
    let (mut neighbour, _) = Kafka::open(plain.clone(), Some("neighbour"), Metrics::new()).await.unwrap();
    // The first batch of a transaction takes its note with it, so that one is open in the topic.
    sink.cover(note("open"));
    let receipt = sink.send(batch(rig.topic(), &[keyed(1, 1)])).await.unwrap();
    let theirs = Progress { key: "neighbour".into(), value: "theirs".into() };
    durable(neighbour.record(theirs.clone()).await.unwrap()).await;
    let opening = tokio::spawn(Kafka::open(plain, Some("neighbour"), Metrics::new()));
    sink.rest();
    durable(receipt).await;
    assert_eq!(opening.await.unwrap().unwrap().1, Some(theirs));
}
