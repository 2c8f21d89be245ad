//! The independent consumer: reads a run's topics from their beginning, on its own thread and with its own client, and lets the judge see every record.
//!
//! It assigns itself every partition instead of joining a group, so nothing it reads is skipped because of a stored offset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use uuid::Uuid;

use crate::error::{Doing, Error, Result};
use crate::judge::{Judge, Received};
use crate::topics::{Topics, on_to_the_end};

/// How long one poll waits for a record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How long the last records of the topics may take to be read once the relay has stopped.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// A consumer at work.
#[derive(Debug)]
pub struct Watcher {
    seen: Arc<Seen>,
    thread: JoinHandle<Result<Judge>>,
}

/// What the watcher has seen so far; updated as it reads.
#[derive(Debug, Default)]
pub struct Seen {
    distinct: AtomicU64,
    records: AtomicU64,
    last_received_us: AtomicI64,
    last_latency_us: AtomicI64,
    finish: AtomicBool,
}

impl Seen {
    /// Different events read so far.
    pub fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    /// Records read so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// When the last new event was received, in microseconds since 1970; 0 before the first.
    pub fn last_received_us(&self) -> i64 {
        self.last_received_us.load(Ordering::Relaxed)
    }

    /// Commit to receipt of the last new event.
    pub fn last_latency(&self) -> Duration {
        Duration::from_micros(self.last_latency_us.load(Ordering::Relaxed).unsigned_abs())
    }
}

impl Watcher {
    /// Starts to read the topics of a run, which must exist.
    pub fn start(bootstrap: &str, topics: &Topics) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // The client asks for a group name even where no group is joined.
            .set("group.id", format!("{}watcher", topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.min.bytes", "1")
            .create()
            .doing("starting the independent consumer")?;
        let mut from_the_beginning = TopicPartitionList::new();
        for (topic, partition) in topics.partitions() {
            from_the_beginning
                .add_partition_offset(&topic, partition, Offset::Beginning)
                .doing("assigning partitions")?;
        }
        consumer.assign(&from_the_beginning).doing("assigning partitions")?;
        let seen = Arc::new(Seen::default());
        let reading = Reading { consumer, topics: topics.clone(), seen: Arc::clone(&seen), judge: Judge::default() };
        let thread = std::thread::Builder::new()
            .name("watcher".into())
            .spawn(move || reading.run())
            .doing("starting the watcher's thread")?;
        Ok(Self { seen, thread })
    }

    /// What it has seen so far.
    pub fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// Reads up to the present end of every partition, then hands over the judge. To be called when nothing produces any more.
    pub fn finish(self) -> Result<Judge> {
        self.seen.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Relay("the watcher's thread panicked; its message is above".into()))?
    }
}

/// The thread's own state.
struct Reading {
    consumer: BaseConsumer,
    topics: Topics,
    seen: Arc<Seen>,
    judge: Judge,
}

impl Reading {
    fn run(mut self) -> Result<Judge> {
        while !self.seen.finish.load(Ordering::Relaxed) {
            self.read_one()?;
        }
        let mut unread = on_to_the_end(&self.consumer)?;
        let deadline = Instant::now() + CATCH_UP_MAX;
        while unread > 0 && Instant::now() < deadline {
            unread -= usize::from(self.read_one()?);
        }
        match unread {
            0 => Ok(self.judge),
            _ => Err(Error::Relay(format!(
                "the independent consumer could not read the last {unread} partitions to their end within {CATCH_UP_MAX:?}"
            ))),
        }
    }

    /// Waits up to [`POLL`] for a record and shows it to the judge; true if it came to the end of a partition instead.
    fn read_one(&mut self) -> Result<bool> {
        let Some(polled) = self.consumer.poll(POLL) else { return Ok(false) };
        let message = match polled {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(_)) => return Ok(true),
            // The client reconnects and retries by itself; what it then reads is complete, because every offset is followed.
            Err(error) if error.rdkafka_error_code().is_some_and(is_passing) => return Ok(false),
            Err(error) => return Err(error).doing("reading the run's topics"),
        };
        let received_us = now_us();
        let record = received(&message, &self.topics, received_us);
        self.seen.records.fetch_add(1, Ordering::Relaxed);
        if self.judge.observe(&record) {
            self.seen.distinct.fetch_add(1, Ordering::Relaxed);
            self.seen.last_received_us.store(received_us, Ordering::Relaxed);
            self.seen.last_latency_us.store((received_us - record.committed_ms * 1000).max(0), Ordering::Relaxed);
        }
        Ok(false)
    }
}

/// Whether a client error only says that a broker is away for the moment.
fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, OperationTimedOut, UnknownTopicOrPartition,
    };
    // A busy broker hears late of a topic that was just created.
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | UnknownTopicOrPartition)
}

/// The parts of a Kafka message that the judge looks at. A missing part stays empty: the judge says so.
fn received<'a>(message: &'a BorrowedMessage<'_>, topics: &Topics, received_us: i64) -> Received<'a> {
    let topic = message.topic();
    let value = message.payload().unwrap_or_default();
    Received {
        topic: topic.strip_prefix(topics.prefix()).unwrap_or(topic),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default(),
        value,
        id: header(message, "id").and_then(|id| Uuid::parse_str(id).ok()),
        event_type: header(message, "event_type").unwrap_or_default(),
        correlation_id: header(message, "correlation-id"),
        position: header(message, "postrider-position").and_then(position),
        n: Counter::of(value),
        committed_ms: message.timestamp().to_millis().unwrap_or_default(),
        received_us,
    }
}

/// The counter in every payload of Nova: the writers put it first, the trigger puts it into the row.
#[derive(Debug, Deserialize)]
pub struct Counter {
    n: Option<u64>,
    row: Option<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    n: u64,
}

impl Counter {
    /// The counter of a payload, if it has one.
    pub fn of(payload: &[u8]) -> Option<u64> {
        let counter: Self = serde_json::from_slice(payload).ok()?;
        counter.n.or(counter.row.map(|row| row.n))
    }
}

/// The text of a header, if there is exactly that header and it is text.
fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}

/// A position is exactly 32 hexadecimal digits, so that text compares as the number does.
fn position(text: &str) -> Option<u128> {
    let digits_only = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits_only.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The host's clock, in microseconds since 1970.
pub fn now_us() -> i64 {
    // A clock before 1970 would make every latency nonsense, and 0 shows that.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use crate::watcher::{Counter, position};

    #[test]
    fn the_counter_is_found_in_what_writers_and_triggers_write() {
        assert_eq!(Counter::of(br#"{"id": "x", "n": 7}"#), Some(7));
        assert_eq!(Counter::of(br#"{"id": "x", "row": {"n": 8, "body": ""}}"#), Some(8));
        assert_eq!(Counter::of(b"{}"), None);
        assert_eq!(Counter::of(b"no json"), None);
    }

    #[test]
    fn a_position_is_exactly_32_hexadecimal_digits() {
        assert_eq!(position("0000000000000000000000000000000f"), Some(15));
        assert_eq!(position("f"), None);
        assert_eq!(position("+000000000000000000000000000000f"), None);
        assert_eq!(position("0000000000000000000000000000000g"), None);
    }
}
