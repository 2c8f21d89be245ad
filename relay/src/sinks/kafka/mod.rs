//! Kafka: an idempotent producer whose acknowledgements come from every in-sync replica, and the topic that remembers
//! how far delivery came.
//!
//! Guarantees: what a receipt calls durable is durable on all in-sync replicas; messages of one key arrive in the order
//! in which they were sent, whatever is repeated; nothing is skipped, for a message has no time limit. While no broker
//! can be reached, sending waits.
//!
//! What a topic will never take is refused before it enters the producer (`admission`), and topics that are missing are
//! created there (`topics`, `creation`). What a broker refuses all the same stops the producer, so that nothing overtakes it;
//! it is remembered (`refusals`) and refused before it enters the producer when it is sent again.
//!
//! With `transactions` events and the note of how far they reach are seen together, once, or not at all.

mod admission;
mod batches;
pub mod check;
mod client;
mod creation;
mod deliveries;
mod held;
mod inspector;
mod murmur2;
mod options;
mod producer;
mod progress;
mod questions;
mod refusal;
mod refusals;
mod sending;
mod topic;
mod topics;
mod transactions;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::kafka::reachability::Reachability;
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error, Kind, Messages, Progress, Receipt, Refused, Sink};
use crate::sinks::kafka::admission::Rules;
use crate::sinks::kafka::batches::BatchLimit;
use crate::sinks::kafka::client::ProducerEvents;
use crate::sinks::kafka::deliveries::Deliveries;
use crate::sinks::kafka::producer::{NotTaken, Producer};
use crate::sinks::kafka::progress::{PARTITION, Reader};
use crate::sinks::kafka::topics::Topics;
use crate::sinks::kafka::transactions::Transactions;
use crate::sinks::kafka::wire::Wire;
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use crate::kafka::{KafkaLogin, KafkaSecurity, KafkaTls, WorkedOnce};
pub use creation::{CreatedTopics, TopicCreation};
pub use held::{Observer, compacted, held, walk};
pub use options::{Compression, KafkaOptions, Untimely};
pub use transactions::TransactionOptions;

/// How long to wait when librdkafka's own queue is full, which our bound makes rare: a delivery frees it only after the
/// callback that tells of it, so that there is nothing to be woken by.
const FULL_AGAIN: Duration = Duration::from_millis(2);

/// How often a wait for deliveries looks whether one failed.
const TROUBLE_LOOK: Duration = Duration::from_millis(100);

/// How long the report of a record for which the producer stopped may take; it is on its way already.
const REPORT_MAX: Duration = Duration::from_secs(1);

/// Memory that librdkafka spends on a message besides its bytes: the message, its list of headers, the allocator's share.
const MESSAGE_MEMORY: usize = 320;

/// Memory that librdkafka spends on a header besides its bytes.
const HEADER_MEMORY: usize = 80;

/// Messages after which a refusal counts as overcome. One record at a time is slow: not for longer than it helps.
const OVERCOME_AFTER: u64 = 1000;

/// The sink that publishes to Kafka.
pub struct Kafka {
    options: KafkaOptions,
    producer: Arc<Producer>,
    deliveries: Arc<Deliveries>,
    reachability: Arc<Reachability>,
    batches: Arc<BatchLimit>,
    topics: Topics,
    rules: Rules,
    metrics: Arc<Metrics>,
    started: Instant,
    /// Batches begun so far: the next one's number.
    sequence: Arc<AtomicU64>,
    /// Those of exactly-once delivery.
    transactions: Option<Arc<Transactions>>,
    /// The note of the batch that is sent next, with transactions.
    cover: Option<Progress>,
    /// Messages accepted since the last reset.
    accepted: u64,
}

impl Kafka {
    /// Connects, makes sure that the progress topic exists, and reads the newest progress record of `progress_key`.
    ///
    /// Everything that can go on at the same time does. Fails with [`Kind::Unavailable`] if no broker answers within
    /// `connect_timeout`, and with [`Kind::Setup`] if a property or a permission is wrong.
    pub async fn open(
        mut options: KafkaOptions,
        progress_key: Option<&str>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Option<Progress>), Error> {
        options.secured = options.security.properties()?;
        let secure = !options.secured.is_empty();
        let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, Arc::clone(&metrics)));
        let deliveries = Deliveries::new(options.queue_bytes_max, Arc::clone(&metrics));
        let deliveries = Arc::new(if options.transactions.is_some() { deliveries.atomic() } else { deliveries });
        let batches = Arc::new(BatchLimit::new());
        let producer = Arc::new(start_producer(&options, &deliveries, &reachability, &batches)?);
        let topics = Topics::new(&options, &reachability, Arc::clone(&metrics));
        let (rules, started) = (Rules::new(&options), Instant::now());
        let mut sink = Self {
            options,
            producer,
            deliveries,
            reachability,
            batches,
            topics,
            rules,
            metrics,
            started,
            sequence: Arc::default(),
            transactions: None,
            cover: None,
            accepted: 0,
        };
        let progress = match (progress_key, sink.options.transactions.clone()) {
            (Some(key), None) => sink.read_progress(key).await?,
            (key, Some(transactions)) => sink.take_over(key, &transactions).await?,
            (None, None) => None,
        };
        sink.await_broker().await?;
        sink.options.security.worked();
        Ok((sink, progress))
    }

    /// Refuses options that no client can be made of, before anything else is waited for. Asks nobody, and blocks for a moment.
    ///
    /// # Errors
    /// [`Kind::Setup`] with the property or file that is wrong.
    pub fn check_options(options: &KafkaOptions) -> Result<(), Error> {
        let mut options = options.clone();
        options.secured = options.security.properties()?;
        if options.security.token().is_some() {
            return Ok(());
        }
        let made: Result<rdkafka::producer::BaseProducer, _> = options.producer(BatchLimit::new().bytes()).create();
        made.map(drop)
            .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka producer does not start").because(error))
    }

    /// Over how many partitions the keys of a topic are spread at present, if it is in use.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<usize> {
        self.topics.find(topic).map(|id| self.topics.topic(id).partition_count())
    }

    /// The newest progress record of `key`; creates the topic if it is missing.
    async fn read_progress(&self, key: &str) -> Result<Option<Progress>, Error> {
        let reader = self.reader().await?;
        let key = key.as_bytes().to_vec();
        let (native, progress_topic) = (self.producer.handle(), self.options.progress_topic.clone());
        let patience = self.options.connect_timeout;
        let newest = blocking(move || {
            // Of a topic in which a transaction is open, the reader sees only what is before it.
            if let Some(end) = producer::end_of(&native, &progress_topic, patience) {
                reader.await_end(end)?;
            }
            reader.newest(&key)
        });
        // The first batch then finds its producer connected and numbered.
        let (producer, topic) = (self.producer.handle(), self.options.progress_topic.clone());
        let timeout = self.options.connect_timeout;
        let warm = blocking(move || {
            producer::warm_up(&producer, &topic, timeout);
            Ok(())
        });
        let (newest, warm) = tokio::join!(newest, warm);
        warm.and(newest)
    }

    /// A reader of the progress topic, which is created if it is missing.
    async fn reader(&self) -> Result<Reader, Error> {
        let (options, reachability) = (self.options.clone(), Arc::clone(&self.reachability));
        let (reader, exists) = blocking(move || {
            let reader = Reader::start(options, reachability)?;
            let exists = reader.topic_exists()?;
            Ok((reader, exists))
        })
        .await?;
        if exists {
            return Ok(reader);
        }
        progress::create_topic(&self.options, &self.reachability).await?;
        blocking(move || reader.await_topic().map(|()| reader)).await
    }

    /// Waits until the producer reached a broker, which also makes it ask for its producer id.
    async fn await_broker(&self) -> Result<(), Error> {
        let (producer, timeout) = (self.producer.handle(), self.options.connect_timeout);
        if blocking(move || Ok(producer::reaches_a_broker(&producer, timeout))).await? {
            return Ok(());
        }
        let (brokers, within) = (&self.options.bootstrap_servers, timeout.as_secs_f32());
        if let Some(diagnosis) = self.reachability.diagnosis() {
            let context = format!("no kafka broker at {brokers} can be used");
            return Err(Error::new(End::Sink, self.options.security.trouble(&diagnosis), context)
                .because(self.reachability.last_trouble())
                .with_help(diagnosis.help));
        }
        let context = format!("no kafka broker answers at {brokers} within {within} s");
        Err(Error::new(End::Sink, Kind::Unavailable, context).because(self.reachability.last_trouble()))
    }

    /// Goes back to requests of the usual size if a refusal was overcome.
    async fn restore(&mut self) -> Result<(), Error> {
        if self.batches.is_reduced()
            && self.accepted >= OVERCOME_AFTER
            && delivered(&self.producer, &self.deliveries).await
        {
            self.batches.restore();
            self.renew()?;
        }
        Ok(())
    }

    /// Starts a new producer, which no partition knows. Only while nothing is in flight.
    fn renew(&mut self) -> Result<(), Error> {
        self.producer = Arc::new(start_producer(&self.options, &self.deliveries, &self.reachability, &self.batches)?);
        self.topics.renewed();
        self.accepted = 0;
        Ok(())
    }

    /// Asks for smaller requests if one was refused.
    fn narrow(&self) {
        if self.batches.shrink() {
            let bytes = self.batches.bytes();
            warn!(bytes, "a request was refused; the next ones are smaller, to find the record that is meant");
        }
        self.batches.set_alone(false);
    }

    /// Goes on after a failure, with what it taught.
    fn overcome(&mut self) {
        for (topic, refusal) in self.deliveries.refusals.forbidden() {
            self.topics.forbid(&topic, refusal);
        }
        self.deliveries.forget_trouble();
        reach(Failpoint::KafkaRenewed);
    }

    /// The number of the next batch.
    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}

impl Sink for Kafka {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        // While something failed nothing is accepted: the receipt will tell.
        if self.deliveries.is_troubled() {
            return Ok(Vec::new());
        }
        reach(Failpoint::KafkaAdmit);
        self.prepare(messages).await?;
        reach(Failpoint::KafkaAdmitted);
        let mut found = self.judge(messages);
        if self.look_again(messages, &found).await? {
            self.prepare(messages).await?;
            found = self.judge(messages);
        }
        Ok(self.report(messages, found))
    }

    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        if let Some(transactions) = self.transactions.clone() {
            return self.send_within(&transactions, messages).await;
        }
        self.restore().await?;
        if let Some(failed) = self.deliveries.follow() {
            return Ok(failed);
        }
        self.hand_over(messages).await
    }

    fn is_atomic(&self) -> bool {
        self.transactions.is_some()
    }

    fn cover(&mut self, note: Progress) {
        self.cover = Some(note);
    }

    fn newest(&self) -> Option<Progress> {
        self.transactions.as_ref()?.newest()
    }

    fn rest(&mut self) {
        if let Some(transactions) = &self.transactions {
            transactions.rest();
        }
    }

    /// Also behind a batch that failed or was given up: what a progress record names is durable.
    async fn record(&mut self, progress: Progress) -> Result<Receipt, Error> {
        if let Some(transactions) = self.transactions.clone() {
            let mut open = transactions.turn().await;
            transactions.enter(&mut open)?;
            return transactions.record(&mut open, &progress).await;
        }
        let bytes = progress.key.len() + progress.value.len();
        let (mut accepting, receipt) = self.deliveries.begin_note(self.next(), bytes).await;
        let place = (self.options.progress_topic.as_str(), PARTITION);
        while let Err(not_taken) = self.producer.take_for(place, (&progress.key, &progress.value), accepting.ticket()) {
            if !await_room(not_taken, &self.deliveries).await? {
                return Ok(receipt);
            }
        }
        accepting.accepted();
        Ok(receipt)
    }

    async fn due(&mut self) {
        self.reachability.refused().await;
    }

    async fn attend(&mut self) -> Result<(), Error> {
        match self.reachability.diagnosis() {
            // Secrets and certificates are read anew when the sink is.
            Some(diagnosis) if !self.options.secured.is_empty() => {
                let (brokers, trouble) = (&self.options.bootstrap_servers, self.reachability.last_trouble());
                let context = format!("the brokers at {brokers} no longer let the relay in");
                Err(Error::new(End::Sink, self.options.security.trouble(&diagnosis), context)
                    .because(trouble)
                    .with_help(diagnosis.help))
            }
            _ => Ok(()),
        }
    }

    async fn reset(&mut self) -> Result<(), Error> {
        reach(Failpoint::KafkaReset);
        if let Some(transactions) = self.transactions.clone() {
            return self.reset_within(&transactions).await;
        }
        self.producer.purge().await;
        if let Some(error) = self.producer.fatal()
            && error.kind() == Kind::Fenced
        {
            return Err(error);
        }
        self.narrow();
        // With nothing in flight a new one is cheap and certain: this one may have stopped for good, remember that a
        // topic is missing, or have a gap in its sequence numbers.
        self.renew()?;
        self.overcome();
        Ok(())
    }

    async fn close(self, deadline: Duration) -> Result<(), Error> {
        reach(Failpoint::KafkaClose);
        if let Some(transactions) = &self.transactions {
            return transactions.close(Instant::now() + deadline).await;
        }
        if self.producer.drain(Instant::now() + deadline).await {
            return Ok(());
        }
        let context = format!("kafka did not acknowledge everything within {} s", deadline.as_secs_f32());
        Err(Error::new(End::Sink, Kind::Unavailable, context)
            .with_help("What is missing is delivered again after the next start."))
    }
}

fn start_producer(
    options: &KafkaOptions,
    deliveries: &Arc<Deliveries>,
    reachability: &Arc<Reachability>,
    batches: &Arc<BatchLimit>,
) -> Result<Producer, Error> {
    let events = ProducerEvents {
        deliveries: Arc::clone(deliveries),
        reachability: Arc::clone(reachability),
        batches: Arc::clone(batches),
        token: options.security.token(),
        wire: Wire::new(Arc::clone(deliveries.metrics())),
    };
    Producer::start(&options.producer(batches.bytes()), events)
        .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka producer does not start").because(error))
}

/// Waits until everything accepted is delivered; false as soon as something failed.
async fn delivered(producer: &Producer, deliveries: &Deliveries) -> bool {
    while !deliveries.is_troubled() {
        if producer.drain(Instant::now() + TROUBLE_LOOK).await {
            return !deliveries.is_troubled();
        }
    }
    false
}

/// Waits until the producer may take the record; false if a delivery failed instead, which the receipt tells.
async fn await_room(not_taken: NotTaken, deliveries: &Deliveries) -> Result<bool, Error> {
    match not_taken {
        NotTaken::Full => sleep(FULL_AGAIN).await,
        // A producer that has stopped says so a moment before the record for which it stopped is reported. That report
        // is the better one: it says whether the record was refused.
        NotTaken::Never(error) => {
            let deadline = Instant::now() + REPORT_MAX;
            while !deliveries.is_troubled() {
                if Instant::now() >= deadline {
                    return Err(error);
                }
                sleep(FULL_AGAIN).await;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs `work`, which may block, where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::new(End::Sink, Kind::Broken, "the kafka client's thread ended early").because(error)),
    }
}
