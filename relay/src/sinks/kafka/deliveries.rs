//! Who waits for what: a fixed ring of batches, each with a counter of messages that are not durable yet.
//!
//! A delivery costs one atomic subtraction; locks and allocations are for errors and for a batch's end. When a batch's
//! counter reaches zero its receipt resolves. The ring also counts memory: that is where back-pressure begins.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::pipeline::{Durable, End, Error, Kind, Receipt, ReceiptSender, Refused};
use crate::sinks::kafka::refusal::Refusal;
use crate::sinks::kafka::refusals::{Refusals, Turn};
use crate::telemetry::Metrics;

/// Batches that may be accepted and not durable at once. A power of two; far above what a pump keeps in flight.
const BATCHES: usize = 1024;

const _: () = assert!(usize::BITS >= 64, "a ticket packs two 32-bit numbers into a pointer");

/// A message's place: the batch's slot in the ring and its index in the batch. Travels through librdkafka as a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: u32,
    index: u32,
}

impl Ticket {
    pub(super) fn pack(self) -> usize {
        (self.slot as usize) << 32 | self.index as usize
    }

    pub(super) fn unpack(packed: usize) -> Self {
        Self { slot: (packed >> 32) as u32, index: packed as u32 }
    }
}

/// Why a message was not delivered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker will never take this very message.
    Refused(Refusal),
    /// It may or may not have arrived, or shared its request with a message that was refused.
    Other(Kind, String),
}

/// What is accepted and not yet durable.
#[derive(Debug)]
pub(super) struct Deliveries {
    slots: Box<[Slot]>,
    bytes: AtomicUsize,
    bytes_max: usize,
    room: Notify,
    /// Everything in flight stands or falls together, so that of several failures a refusal is the one that matters.
    atomic: bool,
    troubled: AtomicBool,
    /// Progress records that are not settled.
    notes: AtomicUsize,
    /// Whether all that is wrong is that a batch was given up: the producer itself goes on.
    given_up: AtomicBool,
    /// The first failure since the last reset: those that follow are its consequences.
    trouble: Mutex<Option<Trouble>>,
    /// What brokers refused.
    pub(super) refusals: Refusals,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Messages not settled, plus one while the batch is still being accepted.
    remaining: AtomicU32,
    batch: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    sender: ReceiptSender,
    bytes: usize,
    is_note: bool,
    /// The batch's number.
    sequence: u64,
    /// What names each of its messages.
    positions: Vec<u128>,
    refused: Vec<Refused>,
    failed: Option<Trouble>,
}

/// A failure as the pump hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    kind: Kind,
    reason: String,
    help: Option<String>,
}

impl Deliveries {
    pub(super) fn new(bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            slots: (0..BATCHES).map(|_| Slot::default()).collect(),
            bytes: AtomicUsize::new(0),
            bytes_max,
            room: Notify::new(),
            atomic: false,
            troubled: AtomicBool::new(false),
            notes: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            trouble: Mutex::new(None),
            refusals: Refusals::default(),
            metrics,
        }
    }

    /// The same for a sink whose messages become durable together, by transactions.
    pub(super) fn atomic(self) -> Self {
        Self { atomic: true, ..self }
    }

    /// Whether messages become durable together.
    pub(super) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// Where it counts.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens the batch number `sequence` of messages with these positions as soon as there is room for its `bytes`.
    pub(super) async fn begin(&self, sequence: u64, positions: Vec<u128>, bytes: usize) -> (Accepting<'_>, Receipt) {
        let messages = u32::try_from(positions.len()).expect("spans address less than 2 GiB, so messages are fewer");
        let slot = (sequence % BATCHES as u64) as u32;
        if !self.has_room(slot, bytes) {
            self.metrics.kafka.queue_waits.inc();
            while !self.has_room(slot, bytes) {
                // A permit is kept if room was made meanwhile; only the pump waits here, and it waits once.
                self.room.notified().await;
            }
        }
        let (sender, receipt) = Receipt::pending();
        let total = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.metrics.kafka.queue_bytes.set(total as i64);
        let place = &self.slots[slot as usize];
        *place.lock() = Some(Open::new(sender, sequence, positions, bytes));
        place.remaining.store(messages + 1, Ordering::Release);
        (Accepting { deliveries: self, slot, accepted: 0, messages }, receipt)
    }

    /// The same for a progress record, which is sent although a batch was given up: see [`Deliveries::must_purge`].
    pub(super) async fn begin_note(&self, sequence: u64, bytes: usize) -> (Accepting<'_>, Receipt) {
        let (accepting, receipt) = self.begin(sequence, vec![0], bytes).await;
        if let Some(batch) = self.slots[accepting.slot as usize].lock().as_mut() {
            batch.is_note = true;
            self.notes.fetch_add(1, Ordering::AcqRel);
        }
        (accepting, receipt)
    }

    /// Whether to forget what waits in the queue, behind a failure. Not a progress record that the producer goes on to send.
    pub(super) fn must_purge(&self) -> bool {
        self.is_troubled() && !(self.given_up.load(Ordering::Acquire) && self.notes.load(Ordering::Acquire) > 0)
    }

    /// The message of this ticket is durable.
    pub(super) fn delivered(&self, ticket: Ticket) {
        self.settle(ticket.slot, 1);
    }

    /// The message of this ticket, with this topic and key, is durable although one before it failed.
    pub(super) fn delivered_in_trouble(&self, ticket: Ticket, record: (&str, Option<&[u8]>)) {
        if let Some(turn) = self.turn(ticket) {
            self.refusals.taken(record, turn);
        }
    }

    /// The message of this ticket, with this topic and key, is not, and the producer must be reset before it takes more.
    pub(super) fn failed(&self, ticket: Ticket, record: (&str, Option<&[u8]>), failure: Failure) {
        let own = match &failure {
            Failure::Refused(refusal) => Trouble {
                kind: Kind::Refused,
                reason: refusal.reason.clone(),
                help: (!refusal.help.is_empty()).then(|| refusal.help.clone()),
            },
            Failure::Other(kind, reason) => Trouble { kind: *kind, reason: reason.clone(), help: None },
        };
        self.given_up.store(false, Ordering::Release);
        let first = self.note(own);
        if let Some(batch) = self.slots[ticket.slot as usize].lock().as_mut() {
            match failure {
                Failure::Refused(refusal) => {
                    self.metrics.kafka.refused.inc();
                    let index = ticket.index as usize;
                    let mut refused = Refused::new(index, refusal.reason.clone());
                    refused.help = (!refusal.help.is_empty()).then(|| refusal.help.clone());
                    batch.refused.push(refused);
                    let position = batch.positions.get(index).copied().unwrap_or_default();
                    self.refusals.remember(position, record, (batch.sequence, ticket.index), refusal);
                }
                Failure::Other(..) => {
                    self.metrics.kafka.delivery_errors.inc();
                    batch.failed.get_or_insert(first);
                }
            }
        }
        self.settle(ticket.slot, 1);
    }

    fn turn(&self, ticket: Ticket) -> Option<Turn> {
        let slot = self.slots[ticket.slot as usize].lock();
        slot.as_ref().map(|batch| (batch.sequence, ticket.index))
    }

    /// Whether a delivery failed since the last [`Deliveries::forget_trouble`].
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    /// What stands for a batch that cannot be accepted, because one before it failed: a receipt that failed as well.
    pub(super) fn follow(&self) -> Option<Receipt> {
        if !self.is_troubled() {
            return None;
        }
        let trouble = self.trouble().clone()?;
        let (sender, receipt) = Receipt::pending();
        sender.resolve(Err(trouble.into()));
        Some(receipt)
    }

    pub(super) fn forget_trouble(&self) {
        self.given_up.store(false, Ordering::Release);
        self.trouble().take();
        self.troubled.store(false, Ordering::Release);
    }

    /// Something failed that is no message's fault.
    pub(super) fn give_up(&self, reason: &str) {
        self.note(Trouble { kind: Kind::Unavailable, reason: reason.to_owned(), help: None });
    }

    /// A topic takes nothing from the relay, as this refusal says.
    pub(super) fn forbidden(&self, topic: &str, refusal: Refusal) {
        let Refusal { reason, help, .. } = refusal.clone();
        self.refusals.forbid(topic, refusal);
        self.note(Trouble { kind: Kind::Refused, reason, help: (!help.is_empty()).then_some(help) });
    }

    /// Whether a broker refused the producer as an old one.
    pub(super) fn is_fenced(&self) -> bool {
        self.trouble().as_ref().is_some_and(|trouble| trouble.kind == Kind::Fenced)
    }

    /// The first failure since the last reset, as the pump hears of it.
    pub(super) fn trouble_error(&self) -> Error {
        let trouble = self.trouble().clone();
        trouble.map_or_else(|| Error::new(End::Sink, Kind::Unavailable, "the transaction was given up"), Error::from)
    }

    /// Notes a failure and returns the first one, or the refusal that led to it.
    fn note(&self, trouble: Trouble) -> Trouble {
        let mut noted = self.trouble();
        let first = noted.get_or_insert_with(|| trouble.clone());
        // What was purged because of it may be reported before it.
        if self.atomic && trouble.kind == Kind::Refused && first.kind == Kind::Unavailable {
            *first = trouble;
        }
        self.troubled.store(true, Ordering::Release);
        first.clone()
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, slot: u32, bytes: usize) -> bool {
        let taken = self.bytes.load(Ordering::Acquire);
        // A batch beyond the bound passes when it is alone, or it would never pass.
        (taken == 0 || taken + bytes <= self.bytes_max) && self.slots[slot as usize].lock().is_none()
    }

    fn settle(&self, slot: u32, count: u32) {
        let place = &self.slots[slot as usize];
        if place.remaining.fetch_sub(count, Ordering::AcqRel) != count {
            return;
        }
        let Some(batch) = place.lock().take() else { return };
        if batch.is_note {
            self.notes.fetch_sub(1, Ordering::AcqRel);
        }
        let total = self.bytes.fetch_sub(batch.bytes, Ordering::AcqRel) - batch.bytes;
        self.metrics.kafka.queue_bytes.set(total as i64);
        self.room.notify_one();
        let (sender, fate) = batch.conclude();
        sender.resolve(fate);
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn new(sender: ReceiptSender, sequence: u64, positions: Vec<u128>, bytes: usize) -> Self {
        Self { sender, bytes, is_note: false, sequence, positions, refused: Vec::new(), failed: None }
    }

    fn conclude(mut self) -> (ReceiptSender, Result<Durable, Error>) {
        // Partitions report in their own order.
        self.refused.sort_unstable_by_key(|refused| refused.index);
        let fate = match (self.failed, self.refused.first()) {
            (None, _) => Ok(Durable { refused: self.refused, split: None }),
            // A refusal stops the producer, so its neighbours fail with it: the refusal is what a person must see.
            (Some(_), Some(first)) => {
                let (reason, help) = (first.reason.clone(), first.help.clone());
                Err(Trouble { kind: Kind::Refused, reason, help }.into())
            }
            (Some(trouble), None) => Err(trouble.into()),
        };
        (self.sender, fate)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let error = Self::new(End::Sink, trouble.kind, trouble.reason);
        match trouble.help {
            Some(help) => error.with_help(help),
            None if trouble.kind == Kind::Refused => {
                error.with_help("The stream waits here, so that order holds; make the broker accept the record.")
            }
            None => error,
        }
    }
}

/// A batch that is being accepted. Dropped before all was accepted, the rest counts as failed.
#[derive(Debug)]
pub(super) struct Accepting<'a> {
    deliveries: &'a Deliveries,
    slot: u32,
    accepted: u32,
    messages: u32,
}

impl Accepting<'_> {
    /// The ticket of the next message.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket { slot: self.slot, index: self.accepted }
    }

    /// The producer took the message of the present ticket.
    pub(super) fn accepted(&mut self) {
        self.accepted += 1;
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        let missing = self.messages - self.accepted;
        if missing > 0 {
            let reason = "the batch was given up before all of it was accepted".into();
            self.deliveries.given_up.fetch_or(!self.deliveries.is_troubled(), Ordering::AcqRel);
            // What is accepted next would overtake what is missing here.
            let first = self.deliveries.note(Trouble { kind: Kind::Unavailable, reason, help: None });
            if let Some(batch) = self.deliveries.slots[self.slot as usize].lock().as_mut() {
                batch.failed.get_or_insert(first);
            }
        }
        self.deliveries.settle(self.slot, missing + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::sinks::kafka::refusal::Class;

    fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn refusal(reason: &str) -> Failure {
        Failure::Refused(Refusal::new(Class::Broker, reason.into(), String::new()))
    }

    fn deliveries(bytes_max: usize) -> Deliveries {
        Deliveries::new(bytes_max, Metrics::new())
    }

    /// Accepts a whole batch and returns its tickets.
    fn accept(deliveries: &Deliveries, sequence: u64, messages: u32, bytes: usize) -> (Vec<Ticket>, Receipt) {
        let (mut accepting, receipt) =
            now_or_never(deliveries.begin(sequence, vec![0; messages as usize], bytes)).expect("there is room");
        let mut tickets = Vec::new();
        for _ in 0..messages {
            tickets.push(Ticket::unpack(accepting.ticket().pack()));
            accepting.accepted();
        }
        (tickets, receipt)
    }

    #[test]
    fn a_receipt_resolves_only_with_the_last_message() {
        let deliveries = deliveries(100);
        let (tickets, mut receipt) = accept(&deliveries, 0, 2, 10);
        deliveries.delivered(tickets[1]);
        assert!(now_or_never(&mut receipt).is_none());
        deliveries.delivered(tickets[0]);
        assert_eq!(now_or_never(receipt).expect("resolved").expect("durable"), Durable::default());
        assert!(!deliveries.is_troubled());
    }

    #[test]
    fn a_batch_delivered_while_it_is_accepted_waits_for_its_last_message() {
        let deliveries = deliveries(100);
        let (mut accepting, mut receipt) = now_or_never(deliveries.begin(0, vec![0; 2], 10)).expect("room");
        deliveries.delivered(accepting.ticket());
        accepting.accepted();
        assert!(now_or_never(&mut receipt).is_none());
        deliveries.delivered(accepting.ticket());
        accepting.accepted();
        assert!(now_or_never(&mut receipt).is_none(), "the batch is still open");
        drop(accepting);
        assert!(now_or_never(receipt).expect("resolved").is_ok());
    }

    #[test]
    fn refused_messages_are_named_in_order_and_stop_the_flow() {
        let deliveries = deliveries(100);
        let (tickets, receipt) = accept(&deliveries, 0, 3, 10);
        deliveries.failed(tickets[2], ("t", None), refusal("late"));
        deliveries.failed(tickets[0], ("t", None), refusal("early"));
        deliveries.delivered(tickets[1]);
        let durable = now_or_never(receipt).expect("resolved").expect("all were delivered or refused");
        let indexes: Vec<usize> = durable.refused.iter().map(|refused| refused.index).collect();
        assert_eq!(indexes, [0, 2]);
        assert!(deliveries.is_troubled());
    }

    #[test]
    fn a_batch_given_up_midway_settles_when_its_accepted_part_does() {
        let deliveries = deliveries(100);
        let (mut accepting, mut receipt) = now_or_never(deliveries.begin(0, vec![0; 3], 10)).expect("room");
        let ticket = accepting.ticket();
        accepting.accepted();
        drop(accepting);
        assert!(now_or_never(&mut receipt).is_none());
        deliveries.delivered(ticket);
        let error = now_or_never(receipt).expect("resolved").expect_err("two were never accepted");
        assert_eq!(error.kind(), Kind::Unavailable);
    }

    #[test]
    fn what_fails_after_a_refusal_fails_because_of_it() {
        let deliveries = deliveries(100);
        let (before, front) = accept(&deliveries, 0, 1, 10);
        let (tickets, refused) = accept(&deliveries, 1, 1, 10);
        deliveries.failed(tickets[0], ("t", None), refusal("too large"));
        deliveries.failed(before[0], ("t", None), Failure::Other(Kind::Unavailable, "purged".into()));
        assert_eq!(now_or_never(refused).expect("resolved").expect("decided").refused.len(), 1);
        for receipt in [front, deliveries.follow().expect("nothing is accepted now")] {
            let error = now_or_never(receipt).expect("resolved").expect_err("not durable");
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Refused, "too large"));
        }
        deliveries.forget_trouble();
        assert!(deliveries.follow().is_none());
    }

    #[test]
    fn a_batch_waits_for_room_and_a_larger_one_passes_alone() {
        let deliveries = deliveries(100);
        let (tickets, _receipt) = accept(&deliveries, 0, 1, 400);
        let mut waiting = std::pin::pin!(deliveries.begin(1, vec![0], 1));
        assert!(now_or_never(&mut waiting).is_none());
        deliveries.delivered(tickets[0]);
        assert!(now_or_never(&mut waiting).is_some());
    }

    #[test]
    fn a_full_ring_waits_for_its_oldest_batch() {
        let deliveries = deliveries(usize::MAX);
        let held: Vec<_> = (0..BATCHES as u64).map(|sequence| accept(&deliveries, sequence, 1, 1)).collect();
        let mut waiting = std::pin::pin!(deliveries.begin(BATCHES as u64, vec![0], 1));
        assert!(now_or_never(&mut waiting).is_none());
        deliveries.delivered(held[1].0[0]);
        assert!(now_or_never(&mut waiting).is_none(), "its slot is the oldest one's");
        deliveries.delivered(held[0].0[0]);
        assert!(now_or_never(&mut waiting).is_some());
    }
}
