//! One assigned partition: its queue of fetched records, the batch being filled and those that are complete.
//!
//! A record's key, value and headers are copied once, into its batch's side buffer; nothing is allocated for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};

use crate::pipeline::message::{Cut, HeaderName, Message, Messages};
use crate::sources::kafka::events::ConsumerEvents;
use crate::sources::kafka::ledger::{Extent, Fate, Ledger};
use crate::sources::kafka::note::fingerprint;
use crate::sources::kafka::options::{Cuts, Topic};

/// How many batches of a partition may be complete and not handed over.
const CLOSED_MAX: usize = 2;

/// A batch on its way out.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) messages: Messages,
    pub(super) extent: Extent,
    /// The fingerprint of its last record, if it has one.
    pub(super) last: Option<u64>,
    /// The timestamp of its first record, in milliseconds since 1970.
    first_ms: Option<i64>,
}

/// The batch that is being filled.
#[derive(Debug)]
struct Filling {
    messages: Messages,
    /// The name that its messages share: one of its own, for a thread that counts its users should not wait for another one.
    topic: Arc<str>,
    began: Instant,
    first_ms: i64,
}

/// Why a partition cannot be read on as it is.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The broker has no record at the place that was asked for.
    OutOfRange,
    /// Another record lies where the last delivered one was.
    Recreated(i64),
    /// The broker refuses.
    Refused(RDKafkaErrorCode),
}

/// One assigned partition.
pub(super) struct Lane {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    /// Which assignment this is: a partition that comes back has another.
    pub(super) assignment: u64,
    queue: PartitionQueue<ConsumerEvents>,
    /// Something arrived since the queue was found empty.
    arrived: Arc<AtomicBool>,
    /// Whether the partition is still assigned: shared with its batches that are handed over.
    pub(super) alive: Arc<AtomicBool>,
    pub(super) book: Book,
    /// Where to read again, while librdkafka has not taken the order.
    pub(super) seek: Option<i64>,
    /// Asked again at this moment what is wrong.
    pub(super) look_again: Option<Instant>,
}

/// What a partition's records become.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    /// The fingerprint that the record before the base must have, while that was not looked at.
    pub(super) check: Option<u64>,
    open: Option<Filling>,
    closed: VecDeque<Built>,
    /// The timestamps of the first records of the batches handed over.
    taken_ms: VecDeque<Option<i64>>,
    /// Since when something waits to become durable, in milliseconds since 1970.
    waiting_ms: Option<i64>,
    /// Everything there was has been read.
    pub(super) at_end: bool,
}

impl Lane {
    /// A partition whose queue wakes the poller by this flag.
    pub(super) fn new(
        (topic, partition, assignment): (Topic, i32, u64),
        queue: PartitionQueue<ConsumerEvents>,
        arrived: Arc<AtomicBool>,
        book: Book,
    ) -> Self {
        Self {
            topic,
            partition,
            assignment,
            queue,
            arrived,
            alive: Arc::new(AtomicBool::new(true)),
            book,
            seek: None,
            look_again: None,
        }
    }

    /// Whether it is worth looking into the queue.
    pub(super) fn has_arrivals(&self) -> bool {
        self.arrived.load(Ordering::Acquire)
    }

    /// Takes over at most so many of the records that arrived, unless the batch being filled is complete before. Whether more
    /// may be there.
    ///
    /// # Errors
    /// Why it cannot be read on.
    pub(super) fn fill(&mut self, records_max: usize, now: Instant, cuts: &Cuts) -> Result<bool, Trouble> {
        let Self { topic, partition, queue, arrived, book, .. } = self;
        arrived.store(false, Ordering::Release);
        for _ in 0..records_max {
            if book.closed.len() >= CLOSED_MAX {
                arrived.store(true, Ordering::Release);
                return Ok(false);
            }
            match queue.poll(Duration::ZERO) {
                None => return Ok(false),
                Some(Ok(record)) => {
                    let complete = book.complete();
                    book.put(&record, (topic, *partition), now, cuts)?;
                    // The next batch begins to age when it begins.
                    if book.complete() > complete {
                        arrived.store(true, Ordering::Release);
                        return Ok(true);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => book.reach_end((topic, *partition)),
                Some(Err(error)) => {
                    arrived.store(true, Ordering::Release);
                    match error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown) {
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                            return Err(Trouble::OutOfRange);
                        }
                        code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidMessage) => {
                            return Err(Trouble::Refused(code));
                        }
                        // A topic that is being deleted, a leader that moves: the group or the next fetch tells more.
                        code => tracing::debug!(%code, topic = &*topic.name, partition, "fetching goes on"),
                    }
                }
            }
        }
        arrived.store(true, Ordering::Release);
        Ok(true)
    }

    /// Takes over a record that came another way than by the partition's queue.
    ///
    /// # Errors
    /// Why the partition cannot be read on.
    pub(super) fn take_over(&mut self, record: &BorrowedMessage<'_>, now: Instant, cuts: &Cuts) -> Result<(), Trouble> {
        self.book.put(record, (&self.topic, self.partition), now, cuts)
    }

    /// Something is to be looked for in the queue.
    pub(super) fn wake(&self) {
        self.arrived.store(true, Ordering::Release);
    }

    /// Closes the batch that is being filled, if it is old enough.
    pub(super) fn close_due(&mut self, now: Instant, age_max: Duration, taken_max: usize) {
        if self.book.due_at(age_max, taken_max).is_some_and(|at| at <= now) {
            self.book.close((&self.topic, self.partition));
        }
    }

    /// When the batch that is being filled will be old enough to leave.
    pub(super) fn due_at(&self, age_max: Duration, taken_max: usize) -> Option<Instant> {
        self.book.due_at(age_max, taken_max)
    }
}

impl Book {
    /// The book of a partition with these accounts.
    pub(super) fn new(ledger: Ledger, check: Option<u64>) -> Self {
        Self {
            ledger,
            check,
            open: None,
            closed: VecDeque::new(),
            taken_ms: VecDeque::new(),
            waiting_ms: None,
            at_end: false,
        }
    }

    fn put(
        &mut self,
        record: &BorrowedMessage<'_>,
        of: (&Topic, i32),
        now: Instant,
        cuts: &Cuts,
    ) -> Result<(), Trouble> {
        let offset = record.offset();
        self.at_end = false;
        if let Some(expected) = self.check.take()
            && offset == self.ledger.base() - 1
        {
            let found = fingerprint(time_of(record), record.key(), record.payload());
            return if found == expected { Ok(()) } else { Err(Trouble::Recreated(offset)) };
        }
        while self.ledger.judge(offset) == Fate::Behind {
            self.close(of);
        }
        if self.ledger.judge(offset) == Fate::Known {
            return Ok(());
        }
        let time = time_of(record);
        self.waiting_ms.get_or_insert(time);
        let open = self.open.get_or_insert_with(|| Filling {
            messages: Messages::over(Bytes::new()),
            topic: Arc::from(&*of.0.name),
            began: now,
            first_ms: time,
        });
        copy(record, &mut open.messages, (&open.topic, of.0.route));
        let (bytes, is_planned) = (open.messages.bytes(), self.ledger.is_planned());
        let is_complete = self.ledger.append(offset);
        let is_full = !is_planned
            && (bytes >= cuts.bytes_max || self.ledger.open_records().is_some_and(|count| count >= cuts.records_max));
        if is_complete || is_full {
            self.close(of);
        }
        Ok(())
    }

    /// Nothing more is there. What was promised further than that ends here: its last records are gone.
    fn reach_end(&mut self, of: (&Topic, i32)) {
        self.at_end = true;
        while self.ledger.is_planned() {
            self.close(of);
        }
    }

    fn close(&mut self, (topic, partition): (&Topic, i32)) {
        let Some(extent) = self.ledger.close() else { return };
        let open = self.open.take();
        let first_ms = open.as_ref().map(|open| open.first_ms);
        let mut messages = Messages::over(Bytes::new());
        if let Some(Filling { messages: filled, began, .. }) = open {
            messages = filled;
            messages.times_mut().read_at = Some(began);
            messages.times_mut().shaped_at = Some(Instant::now());
        }
        let last = messages.len().checked_sub(1).and_then(|index| messages.at(index));
        let last = last.map(|record| fingerprint(record.timestamp_ms(), record.key(), record.value()));
        let Extent { first, last: end } = extent;
        messages.set_cut(Cut { topic: Arc::clone(&topic.name), partition, first, last: end });
        self.closed.push_back(Built { messages, extent, last, first_ms });
    }

    fn due_at(&self, age_max: Duration, taken_max: usize) -> Option<Instant> {
        let is_free = self.closed.is_empty() && self.ledger.taken() < taken_max && !self.ledger.is_planned();
        self.open.as_ref().filter(|_| is_free).map(|open| open.began + age_max)
    }

    /// Since when the batch being filled is filled, if it must reach an end that was promised.
    pub(super) fn planned_since(&self, now: Instant) -> Option<Instant> {
        let is_planned = self.ledger.is_planned() && self.closed.is_empty();
        is_planned.then(|| self.open.as_ref().map_or(now, |open| open.began))
    }

    /// The first complete batch, if it may leave.
    pub(super) fn take(&mut self, taken_max: usize) -> Option<Built> {
        if !self.ledger.may_take(taken_max) {
            return None;
        }
        self.ledger.take()?;
        let built = self.closed.pop_front()?;
        self.taken_ms.push_back(built.first_ms);
        Some(built)
    }

    /// A batch is durable at the sink; `false` if it was given up meanwhile.
    pub(super) fn acknowledge(&mut self, extent: Extent, last: Option<u64>) -> bool {
        if !self.ledger.acknowledge(extent, last) {
            return false;
        }
        self.taken_ms.pop_front();
        let taken = self.taken_ms.iter().find_map(|ms| *ms);
        let closed = || self.closed.iter().find_map(|built| built.first_ms);
        self.waiting_ms = taken.or_else(closed).or_else(|| self.open.as_ref().map(|open| open.first_ms));
        true
    }

    /// Forgets what is not acknowledged; where to read again, if that is not where it stands.
    pub(super) fn rewind(&mut self) -> Option<i64> {
        let stood_at = self.ledger.next();
        self.open = None;
        self.closed.clear();
        self.taken_ms.clear();
        let base = self.ledger.rewind();
        (stood_at != base).then_some(base)
    }

    /// How many batches are complete and not handed over.
    pub(super) fn complete(&self) -> usize {
        self.closed.len()
    }

    /// Memory of the batch that is being filled.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.messages.bytes())
    }

    /// Memory of what is not handed over.
    pub(super) fn bytes(&self) -> usize {
        self.open_bytes() + self.closed.iter().map(|built| built.messages.bytes()).sum::<usize>()
    }

    /// Since when something waits to become durable, in milliseconds since 1970.
    pub(super) fn waiting_ms(&self) -> Option<i64> {
        self.waiting_ms
    }
}

fn copy(record: &BorrowedMessage<'_>, messages: &mut Messages, (topic, route): (&Arc<str>, u16)) {
    let mark = messages.header_mark();
    if let Some(headers) = record.headers() {
        for header in headers.iter() {
            let name = messages.keep(header.key.as_bytes());
            let value = header.value.map(|value| messages.keep(value));
            messages.header(HeaderName::Span(name), value);
        }
    }
    let key = record.key().map(|key| messages.keep(key));
    let value = record.payload().map(|value| messages.keep(value));
    messages.push(Message {
        topic: Arc::clone(topic),
        key,
        value,
        headers: mark..messages.header_mark(),
        timestamp_ms: time_of(record),
        position: u128::try_from(record.offset()).unwrap_or_default(),
        route,
    });
}

/// When it was written, in milliseconds since 1970; 0 in a topic that does not say.
fn time_of(record: &BorrowedMessage<'_>) -> i64 {
    record.timestamp().to_millis().unwrap_or_default()
}
