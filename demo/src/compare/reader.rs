//! Reads both sides' topics as they fill, in a thread of its own, so that pairs are compared and forgotten while the workload runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::compare::json::Json;
use crate::compare::ledger::{Findings, Ledger, Side};
use crate::compare::record::Record;
use crate::error::{Doing, Error, Result};

/// How long one request for records or offsets may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long a poll waits for a record before it looks whether to end.
const POLL: Duration = Duration::from_millis(50);

/// What was read so far of each side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Rows of snapshots.
    pub(super) rows: [u64; 2],
    /// Everything.
    pub(super) records: [u64; 2],
    /// The number of the last marker.
    pub(super) marker: [u64; 2],
}

/// A reader at work.
#[derive(Debug)]
pub(super) struct Reader {
    thread: JoinHandle<Result<Findings>>,
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
}

/// What to read.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) bootstrap: String,
    /// Of each side's topics: Debezium's, and the other's.
    pub(super) prefixes: [String; 2],
    /// The topics' names after the prefix and a point.
    pub(super) topics: Vec<String>,
    /// The topic whose records' key is a marker's number.
    pub(super) marker: String,
}

impl Reader {
    /// Starts to read.
    pub(super) fn start(sources: Sources, ledger: Ledger) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &sources.bootstrap)
            .set("group.id", format!("{}-reader", sources.prefixes[0]))
            .set("enable.auto.commit", "false")
            .create()
            .doing("connecting to Kafka")?;
        let mut list = TopicPartitionList::new();
        for prefix in &sources.prefixes {
            for topic in &sources.topics {
                list.add_partition_offset(&format!("{prefix}.{topic}"), 0, Offset::Beginning)
                    .doing("naming a topic")?;
            }
        }
        consumer.assign(&list).doing("reading the topics")?;
        let (seen, ended) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let work = Work { consumer, list, sources, ledger, seen: Arc::clone(&seen), ended: Arc::clone(&ended) };
        Ok(Self { thread: std::thread::spawn(move || work.run()), seen, ended })
    }

    /// What was read so far.
    pub(super) fn seen(&self) -> Seen {
        *lock(&self.seen)
    }

    /// Whether it has failed; [`Self::end`] then says why.
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Reads to the end of every topic, which nobody writes to any more, and gives what was found.
    pub(super) fn end(self) -> Result<Findings> {
        self.ended.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err(Error::Relay("the reader of the topics died".to_owned())))
    }
}

struct Work {
    consumer: BaseConsumer,
    list: TopicPartitionList,
    sources: Sources,
    ledger: Ledger,
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) -> Result<Findings> {
        let mut to_come = None;
        loop {
            if to_come.is_none() && self.ended.load(Ordering::Acquire) {
                to_come = Some(self.records_written()?);
            }
            let read = lock(&self.seen).records.iter().sum::<u64>();
            if to_come.is_some_and(|all| read >= all) {
                return Ok(self.ledger.close());
            }
            let Some(message) = self.consumer.poll(POLL) else { continue };
            let message = message.doing("reading the topics")?;
            let side =
                if message.topic().starts_with(&self.sources.prefixes[0]) { Side::Debezium } else { Side::Other };
            let record = Record::read(&message, &self.sources.prefixes[side as usize]);
            self.note(side, &record);
            self.ledger.add(side, record);
        }
    }

    fn note(&self, side: Side, record: &Record) {
        let mut seen = lock(&self.seen);
        let side = side as usize;
        seen.records[side] += 1;
        if record.op() == "r" {
            seen.rows[side] += 1;
        } else if record.topic == self.sources.marker {
            let after = record.value.as_ref().and_then(|value| value.at(&["after", "id"]));
            let number = after.and_then(Json::number).and_then(|number| number.parse().ok());
            seen.marker[side] = seen.marker[side].max(number.unwrap_or_default());
        }
    }

    /// How many records the topics hold. Neither side's producer is transactional, so every offset is a record.
    fn records_written(&self) -> Result<u64> {
        // A consumer of its own: the other's requests for records make every other request wait.
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.sources.bootstrap)
            .create()
            .doing("connecting to Kafka")?;
        let mut records = 0;
        for element in self.list.elements() {
            let (low, high) = consumer
                .fetch_watermarks(element.topic(), 0, REQUEST_MAX)
                .doing(format!("asking for the end of {}", element.topic()))?;
            records += (high - low).unsigned_abs();
        }
        Ok(records)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
