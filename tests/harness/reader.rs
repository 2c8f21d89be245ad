//! Reads topics from their beginning, with a client of its own and no group, and keeps every record.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use demo::judge::{Judge, Received};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::wait::{PATIENCE, until, until_or};

/// How long one poll waits; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(50);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key; none is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in their order; a value may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Record {
    /// The text of a header.
    ///
    /// # Panics
    /// If it stands there twice: then nobody could rely on it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name);
        let value = values.next()?.1.as_deref()?;
        assert!(values.next().is_none(), "the header {name} stands there twice");
        std::str::from_utf8(value).ok()
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.header("id")?.parse().ok()
    }

    /// The start of the commit record of the event's transaction, from its position: the eight bytes after the epoch.
    #[must_use]
    pub fn commit_lsn(&self) -> Option<u64> {
        u64::from_str_radix(self.header("postrider-position")?.get(4..20)?, 16).ok()
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
        }
    }
}

/// A consumer at work in its own thread. It reads on until it is dropped.
#[derive(Debug)]
pub struct TopicReader {
    records: Arc<Mutex<Vec<Record>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    bootstrap: String,
    partitions: Vec<(String, i32)>,
}

impl TopicReader {
    /// Starts to read these partitions.
    ///
    /// # Panics
    /// If the client cannot be made.
    pub fn start(bootstrap: &str, partitions: impl IntoIterator<Item = (String, i32)>) -> Self {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let consumer = consumer(bootstrap);
        let mut from_the_beginning = TopicPartitionList::new();
        for (topic, partition) in &partitions {
            let added = from_the_beginning.add_partition_offset(topic, *partition, Offset::Beginning);
            added.expect("a beginning is an offset");
        }
        consumer.assign(&from_the_beginning).expect("partitions can be assigned");
        let (records, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&records), Arc::clone(&stop));
        let thread = std::thread::spawn(move || read(&consumer, &shared, &stopped));
        Self { records, stop, thread: Some(thread), bootstrap: bootstrap.to_owned(), partitions }
    }

    /// Everything read so far; partitions mix, each is in order.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// How many records were read so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many different events were read so far.
    #[must_use]
    pub fn ids(&self) -> HashSet<Uuid> {
        self.lock().iter().filter_map(Record::id).collect()
    }

    /// Waits for this many different events.
    pub async fn distinct(&self, events: u64) {
        let reached = async || (self.ids().len() as u64 >= events).then_some(());
        until_or(3 * PATIENCE, reached, || format!("{} of {events} events arrived", self.ids().len())).await;
    }

    /// Waits for a record that fits.
    pub async fn record(&self, what: &str, fits: impl Fn(&Record) -> bool) -> Record {
        until(what, PATIENCE, async || self.lock().iter().find(|record| fits(record)).cloned()).await
    }

    /// Waits until it has read up to the present end of every partition.
    ///
    /// # Panics
    /// If the end is not reached.
    pub async fn read_to_the_end(&self) {
        let ends = self.ends();
        let unread = || {
            let is_unread = |(partition, end): &&(_, i64)| self.next_offset(partition) < *end;
            ends.iter().filter(is_unread).cloned().collect::<Vec<_>>()
        };
        let read = async || unread().is_empty().then_some(());
        until_or(PATIENCE, read, || format!("the reader has not read to the end: {:?}", unread())).await;
    }

    /// Reads to the end and shows everything to a judge.
    pub async fn judge(&self, prefix: &str) -> Judge {
        self.read_to_the_end().await;
        let mut judge = Judge::default();
        for record in self.lock().iter() {
            judge.observe(&received(record, prefix));
        }
        judge
    }

    /// The offset after the last record that is there now, of each partition that has more than was read.
    ///
    /// That is not the end which the broker tells: the mark at a transaction's end takes an offset too, and no reader is
    /// shown it. <https://kafka.apache.org/documentation/#controlbatch>
    fn ends(&self) -> Vec<((String, i32), i64)> {
        let asked = consumer(&self.bootstrap);
        let mut ends = Vec::new();
        for partition in &self.partitions {
            let (low, high) = bounds(&asked, partition);
            let next = self.next_offset(partition).max(low);
            if next < high {
                ends.push((partition.clone(), self.last_record(partition, next, high)));
            }
        }
        ends
    }

    /// Reads from `next` to the end of a partition, which is at least at `high`: the offset after its last record before it.
    fn last_record(&self, (topic, partition): &(String, i32), next: i64, high: i64) -> i64 {
        let consumer = consumer(&self.bootstrap);
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, *partition, Offset::Offset(next)).expect("an offset is one");
        consumer.assign(&from).expect("a partition can be assigned");
        let (mut end, deadline) = (next, Instant::now() + PATIENCE);
        while Instant::now() < deadline {
            match consumer.poll(POLL) {
                Some(Ok(message)) if message.offset() < high => end = message.offset() + 1,
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return end,
                Some(Err(_)) | None => {}
            }
        }
        panic!("partition {partition} of {topic} was not read from {next} to {high} within {PATIENCE:?}");
    }

    /// The offset after the last record read of a partition; 0 if none was.
    fn next_offset(&self, (topic, partition): &(String, i32)) -> i64 {
        let records = self.lock();
        let last = records.iter().rev().find(|record| record.partition == *partition && record.topic == *topic);
        last.map_or(0, |record| record.offset + 1)
    }

    /// How often each event was read.
    #[must_use]
    pub fn occurrences(&self) -> BTreeMap<Uuid, usize> {
        let mut occurrences = BTreeMap::new();
        for id in self.lock().iter().filter_map(Record::id) {
            *occurrences.entry(id).or_default() += 1;
        }
        occurrences
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // The client asks for a group name even where no group is joined.
        .set("group.id", "end-to-end")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "500");
    config.create().expect("a consumer can be made")
}

fn read(consumer: &BaseConsumer, records: &Mutex<Vec<Record>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A broker that is away is reported as an error, as is the end of a partition; the client goes on by itself.
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        records.lock().unwrap_or_else(PoisonError::into_inner).push(Record::of(&message));
    }
}

/// A record in the form that the judge takes.
fn received<'r>(record: &'r Record, prefix: &str) -> Received<'r> {
    let value = record.value.as_deref().unwrap_or_default();
    let n = serde_json::from_slice::<serde_json::Value>(value).ok().and_then(|payload| payload["n"].as_u64());
    Received {
        topic: record.topic.strip_prefix(prefix).unwrap_or(&record.topic),
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref().unwrap_or_default(),
        value,
        id: record.id(),
        event_type: record.header("event_type").unwrap_or_default(),
        correlation_id: record.header("correlation-id"),
        position: record.header("postrider-position").and_then(|hex| u128::from_str_radix(hex, 16).ok()),
        n,
        committed_ms: record.timestamp_ms,
        received_us: 0,
    }
}

/// The first offset of a partition and the one after its last. A broker that has just started answers before it leads.
fn bounds(asked: &BaseConsumer, (topic, partition): &(String, i32)) -> (i64, i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match asked.fetch_watermarks(topic, *partition, PATIENCE) {
            Ok(bounds) => return bounds,
            Err(error) if Instant::now() >= deadline => panic!("the end of {topic} cannot be asked for: {error}"),
            Err(_) => drop(asked.poll(POLL)),
        }
    }
}
