//! Reads topics from a moment on to their present end, and shows what it reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use crate::kafka::events::ReaderEvents;
use crate::kafka::held::{Extent, Seen, Sought, id_text};
use crate::kafka::reachability::Reachability;
use crate::kafka::security::KafkaSecurity;
use crate::pipeline::{End, Error, Kind};

/// How long to wait before asking a broker again for what it does not know yet.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Shows every record of what is sought to `each`, up to what is there now, one topic after the other, each partition in its order.
/// Blocks; it joins no group and commits nothing.
///
/// `config` is that of a client that reads `read_committed` and tells the ends of partitions.
///
/// # Errors
/// `Unavailable` if no broker answers, or not in time; `Setup` if the topics may not be read; and what `each` says.
pub(crate) fn walk(
    config: &ClientConfig,
    security: &KafkaSecurity,
    reachability: &Arc<Reachability>,
    sought: &Sought,
    each: Each<'_>,
) -> Result<Extent, Error> {
    let events = ReaderEvents::new(security, reachability);
    let consumer = BaseConsumer::from_config_and_context(config, events)
        .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka client does not start").because(error))?;
    if security.token().is_some() {
        // Polling is what hands over the token, without which no broker is asked anything.
        drop(consumer.poll(ASK_AGAIN));
    }
    let reading = Reading { consumer, sought, reachability, deadline: Instant::now() + sought.within };
    let extent = reading.read(each);
    // librdkafka takes some 100 ms to let go of a consumer, and nobody has to wait for it.
    let consumer = reading.consumer;
    drop(std::thread::Builder::new().name("kafka-held-close".into()).spawn(move || drop(consumer)));
    extent
}

/// What is done with every record.
type Each<'a> = &'a mut (dyn FnMut(&Seen<'_>) -> Result<(), Error> + 'a);

/// What of a topic is still to be read: up to which offset of each partition.
type Open = HashMap<i32, i64>;

/// A topic that is read.
struct Topic {
    name: String,
    id_header: String,
    partitions: Vec<i32>,
    /// Partitions whose beginning was deleted, perhaps with events that are sought, and which have shown no record yet.
    cut: HashSet<i32>,
}

struct Reading<'a> {
    consumer: BaseConsumer<ReaderEvents>,
    sought: &'a Sought,
    reachability: &'a Arc<Reachability>,
    deadline: Instant,
}

impl Reading<'_> {
    fn read(&self, each: Each<'_>) -> Result<Extent, Error> {
        let mut extent = Extent { complete: true, ..Extent::default() };
        // One topic after the other: the end of a partition is told without its topic.
        for mut topic in self.topics()? {
            let (open, offsets) = self.stretches(&mut topic, &mut extent)?;
            if !open.is_empty() {
                self.consumer.assign(&offsets).map_err(|error| self.unreadable(&error))?;
                let outcome = self.drain(&mut topic, open, &mut extent, each);
                // Assigned, it would go on fetching.
                let left = self.consumer.unassign().map_err(|error| self.unreadable(&error));
                outcome.and(left)?;
            }
            if !topic.cut.is_empty() {
                // Nothing is left that could tell how old it was.
                extent.beginnings_ms.insert(topic.name.clone(), i64::MAX);
            }
            extent.topics.insert(topic.name);
        }
        Ok(extent)
    }

    /// The topics that are there.
    fn topics(&self) -> Result<Vec<Topic>, Error> {
        let metadata = self.patiently(|remaining| self.consumer.fetch_metadata(None, remaining))?;
        let found = metadata.topics().iter().filter(|topic| topic.name() != self.sought.except);
        let found = found.filter_map(|topic| {
            let fits = self.sought.topics.iter().find(|topics| topics.pattern.is_match(topic.name()))?;
            let partitions = topic.partitions().iter().map(MetadataPartition::id).collect();
            let (name, id_header) = (topic.name().to_owned(), fits.id_header.clone());
            Some(Topic { name, id_header, partitions, cut: HashSet::new() })
        });
        Ok(found.collect())
    }

    /// What is to be read: where each partition begins, and up to which offset it goes.
    fn stretches(&self, topic: &mut Topic, extent: &mut Extent) -> Result<(Open, TopicPartitionList), Error> {
        let starts = self.starts(&topic.name, &topic.partitions)?;
        let (mut open, mut offsets) = (Open::new(), TopicPartitionList::new());
        for &partition in &topic.partitions {
            let (low, high) =
                self.patiently(|remaining| self.consumer.fetch_watermarks(&topic.name, partition, remaining))?;
            let start = match starts.get(&partition) {
                Some(Offset::Offset(start)) => low.max(*start),
                // Every record there is older.
                Some(_) => high,
                None => low,
            };
            // What was deleted may have been as new as the oldest that is left.
            if low > 0 && start <= low {
                extent.complete = false;
                topic.cut.insert(partition);
            }
            if start < high {
                offsets
                    .add_partition_offset(&topic.name, partition, Offset::Offset(start))
                    .map_err(|error| self.unreadable(&error))?;
                open.insert(partition, high);
            }
        }
        Ok((open, offsets))
    }

    /// Where each partition has its first record from the moment on; none if all are sought.
    fn starts(&self, topic: &str, partitions: &[i32]) -> Result<HashMap<i32, Offset>, Error> {
        let Some(from_ms) = self.sought.from_ms else { return Ok(HashMap::new()) };
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            // Here an offset stands for a moment.
            let moment = Offset::Offset(from_ms.max(0));
            asked.add_partition_offset(topic, partition, moment).map_err(|error| self.unreadable(&error))?;
        }
        let found = self.patiently(|remaining| self.consumer.offsets_for_times(asked.clone(), remaining))?;
        Ok(found.elements().iter().map(|element| (element.partition(), element.offset())).collect())
    }

    fn drain(&self, topic: &mut Topic, mut open: Open, extent: &mut Extent, each: Each<'_>) -> Result<(), Error> {
        let mut silent_until = Instant::now() + self.sought.patience;
        let mut next: HashMap<i32, i64> = HashMap::new();
        while !open.is_empty() {
            let until = silent_until.min(self.deadline);
            let remaining = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.consumer.poll(remaining) {
                Some(Ok(record)) => {
                    silent_until = Instant::now() + self.sought.patience;
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(to) = open.get(&partition).copied().filter(|_| record.topic() == topic.name) else {
                        continue;
                    };
                    // Compaction leaves holes; so do the marks of transactions, which is too careful.
                    extent.complete &= next.insert(partition, offset + 1).is_none_or(|expected| expected == offset);
                    if offset < to {
                        self.show(&record, topic, extent, each)?;
                    }
                    if offset + 1 >= to {
                        open.remove(&partition);
                    }
                }
                // Markers leave offsets without a record, so that sometimes only this tells the end.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) if Instant::now() < until && !is_final(&error) => {
                    debug!(%error, topic = topic.name, "reading back goes on");
                }
                Some(Err(error)) => return Err(self.unreadable(&error)),
                None if Instant::now() < until => {}
                None => {
                    return Err(self.unreadable(&KafkaError::MessageConsumption(Code::OperationTimedOut)));
                }
            }
        }
        Ok(())
    }

    fn show(
        &self,
        record: &BorrowedMessage<'_>,
        topic: &mut Topic,
        extent: &mut Extent,
        each: Each<'_>,
    ) -> Result<(), Error> {
        extent.records += 1;
        let timestamp_ms = record.timestamp().to_millis();
        if topic.cut.remove(&record.partition()) {
            let oldest_ms = timestamp_ms.unwrap_or(i64::MAX);
            let known = extent.beginnings_ms.entry(topic.name.clone()).or_insert(oldest_ms);
            *known = (*known).max(oldest_ms);
        }
        let headers: Vec<_> =
            record.headers().into_iter().flat_map(Headers::iter).map(|header| (header.key, header.value)).collect();
        let value_of = |name: &str| headers.iter().find(|(key, _)| *key == name).and_then(|(_, value)| *value);
        let position = self.sought.position_header.as_deref().and_then(value_of);
        each(&Seen {
            topic: &topic.name,
            partition: record.partition(),
            timestamp_ms,
            id: value_of(&topic.id_header).map(id_text),
            position: position.and_then(|hex| u128::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()),
            key: record.key(),
            value: record.payload(),
            headers,
        })
    }

    /// Asks again while an answer may still come.
    fn patiently<T>(&self, ask: impl Fn(Duration) -> Result<T, KafkaError>) -> Result<T, Error> {
        let deadline = self.deadline.min(Instant::now() + self.sought.patience);
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match ask(remaining) {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() < deadline && !is_final(&error) => {
                    debug!(%error, "asking again");
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
    }

    fn unreadable(&self, error: &KafkaError) -> Error {
        let kind = if is_denied(error) { Kind::Setup } else { Kind::Unavailable };
        let error_of = Error::new(End::Sink, kind, "the topics were not read back");
        let trouble = self.reachability.last_trouble();
        let error_of = if trouble.is_empty() { error_of.because(error.clone()) } else { error_of.because(trouble) };
        match kind {
            Kind::Setup => error_of.with_help("Grant Read and Describe on the topics of the outboxes."),
            _ => error_of.with_help("Nothing was changed: run it again when the brokers answer."),
        }
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
