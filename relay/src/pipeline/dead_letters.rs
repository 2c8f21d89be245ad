//! Gives up, durably, what a worker's service will never take, so that everything else goes on: a sink around a sink.
//!
//! Guarantees: a record is left out of what is sent only after it is durable among the [`Letters`], and before its offset
//! is committed. Only what the record itself causes makes a letter of it, never an outage. A record that comes again and is
//! a letter, or was one, is left out again, so that the batch that it was in is the same again. Where keys keep their order,
//! later records of a letter's key become letters too, until nothing is before them any more. What is replayed goes through
//! the same sink, in the order of each key, as a batch that is written down before it is sent: after a crash the same batch
//! is sent again under the same name.

mod index;
mod letters;
mod replay;
mod rests;
mod sort;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::pipeline::assigned::Assigned;
use crate::pipeline::dead_letters::rests::Rests;
use crate::pipeline::dead_letters::sort::{Failed, Origin, condemned, known};
use crate::pipeline::error::{End, Error, Kind};
use crate::pipeline::message::Messages;
use crate::pipeline::sink::{AWAITED, Durable, Receipt, Refused, Sink};
use crate::pipeline::source::Progress;
use crate::pipeline::status::Status;
use crate::pipeline::times::now_ms;
use crate::telemetry::Metrics;

pub use index::{Index, ORDER_BYTES_MAX, ORDER_LETTERS_MAX, State, Work};
pub use letters::{Identity, Letter, Letters, News, Noted, Order, Place, Returned, Stays, Step, Verb};

/// How long the stream goes on before orders have their turn again, if one could not be followed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What is read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of its route, for the sink.
    pub route: u16,
    /// Whether later records of a key wait for an earlier one that became a letter.
    pub ordered: bool,
}

/// How a [`DeadLetters`] behaves, and where it tells of itself.
#[derive(Debug, Clone)]
pub struct DeadLetterOptions {
    /// What is read.
    pub topics: Vec<Delivered>,
    /// How often the service may refuse a record before it is a letter; at least once. What can be told before anything is
    /// sent is told once.
    pub attempts: u32,
    /// Most letters that are not settled. When more would be, the stream waits.
    pub letters_max: usize,
    /// The partitions whose letters this process replays.
    pub assigned: Assigned,
    /// Who this process is, in the audit.
    pub by: String,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it shows itself.
    pub status: Arc<Status>,
}

/// A sink that gives up what the sink within will never take.
pub struct DeadLetters<S, L> {
    inner: S,
    letters: L,
    options: DeadLetterOptions,
    index: Index,
    /// What was seen last of each partition.
    seen: HashMap<(Arc<str>, i32), Seen>,
    /// What was sent of batches whose last part has not come.
    left: HashMap<(Arc<str>, i32), Left>,
    /// What the service refused, and is tried again.
    tried: Arc<Mutex<HashMap<Identity, Failed>>>,
    /// Work that came due and is not done.
    inner_is_due: bool,
    letters_are_due: bool,
    /// When the letters' turn comes again: replays shall not keep the stream waiting.
    rest_until: tokio::time::Instant,
    /// Letters that are tried again by themselves.
    rests: Rests,
}

/// The newest batch of a partition.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Its last offset.
    last: i64,
    /// By which giving the partition was held then.
    since: Option<u64>,
}

impl<S: Sink, L: Letters> DeadLetters<S, L> {
    /// Puts `letters` beside `inner` and reads what is among them.
    ///
    /// # Errors
    /// Those of the letters.
    pub async fn open(inner: S, letters: L, options: DeadLetterOptions) -> Result<Self, Error> {
        let mut dead = Self {
            inner,
            letters,
            options,
            index: Index::default(),
            seen: HashMap::new(),
            left: HashMap::new(),
            tried: Arc::default(),
            inner_is_due: false,
            letters_are_due: true,
            rest_until: tokio::time::Instant::now(),
            rests: Rests::default(),
        };
        dead.learn().await?;
        Ok(dead)
    }

    /// Takes note of what anybody wrote so far.
    async fn learn(&mut self) -> Result<(), Error> {
        for news in self.letters.news().await? {
            self.index.apply(news);
        }
        // While batches come without a pause, nobody hears for long whether there is something to do.
        self.letters_are_due |= self.next_work().is_some();
        self.show();
        Ok(())
    }

    /// What is to be done with letters now.
    fn next_work(&self) -> Option<Work> {
        let now = tokio::time::Instant::now();
        self.index.work(&self.options.assigned, |letter| self.rests.holds(letter, now))
    }

    fn show(&self) {
        let metrics = &self.options.metrics.dead_letters;
        metrics.letters.set(self.index.unsettled() as i64);
        metrics.held_keys.set(self.index.held_keys() as i64);
        self.options.status.dead_letters(self.index.unsettled(), self.index.held_keys());
    }

    /// Where the records of a batch come from.
    fn origin(&self, messages: &Messages) -> Option<Origin> {
        // A part may be empty, and its batch is not.
        let of_cut = || messages.cut().map(|cut| &*cut.topic);
        let name = messages.at(0).map(|first| first.topic()).or_else(of_cut)?;
        let of_topic = self.options.topics.iter().find(|of| *of.topic == *name);
        let topic = of_topic.map_or_else(|| Arc::from(name), |of| Arc::clone(&of.topic));
        let partition = messages.cut().map_or(0, |cut| cut.partition);
        Some(Origin { topic, partition, ordered: of_topic.is_some_and(|of| of.ordered) })
    }

    /// Where a batch is the first since its partition was given to this process, or does not come behind the one before, another
    /// process may have had the partition meanwhile: what it gave up is learnt first.
    async fn catch_up(&mut self, messages: &Messages, origin: &Origin) -> Result<(), Error> {
        let Some(cut) = messages.cut() else { return Ok(()) };
        let since = self.options.assigned.since(&origin.topic, origin.partition);
        let place = origin.partition();
        let is_next = |seen: &Seen| seen.last < cut.first && seen.since == since && since.is_some();
        if !self.seen.get(&place).is_some_and(is_next) {
            self.learn().await?;
        }
        self.seen.insert(place, Seen { last: cut.last, since });
        Ok(())
    }

    /// What of the batch cannot be taken: what the sink says beforehand, what its source could not shape, and what the service
    /// refused often enough.
    fn failed(&self, messages: &Messages, origin: &Origin, refused: Vec<Refused>) -> BTreeMap<usize, Failed> {
        let now = now_ms();
        let unfit = messages.unfit().iter().map(|unfit| Refused::new(unfit.index, unfit.reason.clone()));
        let mut failed: BTreeMap<usize, Failed> = (unfit.chain(refused))
            .map(|refused| (refused.index, Failed { refused, attempts: 1, failed_at_ms: now }))
            .collect();
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.is_empty() {
            return failed;
        }
        for (at, message) in messages.iter().enumerate() {
            match tried.get(&origin.identity(&message)) {
                Some(known) if known.attempts >= self.options.attempts => {
                    failed.insert(at, known.clone());
                }
                _ => {}
            }
        }
        failed
    }

    /// Makes letters of the places, durably; returns the places.
    async fn condemn(&mut self, letters: Vec<(usize, Letter<'_>)>) -> Result<Vec<usize>, Error> {
        let Some((_, first)) = letters.first() else { return Ok(Vec::new()) };
        let max = self.options.letters_max;
        if self.index.unsettled() + letters.len() > max {
            let reason = first.refused.as_ref().map_or("it waits behind a letter", |refused| &*refused.reason);
            let context = format!(
                "record {} would be a dead letter ({reason}), and {} of {max} are waiting already",
                first.identity,
                self.index.unsettled()
            );
            return Err(Error::new(End::Sink, Kind::Refused, context).with_help(
                "The stream waits here: so many are a fault of the set-up rather than of records. Look with `postrider dlq \
                 list`, mend the cause and `postrider dlq replay` them, or drop them; or raise [dead_letter] letters_max.",
            ));
        }
        let (places, letters): (Vec<usize>, Vec<Letter<'_>>) = letters.into_iter().unzip();
        self.letters.condemn(&letters).await?;
        for letter in &letters {
            let code = letter.refused.as_ref().map_or(WAITING, |refused| refused.code);
            self.options.metrics.dead_letters.condemned.with_label_values(&[code]).inc();
        }
        tell(&letters);
        let now = tokio::time::Instant::now();
        for letter in letters.iter().filter(|letter| letter.refused.as_ref().is_some_and(|of| of.code == AWAITED)) {
            self.rests.begin(letter.identity.clone(), now);
        }
        let tried = Arc::clone(&self.tried);
        tried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|identity, _| !letters.iter().any(|letter| letter.identity == *identity));
        self.learn().await?;
        Ok(places)
    }

    /// Sends what is left of a batch, and reads its receipt on its way: what the service refuses is counted, and places are
    /// those that the source knows. What it says of a batch that came in parts, it says with the last of them.
    async fn forward(&mut self, messages: Messages, origin: Origin, gone: Gone) -> Result<Receipt, Error> {
        let part = messages.part();
        let mut left =
            if part.begins() { Left::default() } else { self.left.remove(&origin.partition()).unwrap_or_default() };
        left.gone.0.extend(gone.0.iter().map(|place| place + part.before));
        left.offsets.extend(messages.iter().map(|message| message.offset()));
        let receipt = self.inner.send(messages).await?;
        if part.more {
            // Who was given a partition reads its batches from their first part.
            self.left.retain(|(topic, partition), _| self.options.assigned.holds(topic, *partition));
            self.left.insert(origin.partition(), left);
            return Ok(receipt);
        }
        let (tried, attempts) = (Arc::clone(&self.tried), self.options.attempts);
        Ok(receipt.map(move |fate| {
            let Left { gone, offsets } = left;
            let mut durable = fate?;
            if let Some(split) = &mut durable.split {
                split.after = gone.original(split.after - 1) + 1;
            }
            let Some(first) = durable.refused.first() else { return Ok(durable) };
            let again = count(&tried, &durable, &origin, &offsets);
            let context = format!(
                "record {}/{}/{} was refused ({again} of {attempts} attempts): {}",
                origin.topic, origin.partition, offsets[first.index], first.reason
            );
            let help = "It is tried again, and then it becomes a dead letter; see `postrider dlq list`.";
            Err(Error::new(End::Sink, Kind::Refused, context).with_help(help))
        }))
    }
}

/// What is sent of a batch.
#[derive(Debug, Default)]
struct Left {
    /// The places that were taken out of it.
    gone: Gone,
    /// The offsets of the others.
    offsets: Vec<i64>,
}

/// Counts what the service refused; how often the first of it was tried.
fn count(tried: &Mutex<HashMap<Identity, Failed>>, durable: &Durable, origin: &Origin, offsets: &[i64]) -> u32 {
    let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
    let mut first = 0;
    for refused in &durable.refused {
        let Some(&offset) = offsets.get(refused.index) else { continue };
        let identity = Identity { topic: Arc::clone(&origin.topic), partition: origin.partition, offset };
        let failed = Failed { refused: refused.clone(), attempts: 0, failed_at_ms: now_ms() };
        let known = tried.entry(identity).or_insert(failed);
        known.attempts += 1;
        known.refused = refused.clone();
        first = if first == 0 { known.attempts } else { first };
    }
    first
}

/// The places, rising, that were taken out of a batch as its source made it.
#[derive(Debug, Default)]
struct Gone(Vec<usize>);

impl Gone {
    /// Takes out further places of what is left.
    fn and(self, more: &[usize]) -> Self {
        let mut all: Vec<usize> = more.iter().map(|place| self.original(*place)).collect();
        all.extend(self.0);
        all.sort_unstable();
        Self(all)
    }

    /// The place in the whole batch of what is at `place` of what is left.
    fn original(&self, place: usize) -> usize {
        let mut original = place;
        for gone in &self.0 {
            if *gone <= original {
                original += 1;
            }
        }
        original
    }
}

/// Whether there is nothing to send: of a part that is empty, the sink has to know all the same.
fn is_nothing(messages: &Messages) -> bool {
    messages.is_empty() && messages.part().is_whole()
}

/// The class of what waits behind a letter.
pub const WAITING: &str = "waiting";

impl<S: Sink, L: Letters> Sink for DeadLetters<S, L> {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        self.inner.admit(messages).await
    }

    /// Makes letters of what can never be taken, and sends the rest: the receipt is that of the rest.
    async fn send(&mut self, mut messages: Messages) -> Result<Receipt, Error> {
        let Some(origin) = self.origin(&messages) else { return Ok(Receipt::done()) };
        self.catch_up(&messages, &origin).await?;
        let mut gone = Gone(known(&messages, &origin, &self.index));
        messages.remove(&gone.0);
        if is_nothing(&messages) {
            return Ok(Receipt::done());
        }
        let refused = self.inner.admit(&messages).await?;
        let failed = self.failed(&messages, &origin, refused);
        let letters = condemned(&messages, &failed, &origin, &self.index, now_ms());
        if !letters.is_empty() {
            let places = self.condemn(letters).await?;
            messages.remove(&places);
            gone = gone.and(&places);
        }
        if is_nothing(&messages) { Ok(Receipt::done()) } else { self.forward(messages, origin, gone).await }
    }

    async fn record(&mut self, progress: Progress) -> Result<Receipt, Error> {
        self.inner.record(progress).await
    }

    async fn due(&mut self) {
        if self.inner_is_due {
            return;
        }
        if self.letters_are_due {
            return tokio::time::sleep_until(self.rest_until).await;
        }
        let awaited = self.rests.next();
        tokio::select! {
            () = self.letters.heard() => self.letters_are_due = true,
            () = tokio::time::sleep_until(awaited.unwrap_or(self.rest_until)), if awaited.is_some() => {
                self.letters_are_due = true;
            }
            () = self.inner.due() => self.inner_is_due = true,
        }
    }

    async fn attend(&mut self) -> Result<(), Error> {
        if self.inner_is_due {
            self.inner.attend().await?;
            self.inner_is_due = false;
        }
        if self.letters_are_due {
            let began = tokio::time::Instant::now();
            self.rests.tell(began);
            let worked = self.work().await;
            // Then the stream has its turn, after a failure a longer one.
            let rest = if worked.is_ok() { began.elapsed() } else { began.elapsed().max(REST_AFTER_FAILURE) };
            self.rest_until = tokio::time::Instant::now() + rest;
            self.letters_are_due = worked?;
        }
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        self.inner.probe().await
    }

    async fn reset(&mut self) -> Result<(), Error> {
        // What comes next comes again.
        self.seen.clear();
        self.left.clear();
        self.inner.reset().await
    }

    async fn close(self, deadline: Duration) -> Result<(), Error> {
        self.letters.close().await;
        self.inner.close(deadline).await
    }
}

/// Logs what was given up: one line a batch, or a topic of which nothing fits would fill the log.
fn tell(letters: &[Letter<'_>]) {
    let Some(first) = letters.iter().find(|letter| letter.refused.is_some()) else { return };
    let refused = letters.iter().filter(|letter| letter.refused.is_some()).count();
    let why = first.refused.as_ref();
    warn!(
        refused,
        waiting = letters.len() - refused,
        first = %first.identity,
        attempts = first.attempts,
        code = why.map(|why| why.code),
        reason = why.map(|why| &*why.reason),
        "records became dead letters; see `postrider dlq list`"
    );
}

#[cfg(test)]
#[path = "dead_letters/tests.rs"]
mod tests;
#[cfg(test)]
#[path = "dead_letters/world_tests.rs"]
mod world;
