//! What every sink promises, as tests: a new sink adds one `promises!` line.
//!
//! What only one sink can show stands in a file of its own.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod admission;
mod batch;
#[cfg(feature = "downstream")]
mod clickhouse;
mod creation;
mod exactly;
mod kafka;
mod null;
mod outage;
mod partitions;
mod progress;
#[cfg(feature = "downstream")]
mod redis;
mod refusal;
pub(crate) mod secure;
pub(crate) mod topic;

use std::time::Duration;

use bytes::Bytes;
use postrider_relay::pipeline::{Durable, Messages, Progress, Receipt, Sink};

use self::batch::{Text, batch, keyed};
use self::topic::Delivered;

/// Longer than anything here may take: a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One sink under test, with a place of its own to write to.
trait Rig {
    type Sink: Sink;

    /// Opens the sink, with the progress of [`key`].
    async fn open(&self) -> (Self::Sink, Option<Progress>);

    /// The name of its topic.
    fn topic(&self) -> &str;

    /// Everything that was delivered, in order within each partition; `None` if the sink keeps nothing.
    async fn delivered(&self) -> Option<Vec<Delivered>>;

    /// Whether it is the sink that remembers how far delivery came.
    fn keeps_progress(&self) -> bool {
        true
    }
}

macro_rules! promises {
    ($($sink:ident: $rig:expr;)*) => {
        $(mod $sink {
            use super::*;

            #[tokio::test]
            async fn messages_of_a_key_arrive_in_the_order_of_acceptance() {
                super::messages_of_a_key_arrive_in_the_order_of_acceptance(&$rig).await;
            }

            #[tokio::test]
            async fn a_message_arrives_whole() {
                super::a_message_arrives_whole(&$rig).await;
            }

            #[tokio::test]
            async fn a_batch_of_no_messages_is_durable_at_once() {
                super::a_batch_of_no_messages_is_durable_at_once(&$rig).await;
            }

            #[tokio::test]
            async fn opening_again_returns_the_newest_progress_of_the_key() {
                super::opening_again_returns_the_newest_progress_of_the_key(&$rig).await;
            }

            #[tokio::test]
            async fn what_is_sent_after_a_reset_does_not_overtake_what_was_sent_before() {
                super::what_is_sent_after_a_reset_does_not_overtake_what_was_sent_before(&$rig).await;
            }

            #[tokio::test]
            async fn closing_waits_until_everything_is_durable() {
                super::closing_waits_until_everything_is_durable(&$rig).await;
            }
        })*
    };
}

promises! {
    of_kafka: kafka::Shared::new();
    of_kafka_exactly_once: kafka::Exactly::new();
    of_null: null::Nowhere;
}

#[cfg(feature = "downstream")]
promises! {
    of_redis: redis::Shared;
}

#[cfg(feature = "downstream")]
promises! {
    of_clickhouse: clickhouse::Records::default();
}

async fn messages_of_a_key_arrive_in_the_order_of_acceptance(rig: &impl Rig) {
    let (mut sink, _) = rig.open().await;
    let mut receipts = Vec::new();
    for number in 0..50 {
        let texts: Vec<Text> = (0..100).map(|n| keyed(n % 17, number * 100 + n)).collect();
        receipts.push(sink.send(batch(rig.topic(), &texts)).await.unwrap());
    }
    for receipt in receipts {
        assert_eq!(durable(receipt).await, Durable::default());
    }
    let Some(delivered) = rig.delivered().await else { return };
    assert_eq!(delivered.len(), 5000);
    for key in 0..17 {
        let numbers = topic::numbers_of(&delivered, key);
        assert!(numbers.is_sorted() && numbers.len() > 100, "key {key}: {numbers:?}");
    }
}

async fn a_message_arrives_whole(rig: &impl Rig) {
    let (mut sink, _) = rig.open().await;
    let sent = [
        Text {
            key: Some("k".into()),
            value: Some("{\"ä\": 1}".into()),
            headers: vec![("id", Some("1")), ("none", None), ("id", Some(""))],
        },
        Text { key: Some("k".into()), ..Text::default() },
        Text { key: Some("k".into()), value: Some("".into()), headers: vec![("", Some("a name may be empty"))] },
        Text { value: Some("keyless".into()), ..Text::default() },
    ];
    let receipt = sink.send(batch(rig.topic(), &sent)).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    let Some(delivered) = rig.delivered().await else { return };
    let of_key: Vec<&Delivered> = delivered.iter().filter(|message| message.key.is_some()).collect();
    assert_eq!(of_key.len(), 3);
    for (message, text) in of_key.iter().zip(&sent) {
        assert_eq!(message.value.as_deref(), text.value.as_ref().map(|value| value.as_bytes()));
        let headers: Vec<_> = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let expected: Vec<_> = text.headers.iter().map(|(name, value)| (*name, value.map(str::as_bytes))).collect();
        assert_eq!(headers, expected);
        assert_eq!(message.timestamp_ms, Some(batch::COMMITTED_AT_MS));
    }
    let keyless = delivered.iter().find(|message| message.key.is_none()).unwrap();
    assert_eq!(keyless.value.as_deref(), Some(&b"keyless"[..]));
}

async fn a_batch_of_no_messages_is_durable_at_once(rig: &impl Rig) {
    let (mut sink, _) = rig.open().await;
    let receipt = sink.send(Messages::default()).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
}

async fn opening_again_returns_the_newest_progress_of_the_key(rig: &impl Rig) {
    let (mut sink, before) = rig.open().await;
    assert_eq!(before, None);
    let another = Progress { key: Bytes::from_static(b"another"), value: Bytes::from_static(b"theirs") };
    for progress in [note("first"), note("second"), another] {
        let receipt = sink.record(progress).await.unwrap();
        assert_eq!(durable(receipt).await, Durable::default());
    }
    sink.close(PATIENCE).await.unwrap();
    let (_sink, after) = rig.open().await;
    if rig.keeps_progress() && rig.delivered().await.is_some() {
        assert_eq!(after, Some(note("second")));
    }
}

async fn what_is_sent_after_a_reset_does_not_overtake_what_was_sent_before(rig: &impl Rig) {
    let (mut sink, _) = rig.open().await;
    let mut receipts = Vec::new();
    for number in 0..20 {
        let texts: Vec<Text> = (0..500).map(|n| keyed(n % 7, number * 500 + n)).collect();
        receipts.push(sink.send(batch(rig.topic(), &texts)).await.unwrap());
    }
    sink.reset().await.unwrap();
    for receipt in receipts {
        // Delivered or forgotten, but decided.
        drop(tokio::time::timeout(Duration::from_secs(1), receipt).await.expect("nothing is in flight after a reset"));
    }
    let texts: Vec<Text> = (0..500).map(|n| keyed(n % 7, 1_000_000 + n)).collect();
    let receipt = sink.send(batch(rig.topic(), &texts)).await.unwrap();
    assert_eq!(durable(receipt).await, Durable::default());
    let Some(delivered) = rig.delivered().await else { return };
    for key in 0..7 {
        let numbers = topic::numbers_of(&delivered, key);
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
        assert!(numbers.iter().filter(|number| **number >= 1_000_000).count() > 70);
    }
}

async fn closing_waits_until_everything_is_durable(rig: &impl Rig) {
    let (mut sink, _) = rig.open().await;
    let mut receipts = Vec::new();
    for number in 0..10 {
        let texts: Vec<Text> = (0..200).map(|n| keyed(n, number * 200 + n)).collect();
        receipts.push(sink.send(batch(rig.topic(), &texts)).await.unwrap());
    }
    sink.close(PATIENCE).await.unwrap();
    for receipt in receipts {
        let fate =
            tokio::time::timeout(Duration::from_secs(1), receipt).await.expect("decided before closing returned");
        assert_eq!(fate.unwrap(), Durable::default());
    }
    if let Some(delivered) = rig.delivered().await {
        assert_eq!(delivered.len(), 2000);
    }
}

/// A progress note of the key that rigs open with.
fn note(value: &str) -> Progress {
    Progress { key: Bytes::from_static(kafka::KEY.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Waits for a batch's fate.
async fn durable(receipt: Receipt) -> Durable {
    tokio::time::timeout(PATIENCE, receipt).await.expect("the receipt resolves").expect("the batch is durable")
}
