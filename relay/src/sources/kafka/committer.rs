//! Commits offsets with their notes, on a thread of its own: a commit waits for the group's coordinator, and polling must not.
//!
//! The broker answers a commit for each partition, but librdkafka tells only whether all of a request failed; so that no failure
//! passes for a success, a request holds partitions of one topic only, whose fate is one, and a long note goes alone.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::sources::kafka::events::ConsumerEvents;
use crate::sources::kafka::ledger::Sent;
use crate::sources::kafka::note::Place;
use crate::telemetry::Metrics;

/// A note of more letters goes alone: a broker may be configured to take less than its default.
const NOTE_SHORT: usize = 256;

/// What shall be committed of one partition.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Which assignment of the partition this is of.
    pub(super) assignment: u64,
    pub(super) sent: Sent,
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) entries: Vec<Entry>,
    /// Why nothing of it was committed; `None`: all of it was.
    pub(super) failure: Option<RDKafkaErrorCode>,
}

/// The thread that commits, one order at a time.
pub(super) struct Committer {
    orders: Option<Sender<Vec<Entry>>>,
    outcomes: Receiver<Vec<Outcome>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

impl Committer {
    /// Starts it; it wakes `poller` when an order is done.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(
        consumer: Arc<BaseConsumer<ConsumerEvents>>,
        poller: Thread,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = channel::<Vec<Entry>>();
        let (done, outcomes) = channel();
        let thread = Builder::new().name("kafka-commits".into()).spawn(move || {
            while let Ok(entries) = ordered.recv() {
                let outcome =
                    requests(entries).into_iter().map(|request| commit(&consumer, request, &metrics)).collect();
                if done.send(outcome).is_err() {
                    return;
                }
                poller.unpark();
            }
        })?;
        Ok(Self { orders: Some(orders), outcomes, thread: Some(thread), is_busy: false })
    }

    /// Whether an order is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Commits these, none of them if nothing may be ordered now.
    pub(super) fn order(&mut self, entries: Vec<Entry>) {
        if let Some(orders) = &self.orders
            && !entries.is_empty()
        {
            self.is_busy = orders.send(entries).is_ok();
        }
    }

    /// How the order ended, if it did within this time.
    pub(super) fn outcome(&mut self, patience: Duration) -> Option<Vec<Outcome>> {
        if !self.is_busy {
            return None;
        }
        match self.outcomes.recv_timeout(patience) {
            Ok(outcomes) => {
                self.is_busy = false;
                Some(outcomes)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.is_busy = false;
                None
            }
        }
    }

    /// Ends the thread, if nothing is under way; otherwise it ends by itself, and lets go of the consumer then.
    pub(super) fn end(mut self) {
        self.orders = None;
        if !self.is_busy
            && let Some(thread) = self.thread.take()
        {
            // It panics nowhere.
            drop(thread.join());
        }
    }
}

/// Entries as requests whose partitions succeed or fail together.
fn requests(entries: Vec<Entry>) -> Vec<Vec<(Entry, String)>> {
    let mut requests: Vec<Vec<(Entry, String)>> = Vec::new();
    for entry in entries {
        let place = Place { topic: &entry.topic, partition: entry.partition, offset: entry.sent.offset };
        let note = entry.sent.note.encode(place);
        let is_short = note.len() <= NOTE_SHORT;
        let mate = requests
            .iter_mut()
            .find(|request| request.iter().all(|(other, note)| other.topic == entry.topic && note.len() <= NOTE_SHORT));
        match mate {
            Some(request) if is_short => request.push((entry, note)),
            _ => requests.push(vec![(entry, note)]),
        }
    }
    requests
}

fn commit(consumer: &BaseConsumer<ConsumerEvents>, request: Vec<(Entry, String)>, metrics: &Metrics) -> Outcome {
    let mut list = TopicPartitionList::with_capacity(request.len());
    let mut failure = None;
    for (entry, note) in &request {
        let mut part = list.add_partition(&entry.topic, entry.partition);
        part.set_metadata(note);
        if let Err(error) = part.set_offset(Offset::Offset(entry.sent.offset)) {
            failure = Some(code(&error));
        }
    }
    if failure.is_none() {
        failure = consumer.commit(&list, CommitMode::Sync).err().map(|error| code(&error));
    }
    match failure {
        None => metrics.consumer.commits.inc(),
        Some(_) => metrics.consumer.commits_failed.inc(),
    }
    Outcome { entries: request.into_iter().map(|(entry, _)| entry).collect(), failure }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kafka::ledger::Ledger;
    use crate::sources::kafka::note::Note;

    fn entry(topic: &str, partition: i32, ends: i64) -> Entry {
        let note = Note { last: None, ends: (0..ends).collect() };
        Entry { topic: Arc::from(topic), partition, assignment: 1, sent: Ledger::at(0, note, true).to_commit() }
    }

    #[test]
    fn a_request_holds_one_topic_and_a_long_note_goes_alone() {
        let entries = vec![entry("a", 0, 1), entry("b", 0, 1), entry("a", 1, 200), entry("a", 2, 1), entry("b", 1, 0)];
        let shape: Vec<Vec<(String, i32)>> = requests(entries)
            .iter()
            .map(|request| request.iter().map(|(entry, _)| (entry.topic.to_string(), entry.partition)).collect())
            .collect();
        let part = |topic: &str, partition| (topic.to_owned(), partition);
        assert_eq!(shape, [vec![part("a", 0), part("a", 2)], vec![part("b", 0), part("b", 1)], vec![part("a", 1)]]);
    }
}
