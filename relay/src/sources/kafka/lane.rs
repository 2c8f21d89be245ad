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

use crate::pipeline::message::{Cut, HeaderName, Message, Messages, Part};
use crate::sources::kafka::events::ConsumerEvents;
use crate::sources::kafka::ledger::{Extent, Fate, Ledger};
use crate::sources::kafka::note::fingerprint;
use crate::sources::kafka::options::{Cuts, Topic};

/// How many batches of a partition may be complete and not handed over.
const CLOSED_MAX: usize = 2;

/// Records and bytes of a part of a batch: as many as a processor keeps at hand from reading to shaping them.
const PART_RECORDS: usize = 4096;
const PART_BYTES: usize = 2 << 20;

/// How many parts of a partition's batches may wait. More would only be memory.
const PARTS_MAX: usize = 4;

/// A batch on its way out, or a part of one.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) messages: Messages,
    /// Of the batch; of a part that is not the last, its own.
    pub(super) extent: Extent,
    /// The fingerprint of its last record, if it has one.
    pub(super) last: Option<u64>,
    /// The timestamp of the batch's first record, in milliseconds since 1970.
    first_ms: Option<i64>,
}

/// The batch that is being filled.
#[derive(Debug)]
struct Filling {
    messages: Messages,
    /// What of it was handed over, or waits to be.
    part: Part,
    /// The memory of that, as it was read.
    parted_bytes: usize,
    /// The name that its messages share: one of the part's own, for a thread that counts its users should not wait for another one.
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
    /// How its batches are cut.
    pub(super) cuts: Cuts,
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
    /// What waits to be handed over: complete batches, and parts of them and of the one being filled.
    closed: VecDeque<Built>,
    /// How many of these are parts with more to follow.
    parts: usize,
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
        cuts: Cuts,
        queue: PartitionQueue<ConsumerEvents>,
        arrived: Arc<AtomicBool>,
        book: Book,
    ) -> Self {
        Self {
            topic,
            partition,
            assignment,
            cuts,
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
    pub(super) fn fill(&mut self, records_max: usize, now: Instant) -> Result<bool, Trouble> {
        let Self { topic, partition, cuts, queue, arrived, book, .. } = self;
        arrived.store(false, Ordering::Release);
        for _ in 0..records_max {
            if book.is_full() {
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
    pub(super) fn take_over(&mut self, record: &BorrowedMessage<'_>, now: Instant) -> Result<(), Trouble> {
        self.book.put(record, (&self.topic, self.partition), now, &self.cuts)
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
            parts: 0,
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
            part: Part::default(),
            parted_bytes: 0,
            topic: Arc::from(&*of.0.name),
            began: now,
            first_ms: time,
        });
        // This record is one more of the batch: what is there is not the last of it.
        if of.0.in_parts.is_some() && open.is_part() {
            self.closed.push_back(open.part_off((&of.0.name, of.1)));
            self.parts += 1;
        }
        copy(record, &mut open.messages, (&open.topic, of.0.route));
        let (bytes, is_planned) = (open.bytes(), self.ledger.is_planned());
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
        let (mut messages, mut part) = (Messages::over(Bytes::new()), Part::default());
        if let Some(filling) = open {
            (messages, part) = (filling.messages, filling.part);
            messages.times_mut().read_at = Some(filling.began);
            messages.times_mut().shaped_at = Some(Instant::now());
            if !part.begins() {
                messages.times_mut().committed_us = Some(filling.first_ms.saturating_mul(1000));
            }
        }
        let last = messages.len().checked_sub(1).and_then(|index| messages.at(index));
        let last = last.map(|record| fingerprint(record.timestamp_ms(), record.key(), record.value()));
        let first = if part.begins() { extent.first } else { first_of(&messages).unwrap_or(extent.last) };
        messages.set_cut(Cut { topic: Arc::clone(&topic.name), partition, first, last: extent.last, part });
        self.closed.push_back(Built { messages, extent, last, first_ms });
    }

    fn due_at(&self, age_max: Duration, taken_max: usize) -> Option<Instant> {
        let is_free = self.complete() == 0 && self.ledger.taken() < taken_max && !self.ledger.is_planned();
        self.open.as_ref().filter(|_| is_free).map(|open| open.began + age_max)
    }

    /// Since when the batch being filled is filled, if it must reach an end that was promised.
    pub(super) fn planned_since(&self, now: Instant) -> Option<Instant> {
        let is_planned = self.ledger.is_planned() && self.complete() == 0;
        is_planned.then(|| self.open.as_ref().map_or(now, |open| open.began))
    }

    /// The first complete batch, or a part of the one that is next, if it may leave.
    pub(super) fn take(&mut self, taken_max: usize) -> Option<Built> {
        // Nothing becomes durable by a part.
        if self.closed.front().is_some_and(|built| built.messages.part().more) {
            self.parts -= 1;
            return self.closed.pop_front();
        }
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
        self.parts = 0;
        self.taken_ms.clear();
        let base = self.ledger.rewind();
        (stood_at != base).then_some(base)
    }

    /// Whether nothing more is read before something is handed over.
    fn is_full(&self) -> bool {
        self.complete() >= CLOSED_MAX || self.parts >= PARTS_MAX
    }

    /// Whether as many parts wait as may, and nothing is before them.
    pub(super) fn waits_to_part(&self) -> bool {
        self.parts >= PARTS_MAX && self.closed.front().is_some_and(|built| built.messages.part().more)
    }

    /// Whether parts of a batch were handed over that is not complete, or whose last part is still here.
    pub(super) fn has_begun(&self) -> bool {
        let is_part = |part: Part| !part.is_whole();
        self.open.as_ref().is_some_and(|open| is_part(open.part))
            || self.closed.iter().any(|built| is_part(built.messages.part()))
    }

    /// How many batches are complete and not handed over.
    pub(super) fn complete(&self) -> usize {
        self.closed.len() - self.parts
    }

    /// Memory of the batch that is being filled, as it was read, with the parts of it that were handed over.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, Filling::bytes)
    }

    /// Memory of what is not handed over.
    pub(super) fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.messages.bytes());
        open + self.closed.iter().map(|built| built.messages.bytes()).sum::<usize>()
    }

    /// Since when something waits to become durable, in milliseconds since 1970.
    pub(super) fn waiting_ms(&self) -> Option<i64> {
        self.waiting_ms
    }
}

impl Filling {
    /// Its memory as it was read, with that of the parts that left.
    fn bytes(&self) -> usize {
        self.parted_bytes + self.messages.bytes()
    }

    /// Whether what it holds is as large as a part is.
    fn is_part(&self) -> bool {
        self.messages.len() >= PART_RECORDS || self.messages.bytes() >= PART_BYTES
    }

    /// Parts what it holds off.
    fn part_off(&mut self, (topic, partition): (&Arc<str>, i32)) -> Built {
        let mut messages = self.messages.take();
        messages.times_mut().read_at = Some(self.began);
        messages.times_mut().shaped_at = Some(Instant::now());
        let last = messages.len().checked_sub(1).and_then(|index| messages.at(index)).map(|record| record.offset());
        let (first, last) = (first_of(&messages).unwrap_or_default(), last.unwrap_or_default());
        let part = Part { more: true, ..self.part };
        messages.set_cut(Cut { topic: Arc::clone(topic), partition, first, last, part });
        self.part.before += messages.len();
        self.part.bytes_before += messages.payload_bytes();
        self.parted_bytes += messages.bytes();
        self.topic = Arc::from(&**topic);
        Built { messages, extent: Extent { first, last }, last: None, first_ms: None }
    }
}

fn first_of(messages: &Messages) -> Option<i64> {
    messages.at(0).map(|record| record.offset())
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
