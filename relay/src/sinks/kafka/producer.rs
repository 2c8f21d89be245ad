//! librdkafka's producer with a thread of its own that hears deliveries, so that nothing else can delay them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::kafka::patience::Patience;
use crate::pipeline::message::MessageRef;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::client::ProducerEvents;
use crate::sinks::kafka::deliveries::Ticket;
use crate::sinks::kafka::progress::PARTITION;
use crate::sinks::kafka::refusal::{Verdict, judge};

/// How long the thread waits for an event before it looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(100);

/// How often a wait for an empty queue looks at it.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// How often a purge is repeated: a request that fails puts its messages back into the queue.
const PURGE_AGAIN: Duration = Duration::from_millis(100);

/// The header that carries an event's commit time, in milliseconds since 1970, where the topic does not take it as the
/// record's timestamp.
const COMMIT_TIME_HEADER: &str = "postrider-commit-time";

/// A record on its way into the producer.
type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// A producer and its thread. Dropped, it forgets what is not delivered.
pub(super) struct Producer {
    native: Arc<BaseProducer<ProducerEvents>>,
    gone: Arc<AtomicBool>,
}

/// How a message is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispatch {
    pub(super) ticket: Ticket,
    /// None leaves it to librdkafka, which spreads what has no key.
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: i64,
    /// The commit time, if the topic does not take it as timestamp.
    pub(super) instead_of_ms: Option<i64>,
}

/// Why the producer did not take a record.
pub(super) enum NotTaken {
    /// Its queue is full; later it may.
    Full,
    /// It will not.
    Never(Error),
}

impl Producer {
    /// Starts a producer and begins to connect. Fails only on properties that librdkafka does not accept.
    pub(super) fn start(config: &ClientConfig, events: ProducerEvents) -> Result<Self, KafkaError> {
        let native = Arc::new(BaseProducer::from_config_and_context(config, events)?);
        let gone = Arc::new(AtomicBool::new(false));
        let (polled, unwanted) = (Arc::clone(&native), Arc::clone(&gone));
        thread::Builder::new()
            .name("kafka-poll".into())
            .spawn(move || {
                while !unwanted.load(Ordering::Relaxed) {
                    polled.poll(POLL);
                    if polled.context().deliveries.must_purge() {
                        // What waits behind a failure will not be sent, and the pump must hear of it.
                        polled.purge(PurgeConfig::default().queue());
                    }
                }
                // The last handle is usually this one: freeing librdkafka's client may wait for its threads.
            })
            .map_err(|error| KafkaError::ClientCreation(format!("no thread for deliveries: {error}")))?;
        Ok(Self { native, gone })
    }

    /// Another handle on the native client, for a thread that may block.
    pub(super) fn handle(&self) -> Arc<BaseProducer<ProducerEvents>> {
        Arc::clone(&self.native)
    }

    /// Hands a message over. Never blocks.
    pub(super) fn take(&self, message: &MessageRef<'_>, how: Dispatch) -> Result<(), NotTaken> {
        let count = message.header_count() + usize::from(how.instead_of_ms.is_some());
        let headers = (count > 0).then(|| {
            let headers = OwnedHeaders::new_with_capacity(count);
            let headers =
                message.headers().fold(headers, |headers, (key, value)| headers.insert(Header { key, value }));
            match how.instead_of_ms {
                None => headers,
                Some(ms) => headers.insert(Header { key: COMMIT_TIME_HEADER, value: Some(&ms.to_string()) }),
            }
        });
        self.enqueue(BaseRecord {
            topic: message.topic(),
            partition: how.partition,
            payload: message.value(),
            key: message.key(),
            timestamp: Some(how.timestamp_ms),
            headers,
            delivery_opaque: how.ticket.pack(),
        })
    }

    /// Hands over a record without headers for one partition, stamped with the present time. Never blocks.
    pub(super) fn take_for(
        &self,
        (topic, partition): (&str, i32),
        (key, value): (&[u8], &[u8]),
        ticket: Ticket,
    ) -> Result<(), NotTaken> {
        self.enqueue(BaseRecord {
            topic,
            partition: Some(partition),
            payload: Some(value),
            key: Some(key),
            timestamp: None,
            headers: None,
            delivery_opaque: ticket.pack(),
        })
    }

    /// Why it stopped for good, if it did.
    pub(super) fn fatal(&self) -> Option<Error> {
        let (code, reason) = self.native.client().fatal_error()?;
        let kind = match judge(code) {
            Verdict::Failed(Kind::Unavailable) | Verdict::Refused | Verdict::RequestRefused | Verdict::TopicChanged => {
                Kind::Broken
            }
            Verdict::Failed(kind) => kind,
        };
        Some(Error::new(End::Sink, kind, "the kafka producer stopped").because(reason))
    }

    /// Waits until nothing is accepted and undelivered; false if that took longer than `deadline`.
    pub(super) async fn drain(&self, deadline: Instant) -> bool {
        while self.native.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(DRAIN_LOOK).await;
        }
        true
    }

    /// Forgets what has not been sent, and waits for the answers to what has, however long the brokers take: a request
    /// that was given up could still be carried out, behind one sent later.
    pub(super) async fn purge(&self) {
        loop {
            let native = Arc::clone(&self.native);
            // Purging waits for the broker threads; it can only panic on flags that librdkafka does not know.
            drop(tokio::task::spawn_blocking(move || native.purge(PurgeConfig::default().queue())).await);
            if self.drain(Instant::now() + PURGE_AGAIN).await {
                return;
            }
        }
    }

    /// Forgets everything, also what was sent: for a producer whose transaction is over.
    pub(super) async fn purge_all(&self) {
        loop {
            let native = Arc::clone(&self.native);
            drop(tokio::task::spawn_blocking(move || native.purge(PurgeConfig::default().queue().inflight())).await);
            if self.drain(Instant::now() + PURGE_AGAIN).await {
                return;
            }
        }
    }

    fn enqueue(&self, record: Record<'_>) -> Result<(), NotTaken> {
        self.native.send(record).map_err(|(error, record)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => NotTaken::Full,
            _ => NotTaken::Never(self.fatal().unwrap_or_else(|| {
                // Some of its batch was taken already, so this is not the clean refusal of a whole batch.
                let context = format!("the kafka producer does not take records for topic {:?}", record.topic);
                Error::new(End::Sink, Kind::Unavailable, context).because(error)
            })),
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Waits until a broker answered, at most `timeout`. Blocks.
pub(super) fn reaches_a_broker(producer: &BaseProducer<ProducerEvents>, timeout: Duration) -> bool {
    let unanswered = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
    patiently(timeout, |question| producer.client().fetch_cluster_id(question).ok_or(unanswered.clone())).is_ok()
}

/// Connects to the brokers that matter and has them number the producer, which both happens when metadata is asked for.
/// What fails here shows when it is needed. `topic` must exist: asking for one that does not creates it. Blocks.
pub(super) fn warm_up(producer: &BaseProducer<ProducerEvents>, topic: &str, timeout: Duration) {
    if let Err(error) = patiently(timeout, |question| producer.client().fetch_metadata(Some(topic), question)) {
        debug!(%error, topic, "the producer is not warmed up");
    }
}

/// Where the progress topic ends, transactions that are open in it included; none if nobody says. Blocks.
pub(super) fn end_of(producer: &BaseProducer<ProducerEvents>, topic: &str, timeout: Duration) -> Option<i64> {
    let bounds = patiently(timeout, |question| producer.client().fetch_watermarks(topic, PARTITION, question));
    bounds.inspect_err(|error| debug!(%error, topic, "where the topic ends is not known")).ok().map(|(_, end)| end)
}

/// Asks until there is an answer, or a failure other than that there was none, at most for `timeout`.
fn patiently<T>(timeout: Duration, ask: impl FnMut(Duration) -> KafkaResult<T>) -> KafkaResult<T> {
    let unanswered = |error: &KafkaError| error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
    Patience::until(std::time::Instant::now() + timeout).ask(unanswered, ask)
}
