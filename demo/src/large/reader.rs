//! The independent consumer of one table with many rows: a bit a row, and the order of each partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::error::{Error, Result};
use crate::state::reader::TableTopics;

/// How long one poll waits for a record.
const POLL: Duration = Duration::from_millis(50);
/// How many polls without a record make an end, once nothing produces any more.
const EMPTY_POLLS_AT_THE_END: u32 = 40;

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) distinct: u64,
    /// First occurrences below one that their partition had already.
    pub(crate) reordered: u64,
}

/// How far reading came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    distinct: AtomicU64,
    finish: AtomicBool,
}

impl Seen {
    /// Different rows so far.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }
}

/// A reader at work.
#[derive(Debug)]
pub(crate) struct Rows {
    seen: Arc<Seen>,
    thread: JoinHandle<Result<Found>>,
}

impl Rows {
    /// Starts to read the rows 1 to `rows`.
    pub(crate) fn read(topics: &TableTopics, rows: u64) -> Result<Self> {
        let consumer = topics.consumer("large", false)?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || Ok(follow(&consumer, &shared, &mut Tally::new(rows))));
        Ok(Self { seen, thread })
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Reads on until nothing comes; to be called when nothing produces any more.
    pub(crate) fn finish(self) -> Result<Found> {
        self.seen.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Relay("the reader's thread panicked; its message is above".into()))?
    }
}

fn follow(consumer: &BaseConsumer, seen: &Seen, tally: &mut Tally) -> Found {
    let mut empty = 0;
    while !seen.finish.load(Ordering::Relaxed) || empty < EMPTY_POLLS_AT_THE_END {
        // A client that lost its broker goes on by itself where it was.
        let Some(Ok(message)) = consumer.poll(POLL) else {
            empty += 1;
            continue;
        };
        empty = 0;
        tally.take(message.partition(), id(&message), position(&message));
        seen.distinct.store(tally.found.distinct, Ordering::Relaxed);
    }
    tally.found
}

/// Counts rows.
#[derive(Debug)]
struct Tally {
    rows: Vec<u64>,
    last: Vec<u128>,
    found: Found,
}

impl Tally {
    fn new(rows: u64) -> Self {
        Self { rows: vec![0; (rows / 64 + 1) as usize], last: Vec::new(), found: Found::default() }
    }

    /// A record of the row `id`; one that is none of the rows counts as a row too many.
    fn take(&mut self, partition: i32, id: Option<u64>, position: Option<u128>) {
        self.found.records += 1;
        let partition = usize::try_from(partition).unwrap_or_default();
        if self.last.len() <= partition {
            self.last.resize(partition + 1, 0);
        }
        let (Some(id), Some(position)) = (id, position) else {
            self.found.reordered += 1;
            return;
        };
        let Some(word) = self.rows.get_mut((id / 64) as usize) else {
            self.found.distinct += 1;
            return;
        };
        if *word >> (id % 64) & 1 == 1 {
            return;
        }
        *word |= 1 << (id % 64);
        self.found.distinct += 1;
        if position < self.last[partition] {
            self.found.reordered += 1;
        }
        self.last[partition] = position;
    }
}

/// The row's number from a key such as `{"id":7}`.
fn id(message: &BorrowedMessage<'_>) -> Option<u64> {
    let text = std::str::from_utf8(message.key()?).ok()?;
    text.strip_prefix(r#"{"id":"#)?.strip_suffix('}')?.parse().ok()
}

fn position(message: &BorrowedMessage<'_>) -> Option<u128> {
    let header = message.headers()?.iter().find(|header| header.key == "postrider-position")?;
    u128::from_str_radix(std::str::from_utf8(header.value?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use crate::large::reader::Tally;

    #[test]
    fn rows_are_counted_once_and_each_partition_keeps_its_order() {
        let mut tally = Tally::new(100);
        for (partition, id, position) in [(0, 1, 10), (1, 2, 5), (0, 1, 10), (0, 3, 9)] {
            tally.take(partition, Some(id), Some(position));
        }
        tally.take(2, None, Some(1));
        let found = tally.found;
        assert_eq!((found.records, found.distinct, found.reordered), (5, 3, 2));
        tally.take(0, Some(1_000), Some(99));
        assert_eq!(tally.found.distinct, 4);
    }
}
