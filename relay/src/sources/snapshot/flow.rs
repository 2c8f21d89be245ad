//! Between the threads that read and the source: what is to be read, what was read, and in which order it may be handed on.
//!
//! Guarantees: at most some bytes wait here. The first row of a table is handed on before any other of it, its last one after all
//! others, and so are the first and the last of all tables; else there is no order. Whoever waits here waits for chunks that were
//! planned before his own, so that nobody waits for ever.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::pipeline::{Error, Messages};
use crate::sources::snapshot::progress::{Key, Place, Stretch};

/// What waits for the source at most, in bytes, unless a single batch is larger.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Of what a row is the first or the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Of {
    /// Of nothing.
    #[default]
    Nothing,
    /// Of its table.
    Table,
    /// Of the snapshot.
    All,
}

/// Rows of a table that are read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of its table.
    pub(super) table: usize,
    pub(super) place: Place,
    pub(super) from: Option<Key>,
    pub(super) to: Option<Key>,
    /// Of what its first row is the first.
    pub(super) first: Of,
    /// Of what its last row is the last.
    pub(super) last: Of,
}

/// Rows that were read, as messages.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) table: usize,
    pub(super) messages: Messages,
    pub(super) rows: u64,
    /// Of what the first of them is the first.
    pub(super) first: Of,
    /// Of what the last of them is the last.
    pub(super) last: Of,
    /// Its chunk, if these are its last rows.
    pub(super) ends: Option<(Place, Stretch)>,
}

/// What the source finds when it looks.
#[derive(Debug)]
pub(super) enum Look {
    /// Something that was read.
    Item(Box<Item>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: all of it was handed on.
    Over,
    /// Somebody failed.
    Failed(Error),
}

/// Somebody told those who read to stop.
#[derive(Debug)]
pub(super) struct Stopped;

/// What the threads and the source share.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Condvar,
    arrived: Notify,
    rows_per_second: Option<NonZeroU64>,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Whether every chunk was planned.
    is_planned: bool,
    tables: Vec<Table>,
    /// Chunks that were planned, and that were handed on to their ends.
    planned: usize,
    ended: usize,
    /// Whether the first row of all was handed on.
    begun: bool,
    items: VecDeque<Item>,
    bytes: usize,
    /// When the throttle lets more through.
    due: Instant,
    failure: Option<Error>,
    stopped: bool,
}

#[derive(Debug, Clone, Default)]
struct Table {
    planned: usize,
    ended: usize,
    begun: bool,
}

impl Flow {
    /// For so many tables. `begun` tells of which the first row was handed on in an earlier run; if it was of any, so was the
    /// first of all.
    pub(super) fn new(begun: &[bool], rows_per_second: Option<NonZeroU64>) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            is_planned: false,
            tables: begun.iter().map(|begun| Table { begun: *begun, ..Table::default() }).collect(),
            planned: 0,
            ended: 0,
            begun: begun.contains(&true),
            items: VecDeque::new(),
            bytes: 0,
            due: Instant::now(),
            failure: None,
            stopped: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), arrived: Notify::new(), rows_per_second }
    }

    /// Adds a chunk to what is to be read.
    pub(super) fn plan(&self, chunk: Chunk) -> Result<(), Stopped> {
        let mut state = self.lock();
        state.planned += 1;
        state.tables[chunk.table].planned += 1;
        state.chunks.push_back(chunk);
        self.changed.notify_all();
        if state.stopped { Err(Stopped) } else { Ok(()) }
    }

    /// That was the last chunk.
    pub(super) fn end_plan(&self) {
        self.lock().is_planned = true;
        self.changed.notify_all();
        self.arrived.notify_one();
    }

    /// The next chunk to read; `None` if there is none any more. Waits for the planner.
    pub(super) fn chunk(&self) -> Option<Chunk> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(chunk) = state.chunks.pop_front() {
                return Some(chunk);
            }
            if state.is_planned {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands on what was read; waits for its turn, for room, and for the throttle.
    pub(super) fn give(&self, item: Item) -> Result<(), Stopped> {
        let bytes = item.messages.bytes();
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Err(Stopped);
            }
            let now = Instant::now();
            let is_due = now >= state.due;
            if is_due && state.is_turn(&item) && (state.items.is_empty() || state.bytes + bytes <= BYTES_MAX) {
                break;
            }
            state = if is_due {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let wait = state.due.saturating_duration_since(now);
                self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        if let Some(rate) = self.rows_per_second {
            state.due = state.due.max(Instant::now()) + Duration::from_secs_f64(item.rows as f64 / rate.get() as f64);
        }
        state.take(item, bytes);
        self.changed.notify_all();
        self.arrived.notify_one();
        Ok(())
    }

    /// Tells the source that it is over before its time.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        // Those that follow are consequences.
        state.failure.get_or_insert(error);
        state.stopped = true;
        self.changed.notify_all();
        self.arrived.notify_one();
    }

    /// Tells those who read that nobody wants more.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until every chunk was handed on, or nobody wants more.
    pub(super) fn wait_until_read(&self) {
        let mut state = self.lock();
        while !state.stopped && !state.is_read() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What there is now.
    pub(super) fn look(&self) -> Look {
        let mut state = self.lock();
        if let Some(error) = state.failure.take() {
            return Look::Failed(error);
        }
        if let Some(item) = state.items.pop_front() {
            state.bytes -= item.messages.bytes();
            self.changed.notify_all();
            return Look::Item(Box::new(item));
        }
        if state.is_read() { Look::Over } else { Look::Nothing }
    }

    /// Waits until looking again may find something else. Cancel safe.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_read(&self) -> bool {
        self.is_planned && self.ended == self.planned
    }

    fn is_turn(&self, item: &Item) -> bool {
        let table = &self.tables[item.table];
        let begins = match item.first {
            Of::All => true,
            Of::Table => self.begun,
            Of::Nothing => table.begun || item.messages.is_empty(),
        };
        let ends = match item.last {
            Of::Nothing => true,
            Of::Table => table.ended + 1 == table.planned,
            Of::All => self.ended + 1 == self.planned,
        };
        begins && ends
    }

    fn take(&mut self, item: Item, bytes: usize) {
        let table = &mut self.tables[item.table];
        table.begun |= item.first != Of::Nothing;
        self.begun |= item.first == Of::All;
        if item.ends.is_some() {
            table.ended += 1;
            self.ended += 1;
        }
        self.bytes += bytes;
        self.items.push_back(item);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::Message;
    use crate::postgres::lsn::CommitLsn;

    fn chunk(table: usize, number: u32) -> Chunk {
        Chunk { table, place: (0, number), from: None, to: None, first: Of::Nothing, last: Of::Nothing }
    }

    /// A batch of one row, which ends its chunk.
    fn item(chunk: &Chunk) -> Item {
        let mut messages = Messages::over(Bytes::new());
        let (topic, position) = (Arc::from("t"), u128::from(chunk.place.1));
        messages.push(Message { topic, key: None, value: None, headers: 0..0, timestamp_ms: 0, position, route: 0 });
        let stretch = Stretch { from: None, to: None, shows_before: CommitLsn::ZERO, rows: 1 };
        let Chunk { table, first, last, place, .. } = *chunk;
        Item { table, messages, rows: 1, first, last, ends: Some((place, stretch)) }
    }

    /// The chunks of two tables, their first and last rows marked, handed on by three threads that begin in this order.
    fn order_of(chunks: &[Chunk]) -> Vec<(usize, u32)> {
        let flow = Arc::new(Flow::new(&[false, false], None));
        for chunk in chunks {
            flow.plan(chunk.clone()).unwrap();
        }
        flow.end_plan();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let flow = Arc::clone(&flow);
                std::thread::spawn(move || {
                    while let Some(chunk) = flow.chunk() {
                        flow.give(item(&chunk)).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut order = Vec::new();
        while let Look::Item(item) = flow.look() {
            order.push((item.table, item.ends.unwrap().0.1));
        }
        assert!(matches!(flow.look(), Look::Over));
        order
    }

    #[test]
    fn what_is_first_comes_first_and_what_is_last_comes_last() {
        let mut chunks: Vec<_> =
            (0..6).map(|number| chunk(0, number)).chain((0..5).map(|number| chunk(1, number))).collect();
        chunks[0].first = Of::All;
        chunks[5].last = Of::Table;
        chunks[6].first = Of::Table;
        chunks[10].last = Of::All;
        for _ in 0..50 {
            let order = order_of(&chunks);
            let of = |table: usize| {
                order.iter().filter(|(of, _)| *of == table).map(|(_, number)| *number).collect::<Vec<_>>()
            };
            let (first, second) = (of(0), of(1));
            assert_eq!((order[0], order[10]), ((0, 0), (1, 4)));
            assert_eq!((first[0], first[5], second[0], second[4]), (0, 5, 0, 4), "{order:?}");
        }
    }

    #[test]
    fn whoever_waits_hears_of_the_end() {
        let flow = Arc::new(Flow::new(&[false], None));
        let (first, mut second) = (chunk(0, 0), chunk(0, 1));
        second.last = Of::All;
        flow.plan(first).unwrap();
        flow.plan(second.clone()).unwrap();
        let waiting = {
            let flow = Arc::clone(&flow);
            std::thread::spawn(move || flow.give(item(&second)).is_err())
        };
        flow.stop();
        assert!(waiting.join().unwrap());
        assert!(flow.chunk().is_none());
    }

    #[test]
    fn the_throttle_lets_so_many_rows_through_in_a_second() {
        let flow = Flow::new(&[true], NonZeroU64::new(100));
        let began = Instant::now();
        for number in 0..6 {
            flow.plan(chunk(0, number)).unwrap();
            flow.give(item(&chunk(0, number))).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(50), "{:?}", began.elapsed());
    }
}
