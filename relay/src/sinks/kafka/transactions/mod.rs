//! Exactly once into Kafka: events and the note of how far they reach become visible together, or not at all.
//!
//! Guarantees: a batch is only ever committed with the note that covers it; between two transactions nothing is sent; what a
//! receipt calls durable is committed. Opening first takes the transactional id over, which ends whatever another producer of
//! that id has begun, and only then reads the notes: none can be added behind the reader's back.
//!
//! A transaction collects batches for at most the interval, or until the stream has nothing more to add, and is committed by a
//! task of its own, whoever waits for what. While it is being committed nothing is accepted: a producer has one transaction
//! at a time.

mod claim;
mod ending;
mod native;
mod within;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::pipeline::{End, Error, Kind, Progress, Receipt, ReceiptSender};
use crate::sinks::kafka::await_room;
use crate::sinks::kafka::deliveries::Deliveries;
use crate::sinks::kafka::producer::Producer;
use crate::sinks::kafka::progress::PARTITION;

use claim::Claim;

/// How many times longer than its commit took a transaction stays open at least, when batches follow each other closely: a
/// stream that pauses for a moment shall not spend its time on committing.
const OPEN_PER_COMMIT: u32 = 3;

/// How transactions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionOptions {
    /// The transactional id: of all producers of one id, the newest is the only one that may write.
    pub id: String,
    /// How long a transaction collects at most.
    pub interval: Duration,
    /// After how long the brokers give up a transaction that nobody ends.
    pub timeout: Duration,
}

/// The transactions of one sink.
pub(super) struct Transactions {
    shared: Arc<Shared>,
    /// Who this producer is for others of its id.
    claim: Claim,
    committer: JoinHandle<()>,
}

/// What the sink and the committing task share.
struct Shared {
    /// Whoever holds it has the producer to itself.
    open: Arc<Turn<Open>>,
    schedule: watch::Sender<Schedule>,
    /// The newest note that is committed.
    newest: Mutex<Option<Progress>>,
    deliveries: Arc<Deliveries>,
    sequence: Arc<AtomicU64>,
    progress_topic: String,
    bytes_max: usize,
    interval: Duration,
    /// Nobody waits for an outcome any more.
    gone: Arc<AtomicBool>,
}

/// When to commit.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// None while nothing is in the transaction.
    commit_at: Option<Instant>,
    /// Not earlier, unless it is time: see [`OPEN_PER_COMMIT`].
    rest_from: Instant,
}

/// The transaction that is begun, which may hold nothing yet.
pub(super) struct Open {
    pub(super) producer: Arc<Producer>,
    /// What was accepted: the receipts of the deliveries, and those that wait for the commit.
    waiting: Vec<(Receipt, ReceiptSender)>,
    /// The newest note of what was accepted, and whether it was sent.
    note: Option<Progress>,
    note_sent: bool,
    bytes: usize,
    /// A batch is being sent, or was given up halfway.
    half: bool,
    /// The producer is beyond use.
    broken: Option<Broken>,
}

/// Why a producer is beyond use.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// The brokers know a newer producer of the id.
    pub(super) fenced: bool,
    pub(super) reason: String,
}

impl Open {
    fn new(producer: Arc<Producer>) -> Self {
        Self { producer, waiting: Vec::new(), note: None, note_sent: true, bytes: 0, half: false, broken: None }
    }

    /// Whether nothing was sent since the last commit.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.half
    }

    /// Another producer goes on, whose first transaction is begun.
    pub(super) fn renew(&mut self, producer: Arc<Producer>) {
        *self = Self::new(producer);
    }
}

/// What transactions need of their sink.
pub(super) struct Parts<'a> {
    pub(super) options: &'a TransactionOptions,
    pub(super) claim: Claim,
    pub(super) producer: Arc<Producer>,
    pub(super) deliveries: &'a Arc<Deliveries>,
    pub(super) sequence: &'a Arc<AtomicU64>,
    pub(super) progress_topic: &'a str,
    /// What a transaction holds at most, but for its last batch.
    pub(super) bytes_max: usize,
}

impl Transactions {
    /// Goes on with a producer whose first transaction is begun.
    pub(super) fn start(parts: Parts<'_>) -> Self {
        let shared = Arc::new(Shared {
            open: Arc::new(Turn::new(Open::new(parts.producer))),
            schedule: watch::Sender::new(Schedule { commit_at: None, rest_from: Instant::now() }),
            newest: Mutex::default(),
            deliveries: Arc::clone(parts.deliveries),
            sequence: Arc::clone(parts.sequence),
            progress_topic: parts.progress_topic.to_owned(),
            bytes_max: parts.bytes_max,
            interval: parts.options.interval,
            gone: Arc::default(),
        });
        let committer = tokio::spawn(commit_when_due(Arc::clone(&shared)));
        Self { shared, claim: parts.claim, committer }
    }

    /// The newest note when the sink was opened.
    fn found(&self, note: Option<Progress>) {
        *self.shared.newest() = note;
    }

    /// The newest note that is committed.
    pub(super) fn newest(&self) -> Option<Progress> {
        self.shared.newest().clone()
    }

    /// The stream has nothing more to add now.
    pub(super) fn rest(&self) {
        self.shared.schedule.send_if_modified(|schedule| {
            let rest_at = schedule.rest_from.max(Instant::now());
            let sooner = schedule.commit_at.is_some_and(|at| at > rest_at);
            if sooner {
                schedule.commit_at = Some(rest_at);
            }
            sooner
        });
    }

    /// What is in the transaction failed: those who wait for it shall hear of it.
    fn hurry(&self) {
        self.shared.schedule.send_modify(|schedule| schedule.commit_at = Some(Instant::now()));
    }

    /// Waits for the producer: a commit that is under way ends first.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<Open> {
        Arc::clone(&self.shared.open).lock_owned().await
    }

    /// Says that a batch is about to be sent. Until it is [`Transactions::accept`]ed whole, nothing can be committed.
    ///
    /// # Errors
    /// The producer is beyond use.
    pub(super) fn enter(&self, open: &mut Open) -> Result<(), Error> {
        if let Some(broken) = &open.broken {
            return Err(broken.clone().into());
        }
        self.shared.give_up_half(open);
        open.half = true;
        Ok(())
    }

    /// Nothing of the batch that was about to be sent was.
    pub(super) fn leave(open: &mut Open) {
        open.half = false;
    }

    /// The batch was sent whole; `note` covers it. The receipt is that of the commit.
    pub(super) async fn accept(
        &self,
        open: &mut Open,
        (sent, bytes): (Option<Receipt>, usize),
        note: Option<Progress>,
    ) -> Result<Receipt, Error> {
        let first = open.waiting.is_empty();
        if let Some(note) = note {
            open.note = Some(note);
            open.note_sent = false;
            if first {
                // With the events: the brokers then hear of all partitions of the transaction at once.
                self.shared.send_note(open).await?;
            }
        }
        let (sender, receipt) = Receipt::pending();
        open.waiting.push((sent.unwrap_or_else(Receipt::done), sender));
        open.bytes += bytes;
        open.half = false;
        let now = Instant::now();
        let full = open.bytes >= self.shared.bytes_max;
        self.shared.schedule.send_if_modified(|schedule| {
            if full {
                schedule.commit_at = Some(now);
            } else if first {
                schedule.commit_at = Some(now + self.shared.interval);
            }
            full || first
        });
        Ok(receipt)
    }

    /// Sends a note that covers no batch.
    pub(super) async fn record(&self, open: &mut Open, note: &Progress) -> Result<Receipt, Error> {
        let sent = self.shared.send(&open.producer, note).await?;
        self.accept(open, (Some(sent), 0), None).await
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
        self.committer.abort();
    }
}

impl Shared {
    fn newest(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was begun and given up would be committed without a note that covers it.
    fn give_up_half(&self, open: &mut Open) {
        if std::mem::take(&mut open.half) {
            self.deliveries.give_up("a batch was given up before all of it was sent");
        }
    }

    /// Sends the newest note, if it was not.
    async fn send_note(&self, open: &mut Open) -> Result<(), Error> {
        if let Some(note) = open.note.clone()
            && !open.note_sent
        {
            let receipt = self.send(&open.producer, &note).await?;
            open.note_sent = true;
            // Nobody waits for it apart, but the commit does.
            let (nobody, _) = Receipt::pending();
            open.waiting.push((receipt, nobody));
        }
        Ok(())
    }

    async fn send(&self, producer: &Producer, note: &Progress) -> Result<Receipt, Error> {
        let bytes = note.key.len() + note.value.len();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (mut accepting, receipt) = self.deliveries.begin(sequence, vec![0], bytes).await;
        let place = (self.progress_topic.as_str(), PARTITION);
        while let Err(not_taken) = producer.take_for(place, (&note.key, &note.value), accepting.ticket()) {
            if !await_room(not_taken, &self.deliveries).await? {
                return Ok(receipt);
            }
        }
        accepting.accepted();
        Ok(receipt)
    }
}

/// Commits as often as it is time.
async fn commit_when_due(shared: Arc<Shared>) {
    let mut schedule = shared.schedule.subscribe();
    loop {
        let at = schedule.borrow_and_update().commit_at;
        tokio::select! {
            changed = schedule.changed() => if changed.is_err() { return } else { continue },
            () = due(at) => {}
        }
        let mut open = shared.open.lock().await;
        let now = Instant::now();
        // Another transaction may be meant by now.
        if schedule.borrow_and_update().commit_at.is_some_and(|at| at <= now) {
            shared.end(&mut open).await;
        }
    }
}

/// Waits for the moment, if there is one.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        let kind = if broken.fenced { Kind::Fenced } else { Kind::Broken };
        Self::new(End::Sink, kind, "the transaction cannot go on").because(broken.reason)
    }
}
