//! What topics hold, read back: the ids of the events in them from a moment on.
//!
//! Guarantee: an id that is said to be held stands in a record that readers see (`read_committed`), and so is durable. What is not
//! said to be held may still be there where [`Held::complete`] is false. Nothing of a record but its id and its position is kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use regex::Regex;
use sha2::{Digest, Sha256};
use tracing::debug;
use uuid::Uuid;

use crate::kafka::events::ReaderEvents;
use crate::kafka::reachability::Reachability;
use crate::kafka::security::KafkaSecurity;
use crate::pipeline::{End, Error, Kind};

/// Ids that are kept in memory at most by default: 16 bytes each, so 256 MiB.
pub const IDS_MAX: usize = 16 * 1024 * 1024;

/// Ids that are sorted together. Chunks are never copied into larger ones, so that memory does not double while it grows.
const CHUNK: usize = 1024 * 1024;

/// How long to wait before asking a broker again for what it does not know yet.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Topics whose names a pattern matches, and the header that holds an event's id there.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Which.
    pub pattern: Regex,
    /// The header.
    pub id_header: String,
}

/// What is sought.
#[derive(Debug, Clone)]
pub struct Sought {
    /// In which topics; where two patterns match, the first holds.
    pub topics: Vec<Topics>,
    /// A topic that is left out all the same.
    pub except: String,
    /// The header that holds an event's position, if there is one.
    pub position_header: Option<String>,
    /// From when on, in milliseconds since 1970, by the records' own times; `None` from the beginning.
    pub from_ms: Option<i64>,
    /// Ids that are kept at most.
    pub ids_max: usize,
    /// How long nothing may come.
    pub patience: Duration,
    /// How long it may take in all.
    pub within: Duration,
}

/// The ids that were found: 16 bytes each.
#[derive(Debug, Default)]
pub struct Held {
    chunks: Vec<Vec<u128>>,
    /// The topics that were read.
    pub topics: BTreeSet<String>,
    /// Records that were read.
    pub records: u64,
    /// Whether every event that was delivered since the moment was seen: nothing of it was deleted or compacted away since.
    pub complete: bool,
    /// The newest position that any record has.
    pub newest: Option<u128>,
}

impl Held {
    /// Whether the event of this id, as its table prints it, is there.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        let number = number(id.as_bytes());
        self.chunks.iter().any(|chunk| chunk.binary_search(&number).is_ok())
    }

    /// Whether none was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Vec::is_empty)
    }

    /// How many ids are kept; one that stands in several records may count more than once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    fn add(&mut self, id: u128) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(id),
            _ => {
                self.close();
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(id);
                self.chunks.push(chunk);
            }
        }
    }

    /// Sorts the last chunk: what is added afterwards begins another.
    fn close(&mut self) {
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.sort_unstable();
            chunk.dedup();
        }
    }

    #[cfg(test)]
    fn of(ids: &[&str]) -> Self {
        let mut held = Self::default();
        ids.iter().for_each(|id| held.add(number(id.as_bytes())));
        held.close();
        held
    }
}

/// An id as a number: a UUID as it is, any other text by its hash. Two texts with one hash do not occur.
fn number(id: &[u8]) -> u128 {
    if let Ok(uuid) = Uuid::try_parse_ascii(id) {
        return uuid.as_u128();
    }
    let digest = Sha256::digest(id);
    let (half, _) = digest.as_slice().split_at(16);
    half.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The id in a header's value: the text itself, or what Kafka Connect's JSON converter makes of it.
fn read_id(value: &[u8]) -> u128 {
    let json = matches!(value.first(), Some(b'"' | b'{')).then(|| serde_json::from_slice(value).ok()).flatten();
    match json {
        Some(serde_json::Value::String(text)) => number(text.as_bytes()),
        Some(serde_json::Value::Object(members)) => match members.get("payload") {
            Some(serde_json::Value::String(text)) => number(text.as_bytes()),
            Some(serde_json::Value::Number(id)) => number(id.to_string().as_bytes()),
            _ => number(value),
        },
        _ => number(value),
    }
}

/// Reads what is sought up to what is there now. Blocks; it joins no group and commits nothing.
///
/// `config` is that of a client that reads `read_committed` and tells the ends of partitions.
///
/// # Errors
/// `Unavailable` if no broker answers, or not in time; `Setup` if the topics may not be read or hold more ids than may be kept.
pub(crate) fn read(
    config: &ClientConfig,
    security: &KafkaSecurity,
    reachability: &Arc<Reachability>,
    sought: &Sought,
) -> Result<Held, Error> {
    let events = ReaderEvents::new(security, reachability);
    let consumer = BaseConsumer::from_config_and_context(config, events)
        .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka client does not start").because(error))?;
    if security.token().is_some() {
        // Polling is what hands over the token, without which no broker is asked anything.
        drop(consumer.poll(ASK_AGAIN));
    }
    let reading = Reading { consumer, sought, reachability, deadline: Instant::now() + sought.within };
    let held = reading.read();
    // librdkafka takes some 100 ms to let go of a consumer, and nobody has to wait for it.
    let consumer = reading.consumer;
    drop(std::thread::Builder::new().name("kafka-held-close".into()).spawn(move || drop(consumer)));
    held
}

/// What of a topic is still to be read: up to which offset of each partition.
type Open = HashMap<i32, i64>;

struct Reading<'a> {
    consumer: BaseConsumer<ReaderEvents>,
    sought: &'a Sought,
    reachability: &'a Arc<Reachability>,
    deadline: Instant,
}

impl Reading<'_> {
    fn read(&self) -> Result<Held, Error> {
        let mut held = Held { complete: true, ..Held::default() };
        // One topic after the other: the end of a partition is told without its topic.
        for (topic, header, partitions) in self.topics()? {
            let (open, offsets) = self.stretches(&topic, &partitions, &mut held)?;
            if !open.is_empty() {
                self.consumer.assign(&offsets).map_err(|error| self.unreadable(&error))?;
                let outcome = self.drain(&topic, open, &header, &mut held);
                // Assigned, it would go on fetching.
                let left = self.consumer.unassign().map_err(|error| self.unreadable(&error));
                outcome.and(left)?;
            }
            held.topics.insert(topic);
        }
        held.close();
        Ok(held)
    }

    /// The topics that are there, each with its header and its partitions.
    fn topics(&self) -> Result<Vec<(String, String, Vec<i32>)>, Error> {
        let metadata = self.patiently(|remaining| self.consumer.fetch_metadata(None, remaining))?;
        let found = metadata.topics().iter().filter(|topic| topic.name() != self.sought.except);
        let found = found.filter_map(|topic| {
            let fits = self.sought.topics.iter().find(|topics| topics.pattern.is_match(topic.name()))?;
            let partitions = topic.partitions().iter().map(MetadataPartition::id).collect();
            Some((topic.name().to_owned(), fits.id_header.clone(), partitions))
        });
        Ok(found.collect())
    }

    /// What is to be read: where each partition begins, and up to which offset it goes.
    fn stretches(&self, topic: &str, partitions: &[i32], held: &mut Held) -> Result<(Open, TopicPartitionList), Error> {
        let starts = self.starts(topic, partitions)?;
        let (mut open, mut offsets) = (Open::new(), TopicPartitionList::new());
        for &partition in partitions {
            let (low, high) =
                self.patiently(|remaining| self.consumer.fetch_watermarks(topic, partition, remaining))?;
            let start = match starts.get(&partition) {
                Some(Offset::Offset(start)) => low.max(*start),
                // Every record there is older.
                Some(_) => high,
                None => low,
            };
            // What was deleted may have been as new as the oldest that is left.
            held.complete &= low == 0 || start > low;
            if start < high {
                offsets
                    .add_partition_offset(topic, partition, Offset::Offset(start))
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

    fn drain(&self, topic: &str, mut open: Open, id_header: &str, held: &mut Held) -> Result<(), Error> {
        let mut silent_until = Instant::now() + self.sought.patience;
        let mut next: HashMap<i32, i64> = HashMap::new();
        while !open.is_empty() {
            let until = silent_until.min(self.deadline);
            let remaining = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.consumer.poll(remaining) {
                Some(Ok(record)) => {
                    silent_until = Instant::now() + self.sought.patience;
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(to) = open.get(&partition).copied().filter(|_| record.topic() == topic) else { continue };
                    // Compaction leaves holes; so do the marks of transactions, which is too careful.
                    held.complete &= next.insert(partition, offset + 1).is_none_or(|expected| expected == offset);
                    if offset < to {
                        self.note(&record, id_header, held)?;
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
                    debug!(%error, topic, "reading back goes on");
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

    fn note(&self, record: &BorrowedMessage<'_>, id_header: &str, held: &mut Held) -> Result<(), Error> {
        held.records += 1;
        let Some(headers) = record.headers() else { return Ok(()) };
        for header in headers.iter() {
            let Some(value) = header.value else { continue };
            if header.key == id_header {
                held.add(read_id(value));
            } else if Some(header.key) == self.sought.position_header.as_deref() {
                let position = std::str::from_utf8(value).ok().and_then(|hex| u128::from_str_radix(hex, 16).ok());
                held.newest = held.newest.max(position);
            }
        }
        if held.len() > self.sought.ids_max {
            let context = format!(
                "the topics hold more than {} events since the moment from which on they are read back",
                self.sought.ids_max
            );
            return Err(Error::new(End::Sink, Kind::Setup, context).with_help(
                "Name a later moment with --since, if what is older is known to be delivered: each id takes 16 bytes of memory.",
            ));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_whichever_form_it_was_written() {
        let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        let json = format!(r#"{{"schema":{{"type":"string"}},"payload":"{id}"}}"#);
        for value in [id.to_owned(), id.to_uppercase(), format!("\"{id}\""), json] {
            assert_eq!(read_id(value.as_bytes()), number(id.as_bytes()), "{value}");
        }
        assert_eq!(read_id(br#"{"payload":17}"#), number(b"17"));
        assert_ne!(number(b"17"), number(b"18"));
    }

    #[test]
    fn what_was_added_is_held_and_nothing_else() {
        let ids = ["order-1", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "7"];
        let held = Held::of(&ids);
        assert!(ids.iter().all(|id| held.contains(id)));
        assert!(!held.contains("8") && !held.contains("order-2"));
        assert_eq!(Held::of(&["a", "b", "a"]).len(), 2);
        assert!(Held::default().is_empty());
    }
}
