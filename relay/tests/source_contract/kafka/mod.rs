//! The Kafka source under the contract, on the shared broker with topics and groups of its own.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod cuts;
mod members;
mod trouble;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use postrider_relay::pipeline::{Batch, Error, Progress, Source};
use postrider_relay::sources::kafka::{Cuts, KafkaSource, KafkaSourceOptions, Taken, Topic};
use postrider_relay::telemetry::Metrics;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::timeout;

use crate::sink_contract::topic;
use crate::source_contract::{PATIENCE, Rig};

/// A topic that one group reads.
pub(super) struct Group {
    pub(super) options: KafkaSourceOptions,
    pub(super) topic: String,
    pub(super) metrics: Arc<Metrics>,
}

impl Group {
    /// A topic of one partition, and a group that never read it.
    pub(super) async fn new() -> Self {
        Self::of(1).await
    }

    /// A topic of so many partitions.
    pub(super) async fn of(partitions: i32) -> Self {
        Self::on(&xtask::services::current().unwrap().kafka.bootstrap, partitions).await
    }

    /// The same on this broker.
    pub(super) async fn on(bootstrap: &str, partitions: i32) -> Self {
        let topic = topic::unique("read");
        topic::create(bootstrap, &topic, partitions, &[]).await;
        let mut options = KafkaSourceOptions::new(bootstrap, topic::unique("group"));
        options.topics = vec![Topic { name: Arc::from(&*topic), route: 3, in_parts: None }];
        options.session_timeout = Duration::from_secs(6);
        Self { options, topic, metrics: Metrics::new() }
    }

    /// Its batches come again as they were cut, of so many records each at most.
    pub(super) fn repeatable(mut self, records_max: usize) -> Self {
        self.options.repeatable = true;
        self.options.cuts = Cuts { records_max, age_max: Duration::from_secs(3600), ..self.options.cuts };
        self
    }

    pub(super) async fn try_open(&self) -> Result<KafkaSource, Error> {
        KafkaSource::open(self.options.clone(), Arc::clone(&self.metrics)).await
    }

    pub(super) async fn member(&self) -> KafkaSource {
        self.try_open().await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    pub(super) fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.bootstrap_servers).set("linger.ms", "0");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    /// Writes these numbers to a partition, in order.
    pub(super) fn fill(&self, partition: i32, numbers: Range<u64>) {
        let producer = self.producer(&[("enable.idempotence", "true")]);
        self.send(&producer, partition, numbers);
        producer.flush(PATIENCE).unwrap();
    }

    pub(super) fn send(&self, producer: &BaseProducer, partition: i32, numbers: Range<u64>) {
        for number in numbers {
            let (key, value) = (format!("key-{}", number % 5), number.to_string());
            let record = BaseRecord::to(&self.topic).partition(partition).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }

    /// Writes these numbers in a transaction that is committed, or aborted.
    pub(super) fn transact(&self, numbers: Range<u64>, commits: bool) {
        let producer = self.producer(&[("transactional.id", &topic::unique("writer"))]);
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        self.send(&producer, 0, numbers);
        if commits {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }

    /// What the group has committed of a partition, and the note beside it.
    pub(super) fn committed(&self, partition: i32) -> (Option<i64>, String) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let list = self.observer().committed_offsets(list, PATIENCE).unwrap();
        let part = list.find_partition(&self.topic, partition).unwrap();
        let offset = match part.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (offset, part.metadata().to_owned())
    }

    /// The first offset of a partition, and the one after the last.
    pub(super) fn bounds(&self, partition: i32) -> (i64, i64) {
        self.observer().fetch_watermarks(&self.topic, partition, PATIENCE).unwrap()
    }

    pub(super) fn observer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.options.bootstrap_servers)
            .set("group.id", &self.options.group)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }
}

/// The next batch.
pub(super) async fn next(source: &mut KafkaSource) -> Batch<Taken> {
    let batch = timeout(PATIENCE, source.next()).await.expect("something arrives");
    batch.unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// The error that ends the reading.
pub(super) async fn failure(source: &mut KafkaSource) -> Error {
    timeout(PATIENCE, async {
        loop {
            if let Err(error) = source.next().await {
                return error;
            }
        }
    })
    .await
    .expect("reading fails")
}

/// The first and last offset, and the numbers, of a batch.
pub(super) fn shape(batch: &Batch<Taken>) -> (i64, i64, Vec<u64>) {
    (batch.end.first, batch.end.last, super::of(&batch.messages))
}

impl Rig for Group {
    type Source = KafkaSource;

    async fn open(&self, _: Option<Progress>) -> KafkaSource {
        self.member().await
    }

    async fn write(&self, numbers: Range<u64>) {
        self.fill(0, numbers);
    }

    async fn write_together(&self, numbers: Range<u64>) {
        self.transact(numbers, true);
    }

    async fn write_nothing(&self) {
        self.transact(0..10, false);
    }

    async fn forgotten(&self) -> u64 {
        self.committed(0).0.unwrap_or_default() as u64
    }

    async fn newest(&self) -> u64 {
        self.bounds(0).1 as u64
    }
}

#[tokio::test]
async fn everything_committed_comes_once_and_in_order() {
    super::everything_committed_comes_once_and_in_order(&Group::new().await).await;
}

#[tokio::test]
async fn a_dropped_next_loses_nothing() {
    super::a_dropped_next_loses_nothing(&Group::new().await).await;
}

#[tokio::test]
async fn nothing_is_forgotten_before_it_is_acknowledged_and_everything_after() {
    super::nothing_is_forgotten_before_it_is_acknowledged_and_everything_after(&Group::new().await).await;
}

#[tokio::test]
async fn rewinding_repeats_what_was_not_acknowledged_and_nothing_else() {
    super::rewinding_repeats_what_was_not_acknowledged_and_nothing_else(&Group::new().await).await;
}

#[tokio::test]
async fn closing_reports_the_last_acknowledgement_and_lets_go() {
    super::closing_reports_the_last_acknowledgement_and_lets_go(&Group::new().await).await;
}

#[tokio::test]
async fn what_an_aborted_transaction_wrote_is_not_read() {
    let group = Group::new().await;
    group.transact(0..5, false);
    group.transact(5..8, true);
    group.transact(8..20, false);
    group.fill(0, 20..22);
    let mut source = group.member().await;
    let mut numbers = Vec::new();
    while numbers.len() < 5 {
        let batch = next(&mut source).await;
        numbers.extend(super::of(&batch.messages));
        source.acknowledge(batch.end).await.unwrap();
    }
    assert_eq!(numbers, [5, 6, 7, 20, 21]);
}
