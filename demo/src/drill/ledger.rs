//! What arrived: an independent consumer that counts each key's events, and when something new came.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::drill::writers::{Committed, Stamp};
use crate::error::{Doing, Error, Result};

/// How long one poll waits for a record.
const POLL: Duration = Duration::from_millis(50);
/// Gaps between arrivals that are too short to be remembered.
const GAP_MIN: Duration = Duration::from_millis(50);
/// How long nothing new may arrive at the end before the rest counts as lost.
const NOTHING_NEW_MAX: Duration = Duration::from_secs(30);

/// What was committed against what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Events whose commit was acknowledged to the writer.
    pub committed: u64,
    /// Of these, how many arrived.
    pub delivered: u64,
    /// Of these, how many never arrived.
    pub lost: u64,
    /// Records beyond the first of their event.
    pub duplicated: u64,
    /// First occurrences that came after a later event of their key.
    pub reordered: u64,
    /// Events that arrived although the writer was not told of their commit: its connection ended meanwhile.
    pub unknown: u64,
}

/// A consumer at work on one topic.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Book>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    finish: AtomicBool,
    distinct: AtomicU64,
    records: AtomicU64,
    /// When something new arrived last, in microseconds since the start.
    last_us: AtomicU64,
    /// Gaps worth remembering: from when, in microseconds since the start, and for how long.
    gaps: Mutex<Vec<(u64, Duration)>>,
}

impl Ledger {
    /// Reads every partition of `topic` from its beginning, committed records only.
    pub fn read(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", format!("{topic}.ledger"))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20")
            .create()
            .doing("creating the drill's consumer")?;
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).doing("naming the topic's partitions")?;
        }
        consumer.assign(&all).doing(format!("reading {topic}"))?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            finish: AtomicBool::new(false),
            distinct: AtomicU64::new(0),
            records: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            gaps: Mutex::new(Vec::new()),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || follow(&consumer, &theirs));
        Ok(Self { shared, thread })
    }

    /// How many different events arrived so far.
    pub fn distinct(&self) -> u64 {
        self.shared.distinct.load(Ordering::Relaxed)
    }

    /// How many records arrived so far.
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// How long nothing new has arrived.
    pub fn silent_for(&self) -> Duration {
        let last = Duration::from_micros(self.shared.last_us.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(last)
    }

    /// Waits until something new arrives that was not there when this was called.
    ///
    /// # Errors
    /// If nothing does within `patience`.
    pub async fn goes_on(&self, patience: Duration) -> Result<()> {
        let (before, begun) = (self.distinct(), Instant::now());
        while self.distinct() == before {
            if begun.elapsed() > patience {
                return Err(Error::Relay(format!("nothing new arrived within {patience:?}")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until so many different events arrived.
    ///
    /// # Errors
    /// If they do not within `patience`.
    pub async fn reaches(&self, events: u64, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.distinct() < events {
            if begun.elapsed() > patience {
                return Err(Error::Relay(format!(
                    "{} events arrived within {patience:?}, not {events}",
                    self.distinct()
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The longest time without anything new that reaches into the time since `from`.
    pub fn longest_gap_since(&self, from: Instant) -> Duration {
        let from = u64::try_from(from.saturating_duration_since(self.shared.started).as_micros()).unwrap_or(u64::MAX);
        let gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let reaching = gaps.iter().filter(|(begun, length)| begun + length.as_micros() as u64 >= from);
        reaching.map(|(_, length)| *length).max().unwrap_or_default()
    }

    /// Reads on until all that was committed is there, or nothing new comes for half a minute, and counts.
    pub async fn settle(self, committed: &Committed) -> Result<Counted> {
        while self.distinct() < committed.len() && self.silent_for() < NOTHING_NEW_MAX {
            if self.thread.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.shared.finish.store(true, Ordering::Relaxed);
        let book = self.thread.join().map_err(|_| Error::Relay("the drill's consumer panicked".into()))??;
        Ok(book.settle(committed))
    }
}

/// Polls until told to finish, and then until nothing comes any more.
fn follow(consumer: &BaseConsumer, shared: &Shared) -> Result<Book> {
    let mut book = Book::default();
    let mut quiet = 0;
    while !shared.finish.load(Ordering::Relaxed) || quiet < 20 {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            // A client that lost its broker goes on by itself where it was; one whose topic is gone never does.
            Some(Err(error)) if is_final(&error) => return Err(error).doing("reading the drill's topic"),
            Some(Err(_)) | None => {
                quiet += 1;
                continue;
            }
        };
        quiet = 0;
        shared.records.fetch_add(1, Ordering::Relaxed);
        if book.take(Stamp::of(message.payload().unwrap_or_default())) {
            let now = shared.started.elapsed();
            let last = Duration::from_micros(shared.last_us.load(Ordering::Relaxed));
            if now.saturating_sub(last) > GAP_MIN {
                let mut gaps = shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
                gaps.push((last.as_micros() as u64, now - last));
            }
            shared.last_us.store(now.as_micros() as u64, Ordering::Relaxed);
            shared.distinct.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(book)
}

fn is_final(error: &rdkafka::error::KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AutoOffsetReset, Fatal, TopicAuthorizationFailed};
    error.rdkafka_error_code().is_some_and(|code| matches!(code, AutoOffsetReset | Fatal | TopicAuthorizationFailed))
}

/// What was read.
#[derive(Debug, Default)]
struct Book {
    seen: HashSet<Stamp>,
    /// The highest number of each key.
    newest: HashMap<u64, u64>,
    duplicated: u64,
    reordered: u64,
}

impl Book {
    /// Takes in a record; whether it is the first of its event.
    fn take(&mut self, stamp: Option<Stamp>) -> bool {
        // Nothing else is written to the topic.
        let Some(stamp) = stamp else { return false };
        if !self.seen.insert(stamp) {
            self.duplicated += 1;
            return false;
        }
        let newest = self.newest.entry(stamp.key).or_default();
        if stamp.n < *newest {
            self.reordered += 1;
        }
        *newest = stamp.n.max(*newest);
        true
    }

    fn settle(&self, committed: &Committed) -> Counted {
        let lost = committed.iter().filter(|stamp| !self.seen.contains(stamp)).count() as u64;
        let delivered = committed.len() - lost;
        Counted {
            committed: committed.len(),
            delivered,
            lost,
            duplicated: self.duplicated,
            reordered: self.reordered,
            unknown: self.seen.len() as u64 - delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(stamps: &[(u64, u64)]) -> Committed {
        stamps.iter().map(|(key, n)| Stamp { key: *key, n: *n }).collect()
    }

    fn counted(read: &[(u64, u64)], committed: &[(u64, u64)]) -> Counted {
        let mut book = Book::default();
        for (key, n) in read {
            book.take(Some(Stamp { key: *key, n: *n }));
        }
        book.settle(&stamps(committed))
    }

    #[test]
    fn a_late_repetition_is_a_duplicate_and_not_out_of_order() {
        let counted = counted(&[(1, 1), (1, 2), (1, 1)], &[(1, 1), (1, 2)]);
        assert_eq!((counted.lost, counted.duplicated, counted.reordered, counted.delivered), (0, 1, 0, 2));
    }

    #[test]
    fn what_never_came_is_lost_and_what_came_late_is_out_of_order() {
        let counted = counted(&[(1, 2), (1, 1), (2, 1)], &[(1, 1), (1, 2), (2, 1), (2, 2)]);
        assert_eq!((counted.lost, counted.reordered), (1, 1));
    }

    #[test]
    fn a_commit_that_nobody_heard_of_is_known_as_such() {
        let counted = counted(&[(1, 1), (1, 2)], &[(1, 1)]);
        assert_eq!((counted.committed, counted.delivered, counted.unknown, counted.lost), (1, 1, 1, 0));
    }
}
