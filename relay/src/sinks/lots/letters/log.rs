//! Reads the two topics from where it came to their ends. Blocks; it joins no group and commits nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use crate::kafka::events::ReaderEvents;
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::KafkaOptions;
use crate::sinks::lots::letters::wire::Read;

/// How long to wait before asking a broker again for what it does not know yet.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A place to read from, and the first offset that is not read.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
}

/// A client that reads topics whole.
pub(super) struct Log {
    /// There until it is dropped.
    consumer: Option<BaseConsumer<ReaderEvents>>,
    brokers: String,
    /// How long nothing may come.
    patience: Duration,
    reachability: Arc<Reachability>,
    /// The next offset to read of each partition.
    next: HashMap<(Arc<str>, i32), i64>,
}

impl Log {
    /// Begins to connect. `options` hold their secrets.
    pub(super) fn start(options: &KafkaOptions, reachability: Arc<Reachability>) -> Result<Self, Error> {
        let events = ReaderEvents::new(&options.security, &reachability);
        let consumer = BaseConsumer::from_config_and_context(&options.reader(), events)
            .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka client does not start").because(error))?;
        if options.security.token().is_some() {
            // Polling is what hands over the token, without which no broker is asked anything.
            drop(consumer.poll(ASK_AGAIN));
        }
        let (brokers, patience) = (options.bootstrap_servers.clone(), options.connect_timeout);
        Ok(Self { consumer: Some(consumer), brokers, patience, reachability, next: HashMap::new() })
    }

    /// The partitions of a topic; none if it does not exist.
    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<i32>, Error> {
        let metadata = self.patiently(topic, || self.consumer().fetch_metadata(Some(topic), self.patience))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        Ok(found.map(|found| found.partitions().iter().map(MetadataPartition::id).collect()).unwrap_or_default())
    }

    /// Whether there is something that was not read.
    pub(super) fn has_news(&self, topic: &Arc<str>) -> Result<bool, Error> {
        Ok(!self.unread(topic)?.is_empty())
    }

    /// What of the topic was not read so far.
    fn unread(&self, topic: &Arc<str>) -> Result<HashMap<i32, Stretch>, Error> {
        let mut unread = HashMap::new();
        for partition in self.partitions(topic)? {
            let (low, high) = self.bounds(topic, partition)?;
            let from = self.next.get(&(Arc::clone(topic), partition)).map_or(low, |next| low.max(*next));
            if from < high {
                unread.insert(partition, Stretch { from, to: high });
            }
        }
        Ok(unread)
    }

    fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
        self.patiently(topic, || self.consumer().fetch_watermarks(topic, partition, self.patience))
    }

    /// Reads what was not read so far, up to what is there now.
    pub(super) fn read_on(&mut self, topic: &Arc<str>, mut each: impl FnMut(Read)) -> Result<(), Error> {
        let unread = self.unread(topic)?;
        let ends: Vec<(i32, i64)> = unread.iter().map(|(partition, stretch)| (*partition, stretch.to)).collect();
        self.read(topic, unread, &mut each)?;
        for (partition, to) in ends {
            self.next.insert((Arc::clone(topic), partition), to);
        }
        Ok(())
    }

    /// Reads the records at these offsets, and perhaps others between them.
    pub(super) fn read_at(
        &self,
        topic: &Arc<str>,
        wanted: &[(i32, i64)],
        mut each: impl FnMut(Read),
    ) -> Result<(), Error> {
        let mut stretches: HashMap<i32, Stretch> = HashMap::new();
        for &(partition, offset) in wanted {
            let stretch = stretches.entry(partition).or_insert(Stretch { from: offset, to: offset + 1 });
            (stretch.from, stretch.to) = (stretch.from.min(offset), stretch.to.max(offset + 1));
        }
        for (partition, stretch) in &mut stretches {
            let (low, high) = self.bounds(topic, *partition)?;
            (stretch.from, stretch.to) = (stretch.from.max(low), stretch.to.min(high));
        }
        stretches.retain(|_, stretch| stretch.from < stretch.to);
        self.read(topic, stretches, &mut each)
    }

    fn read(
        &self,
        topic: &Arc<str>,
        mut open: HashMap<i32, Stretch>,
        each: &mut impl FnMut(Read),
    ) -> Result<(), Error> {
        let mut assignment = TopicPartitionList::with_capacity(open.len());
        for (partition, stretch) in &open {
            assignment
                .add_partition_offset(topic, *partition, Offset::Offset(stretch.from))
                .map_err(|error| self.unreadable(topic, &error))?;
        }
        if open.is_empty() {
            return Ok(());
        }
        self.consumer().assign(&assignment).map_err(|error| self.unreadable(topic, &error))?;
        let outcome = self.drain(topic, &mut open, each);
        // Assigned, it would go on fetching.
        let left = self.consumer().unassign().map_err(|error| self.unreadable(topic, &error));
        outcome.and(left)
    }

    fn drain(
        &self,
        topic: &Arc<str>,
        open: &mut HashMap<i32, Stretch>,
        each: &mut impl FnMut(Read),
    ) -> Result<(), Error> {
        let mut deadline = Instant::now() + self.patience;
        while !open.is_empty() {
            let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.consumer().poll(remaining) {
                Some(Ok(record)) => {
                    deadline = Instant::now() + self.patience;
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(stretch) = open.get(&partition).copied() else { continue };
                    if offset < stretch.to {
                        each(copy(&record));
                    }
                    if offset + 1 >= stretch.to {
                        open.remove(&partition);
                    }
                }
                // Compaction and markers leave offsets without a record, so that sometimes only this tells the end.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) if Instant::now() < deadline && !is_final(&error) => {
                    debug!(%error, topic = &**topic, "reading goes on");
                }
                Some(Err(error)) => return Err(self.unreadable(topic, &error)),
                None if Instant::now() < deadline => {}
                None => {
                    let error = KafkaError::MessageConsumption(Code::OperationTimedOut);
                    return Err(self.unreadable(topic, &error));
                }
            }
        }
        Ok(())
    }

    /// Asks again while an answer may still come: a topic that was just created may have no leader yet.
    fn patiently<T>(&self, topic: &str, ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() < deadline && !is_final(&error) => {
                    debug!(%error, topic, "asking again");
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(error) => return Err(self.unreadable(topic, &error)),
            }
        }
    }

    fn consumer(&self) -> &BaseConsumer<ReaderEvents> {
        self.consumer.as_ref().expect("only dropping takes it away")
    }

    fn unreadable(&self, topic: &str, error: &KafkaError) -> Error {
        let kind = if is_denied(error) { Kind::Setup } else { Kind::Unavailable };
        let context = format!("the topic {topic:?} of the dead letters was not read at {}", self.brokers);
        let trouble = self.reachability.last_trouble();
        let error_of = Error::new(End::Sink, kind, context);
        let error_of = if trouble.is_empty() { error_of.because(error.clone()) } else { error_of.because(trouble) };
        match kind {
            Kind::Setup => {
                error_of.with_help("Grant Read, Write and Describe on the topic, and Create where it is missing.")
            }
            _ => error_of,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // librdkafka takes some 100 ms to let go of a consumer, and nobody has to wait for it.
        let consumer = self.consumer.take();
        drop(std::thread::Builder::new().name("letters-close".into()).spawn(move || drop(consumer)));
    }
}

fn copy(record: &BorrowedMessage<'_>) -> Read {
    let headers = record.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Read {
        partition: record.partition(),
        offset: record.offset(),
        timestamp_ms: record.timestamp().to_millis().unwrap_or_default(),
        key: record.key().map(<[u8]>::to_vec),
        value: record.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

fn is_denied(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))
}

/// Whether waiting cannot help.
fn is_final(error: &KafkaError) -> bool {
    is_denied(error)
        || matches!(error.rdkafka_error_code(), Some(Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::Fatal))
}
