//! A broker of one's own that stops, freezes and comes back: nothing is lost, order is kept, memory is bounded.

use std::time::Duration;

use postrider_relay::pipeline::{Durable, Kind, Messages, Receipt, Sink};
use tokio::time::timeout;
use xtask::services::PrivateKafka;

use super::batch::{Text, batch, keyed};
use super::kafka::Shared;
use super::{PATIENCE, Rig, durable, topic};

/// Long enough for a batch to arrive many times over, if it could.
const AMPLE: Duration = Duration::from_millis(500);

fn texts(from: u64, count: u64) -> Vec<Text> {
    (from..from + count).map(|number| keyed(number % 5, number)).collect()
}

async fn private() -> PrivateKafka {
    tokio::task::spawn_blocking(|| PrivateKafka::start(&[]).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_and_comes_back_loses_nothing_and_keeps_the_order() {
    let mut broker = private().await;
    let mut rig = Shared::on(broker.bootstrap());
    rig.options.queue_bytes_max = 256 * 1024;
    let (mut sink, _) = rig.open().await;
    let before = sink.send(batch(rig.topic(), &texts(0, 100))).await.unwrap();
    assert_eq!(durable(before).await, Durable::default());

    broker.stop();
    // The bound is reached while nobody takes anything: accepting waits.
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut next = 100;
    while let Ok(sent) = timeout(AMPLE, sink.send(batch(rig.topic(), &texts(next, 100)))).await {
        receipts.push(sent.unwrap());
        next += 100;
        assert!(next < 100_000, "the queue is not bounded");
    }
    assert!(receipts.len() > 1, "some were accepted before the bound was reached");
    assert!(timeout(AMPLE, &mut receipts[0]).await.is_err(), "durable without a broker");

    broker.start_again().unwrap();
    // The call that waited was dropped before it accepted anything, so that the same numbers are sent again.
    for _ in 0..20 {
        receipts.push(timeout(PATIENCE, sink.send(batch(rig.topic(), &texts(next, 100)))).await.unwrap().unwrap());
        next += 100;
    }
    for receipt in receipts {
        assert_eq!(durable(receipt).await, Durable::default());
    }
    let delivered = rig.delivered().await.unwrap();
    for key in 0..5 {
        let expected: Vec<u64> = (0..next).filter(|number| number % 5 == key).collect();
        assert_eq!(topic::numbers_of(&delivered, key), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_leaves_receipts_open_until_it_answers() {
    let broker = private().await;
    let rig = Shared::on(broker.bootstrap());
    let (mut sink, _) = rig.open().await;
    let warm = sink.send(batch(rig.topic(), &texts(0, 10))).await.unwrap();
    assert_eq!(durable(warm).await, Durable::default());

    broker.pause();
    // One message is one request: a second might still wait behind five, and a reset would forget it.
    let mut receipt = sink.send(batch(rig.topic(), &texts(10, 1))).await.unwrap();
    assert!(timeout(AMPLE, &mut receipt).await.is_err(), "durable although the broker cannot have written it");
    assert!(timeout(AMPLE, sink.reset()).await.is_err(), "what is on its way may still arrive");
    broker.resume();
    sink.reset().await.unwrap();
    let fate = timeout(AMPLE, receipt).await.expect("decided by the reset");
    assert_eq!(fate.unwrap(), Durable::default(), "it was on its way, and the broker took it");
    assert_eq!(rig.delivered().await.unwrap().len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_without_a_broker_gives_up_at_its_deadline() {
    let mut broker = private().await;
    let rig = Shared::on(broker.bootstrap());
    let (mut sink, _) = rig.open().await;
    let warm = sink.send(batch(rig.topic(), &texts(0, 10))).await.unwrap();
    assert_eq!(durable(warm).await, Durable::default());
    broker.kill();
    let receipt = sink.send(batch(rig.topic(), &texts(0, 10))).await.unwrap();
    let error = timeout(PATIENCE, sink.close(AMPLE)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let fate = timeout(PATIENCE, receipt).await.unwrap();
    assert!(fate.is_err(), "nobody took it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_while_the_broker_is_away_forgets_what_waits() {
    let mut broker = private().await;
    let rig = Shared::on(broker.bootstrap());
    let (mut sink, _) = rig.open().await;
    let warm = sink.send(batch(rig.topic(), &texts(0, 10))).await.unwrap();
    assert_eq!(durable(warm).await, Durable::default());
    broker.kill();
    let forgotten = sink.send(batch(rig.topic(), &texts(1000, 10))).await.unwrap();
    timeout(PATIENCE, sink.reset()).await.unwrap().unwrap();
    assert!(timeout(AMPLE, forgotten).await.expect("decided by the reset").is_err());

    // The first record of a producer goes alone, so that sending waits for the broker.
    let back = async { broker.start_again().unwrap() };
    let (again, ()) = tokio::join!(sink.send(batch(rig.topic(), &texts(10, 10))), back);
    assert_eq!(durable(again.unwrap()).await, Durable::default());
    let delivered = rig.delivered().await.unwrap();
    assert_eq!(topic::numbers_of(&delivered, 0), [0, 5, 10, 15]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_created_refuses_its_records_by_name() {
    let broker =
        tokio::task::spawn_blocking(|| PrivateKafka::start(&[("auto.create.topics.enable", "false")]).unwrap())
            .await
            .unwrap();
    let mut rig = Shared::on(broker.bootstrap());
    rig.options.topics.create = false;
    let (mut sink, _) = rig.open().await;
    let refused = sink.admit(&batch(rig.topic(), &texts(0, 3))).await.unwrap();
    assert_eq!(refused.len(), 3);
    assert!(refused[0].reason.contains(rig.topic()) && refused[0].reason.contains("topics.create"), "{refused:?}");
    // Whoever does not ask is told as well.
    let error = sink.send(batch(rig.topic(), &texts(0, 3))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{}", error.chain());

    topic::create(&broker.bootstrap(), rig.topic(), 1, &[]).await;
    let again = batch(rig.topic(), &texts(0, 3));
    until_admitted(&mut sink, &again).await;
    let receipt = sink.send(again).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    assert_eq!(rig.delivered().await.unwrap().len(), 3);
}

/// Waits until nothing of the batch is refused any more.
async fn until_admitted(sink: &mut impl Sink, messages: &Messages) {
    timeout(PATIENCE, async { while !sink.admit(messages).await.unwrap().is_empty() {} }).await.unwrap();
}
