//! Sets aside what can never be delivered, so that everything else goes on: a sink around a sink.
//!
//! Guarantees: a message is left out of what is sent only after it is durable in the [`Lot`]; later messages of its key
//! wait there behind it, and leave it before any newer one of the key, in their order. Of what is settled there, nothing
//! is sent again. When the lot is full or away, the stream waits.

mod dead_letter;
mod held;
mod key;
mod lot;
mod policy;
mod sort;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::pipeline::error::{End, Error, Kind};
use crate::pipeline::message::{Message, Messages};
use crate::pipeline::parking::dead_letter::Labels;
use crate::pipeline::parking::held::Held;
use crate::pipeline::parking::sort::{Against, Sorted, blocked, name, sort};
use crate::pipeline::sink::{Receipt, Refused, Sink};
use crate::pipeline::source::Progress;
use crate::pipeline::status::Status;
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

pub use dead_letter::{POSITION, REASON, ROUTE, TOPIC};
pub use key::KeyHash;
pub use lot::{Cause, Entry, HeldRow, Holding, Loaded, Lot, Returned, RunLimit, Settled, weight};
pub use policy::{OnRefusal, Policies, RoutePolicy};

/// What is taken out of the lot at once: few enough that the stream hardly waits, enough that a long queue is soon gone.
const RUN: RunLimit = RunLimit { events_max: 500, bytes_max: 4 << 20 };

/// How long the stream goes on before the lot has its turn again, if what is in it could not be delivered.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What bounds a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Events in it at most.
    pub events_max: usize,
    /// Their bytes at most, see [`weight`].
    pub bytes_max: u64,
}

/// How a [`Parking`] behaves, and where it tells of itself.
#[derive(Debug, Clone)]
pub struct ParkingOptions {
    /// What each route does.
    pub policies: Policies,
    /// The bounds of the lot.
    pub capacity: Capacity,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it shows what it holds.
    pub status: Arc<Status>,
}

/// A sink that parks what the sink within cannot take.
pub struct Parking<S, L> {
    inner: S,
    lot: L,
    options: ParkingOptions,
    held: Held,
    /// Why there is no lot, if there is none, and the mend.
    absent: Option<(String, String)>,
    /// What was settled at or above the position to which the source went back, with its commit time.
    settled: HashMap<u128, i64>,
    newest_settled: Option<u128>,
    /// Why those became dead letters that may come again.
    condemned: HashMap<u128, Refused>,
    /// The last position seen; the greatest there is until one was seen.
    seen: u128,
    /// Work that came due and is not done.
    inner_is_due: bool,
    lot_is_due: bool,
    /// When the lot's turn comes again: a long queue in it shall not keep the stream waiting.
    rest_until: tokio::time::Instant,
}

impl<S: Sink, L: Lot> Parking<S, L> {
    /// Puts `lot` beside `inner` and reads what is in it.
    ///
    /// # Errors
    /// Those of the lot; one that does not exist is none, but then nothing can be parked.
    pub async fn open(inner: S, lot: L, options: ParkingOptions) -> Result<Self, Error> {
        let mut parking = Self {
            inner,
            lot,
            options,
            held: Held::default(),
            absent: None,
            settled: HashMap::new(),
            newest_settled: None,
            condemned: HashMap::new(),
            seen: u128::MAX,
            inner_is_due: false,
            lot_is_due: false,
            rest_until: tokio::time::Instant::now(),
        };
        parking.load().await?;
        if let Some((why, mend)) = &parking.absent {
            warn!(why, mend, "nothing can be parked: an event that cannot be delivered will hold the stream");
        }
        // Something may have been asked for while nobody listened.
        parking.lot_is_due = !parking.held.is_empty();
        Ok(parking)
    }

    async fn load(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        match self.lot.load().await? {
            Loaded::Ready(holding) => {
                self.held = Held::from_rows(&holding.rows);
                self.newest_settled = holding.newest_settled;
                // What was settled meanwhile may come again with the next batch.
                self.seen = u128::MAX;
                self.absent = None;
            }
            Loaded::Absent { why, mend } => self.absent = Some((why, mend)),
        }
        self.options.metrics.parking.lot_seconds.observe(began.elapsed().as_secs_f64());
        self.show();
        Ok(())
    }

    fn show(&self) {
        let metrics = &self.options.metrics.parking;
        metrics.events.set(self.held.events() as i64);
        metrics.bytes.set(self.held.bytes() as i64);
        metrics.held_keys.set(self.held.keys() as i64);
        self.options.status.parked(self.held.events(), self.held.keys());
    }

    /// After the source went back, asks what of that which comes again was settled meanwhile.
    async fn look_back(&mut self, messages: &Messages) -> Result<(), Error> {
        let (Some(first), Some(last)) = (messages.at(0), messages.at(messages.len().saturating_sub(1))) else {
            return Ok(());
        };
        let first = first.position();
        if first <= self.seen && self.newest_settled.is_some_and(|newest| newest >= first) {
            let settled = self.lot.settled(first).await?;
            self.settled = settled.into_iter().map(|row| (row.position, row.timestamp_ms)).collect();
        } else if !self.settled.is_empty() {
            self.settled.retain(|position, _| *position >= first);
        }
        self.seen = last.position();
        Ok(())
    }

    /// Sorts a batch and sends the dead letters among it on their way within it: what is left to do is to park.
    async fn sort(&mut self, messages: &mut Messages, refused: &mut BTreeMap<usize, Refused>) -> Result<Sorted, Error> {
        let mut undeliverable = HashSet::new();
        loop {
            let Self { held, settled, options, .. } = self;
            let mut against = Against { held, settled, policies: &options.policies, undeliverable: &undeliverable };
            let sorted = sort(messages, refused, &mut against)?;
            if sorted.dead.is_empty() {
                return Ok(sorted);
            }
            let mut originals = Vec::new();
            for &index in &sorted.dead {
                originals.push((index, self.redirect(messages, index, &refused[&index].reason)));
            }
            let again = self.inner.admit(messages).await?;
            let again: Vec<Refused> = again.into_iter().filter(|r| sorted.dead.contains(&r.index)).collect();
            if again.is_empty() {
                self.options.metrics.parking.dead_lettered.inc_by(sorted.dead.len() as u64);
                return Ok(sorted);
            }
            for (index, original) in originals {
                messages.restore(index, original);
            }
            for dead in again {
                undeliverable.insert(dead.index);
                let first = refused.get_mut(&dead.index).expect("only a refused message becomes a dead letter");
                first.reason = format!("{}; nor can its dead-letter topic take it: {}", first.reason, dead.reason);
            }
        }
    }

    /// Makes a dead letter of the message at `index`; returns it as it was.
    fn redirect(&self, messages: &mut Messages, index: usize, reason: &str) -> Message {
        let message = messages.at(index).expect("a sorted place is one of the batch");
        let route = message.route();
        let OnRefusal::DeadLetter(topic) = self.options.policies.of(route) else {
            unreachable!("only a route with a dead-letter topic makes dead letters")
        };
        let labels = Labels::of(&message, self.options.policies.name(route), reason);
        messages.redirect(index, Arc::clone(topic), &labels.headers())
    }

    /// Parks what was sorted out, durably.
    async fn park(
        &mut self,
        messages: &Messages,
        sorted: &Sorted,
        refused: &BTreeMap<usize, Refused>,
    ) -> Result<(), Error> {
        let policies = self.options.policies.clone();
        let unfit: HashSet<usize> = messages.unfit().iter().map(|unfit| unfit.index).collect();
        let entries: Vec<Entry<'_>> = (sorted.aside.iter())
            .map(|aside| {
                let message = messages.at(aside.index).expect("a sorted place is one of the batch");
                let cause = match refused.get(&aside.index).filter(|_| aside.refused) {
                    Some(refused) => Cause::Refused { refused, unfit: unfit.contains(&aside.index) },
                    None => Cause::Waiting,
                };
                Entry { message, route: policies.name(message.route()), cause }
            })
            .collect();
        let Some(first) = entries.first() else { return Ok(()) };
        self.insist_on_room(first, &entries).await?;
        let began = Instant::now();
        reach(Failpoint::ParkingPark);
        self.lot.park(&entries).await?;
        reach(Failpoint::ParkingParked);
        self.options.metrics.parking.lot_seconds.observe(began.elapsed().as_secs_f64());
        for entry in &entries {
            self.held.add(&entry.message, weight(&entry.message));
            self.options.metrics.parking.parked.with_label_values(&[why(&entry.cause)]).inc();
        }
        tell(&entries);
        self.show();
        Ok(())
    }

    /// Waits at `first` if there is no lot, or no room in it.
    async fn insist_on_room(&mut self, first: &Entry<'_>, entries: &[Entry<'_>]) -> Result<(), Error> {
        if self.absent.is_some() {
            // It may have been made since.
            self.load().await?;
        }
        if let Some((why, mend)) = &self.absent {
            let refused = refusal(first);
            let help = format!("{} Or let it be parked: {mend}", refused.help.as_deref().unwrap_or_default());
            let reason = format!("{}; and nothing can be parked, because {why}", refused.reason);
            return Err(blocked(&first.message, &Refused { reason, help: Some(help.trim().to_owned()), ..refused }));
        }
        let Capacity { events_max, bytes_max } = self.options.capacity;
        let events = self.held.events() + entries.len();
        let bytes = self.held.bytes() + entries.iter().map(|entry| weight(&entry.message)).sum::<u64>();
        let full = events > events_max || bytes > bytes_max;
        self.options.metrics.parking.full.set(full.into());
        if !full {
            return Ok(());
        }
        let context = format!(
            "the lot has no room for {}: {} of {events_max} events and {} of {bytes_max} bytes are parked",
            name(&first.message),
            self.held.events(),
            self.held.bytes()
        );
        Err(Error::new(End::Sink, Kind::Refused, context).with_help(
            "The stream waits here. Look with `postrider parked list`, mend the cause and `postrider parked retry` them, \
             or skip or discard them; or raise [parking] events_max or bytes_max.",
        ))
    }

    /// Delivers what is due of the lot, as far as one run goes; true if nothing more is due.
    async fn serve(&mut self) -> Result<bool, Error> {
        let mut messages = self.lot.due(RUN).await?;
        if messages.is_empty() {
            self.load().await?;
            self.options.metrics.parking.full.set(0);
            reach(Failpoint::ParkingServed);
            return Ok(true);
        }
        reach(Failpoint::ParkingDue);
        let refused = self.inner.admit(&messages).await?;
        let (gone, returned) = leave_out(&messages, refused);
        // At once: if the broker refuses another one now, the next run begins without these.
        self.conclude(&[], &returned).await?;
        messages.remove(&gone);
        let mut delivered: Vec<u128> = messages.iter().map(|message| message.position()).collect();
        let mut broken = None;
        if !messages.is_empty() {
            let receipt = self.inner.send(messages).await?;
            self.inner.rest();
            let durable = receipt.await?;
            // Refused by the broker itself, which has stopped the producer: only a reset lets it go on, and then the sink
            // refuses them beforehand.
            broken = durable.refused.first().map(|refused| {
                let context =
                    format!("the parked event at position {:032x}: {}", delivered[refused.index], refused.reason);
                Error::new(End::Sink, Kind::Refused, context).with_help("It is parked again.")
            });
            let mut index = 0;
            delivered.retain(|_| {
                index += 1;
                durable.refused.iter().all(|refused| refused.index + 1 != index)
            });
        }
        reach(Failpoint::ParkingAgain);
        self.conclude(&delivered, &[]).await?;
        broken.map_or(Ok(false), Err)
    }

    /// Writes down what became of a run.
    async fn conclude(&mut self, delivered: &[u128], returned: &[Returned]) -> Result<(), Error> {
        if delivered.is_empty() && returned.is_empty() {
            return Ok(());
        }
        self.lot.conclude(delivered, returned).await?;
        reach(Failpoint::ParkingConcluded);
        self.newest_settled = self.newest_settled.max(delivered.iter().max().copied());
        self.seen = u128::MAX;
        let metrics = &self.options.metrics.parking;
        metrics.retried.with_label_values(&["delivered"]).inc_by(delivered.len() as u64);
        metrics.retried.with_label_values(&["refused"]).inc_by(returned.len() as u64);
        info!(delivered = delivered.len(), refused = returned.len(), "tried parked events again");
        Ok(())
    }

    /// What became a dead letter becomes one again when it comes again: the sink tells only once what a broker refused.
    fn recall(&mut self, messages: &Messages, refused: &mut BTreeMap<usize, Refused>) {
        let first = messages.at(0).map_or(0, |message| message.position());
        self.condemned.retain(|position, _| *position >= first);
        for (index, message) in messages.iter().enumerate() {
            if let Some(known) = self.condemned.get(&message.position()) {
                refused.entry(index).or_insert_with(|| Refused { index, ..known.clone() });
            }
        }
        for (index, refused) in refused {
            let Some(message) = messages.at(*index) else { continue };
            if message.position() != 0 && matches!(self.options.policies.of(message.route()), OnRefusal::DeadLetter(_))
            {
                self.condemned.insert(message.position(), refused.clone());
            }
        }
    }
}

impl<S: Sink, L: Lot> Sink for Parking<S, L> {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        self.inner.admit(messages).await
    }

    /// Parks what cannot be delivered, and sends the rest: the receipt is that of the rest.
    async fn send(&mut self, mut messages: Messages) -> Result<Receipt, Error> {
        let refused = self.inner.admit(&messages).await?;
        reach(Failpoint::ParkingAdmitted);
        self.look_back(&messages).await?;
        let quiet = self.held.is_empty() && self.settled.is_empty() && self.condemned.is_empty();
        if quiet && refused.is_empty() && messages.unfit().is_empty() {
            return self.inner.send(messages).await;
        }
        let mut refused: BTreeMap<usize, Refused> = refused.into_iter().map(|r| (r.index, r)).collect();
        for unfit in messages.unfit() {
            refused.insert(unfit.index, Refused::new(unfit.index, unfit.reason.clone()));
        }
        self.recall(&messages, &mut refused);
        let sorted = self.sort(&mut messages, &mut refused).await?;
        reach(Failpoint::ParkingSorted);
        self.park(&messages, &sorted, &refused).await?;
        let mut gone = sorted.known;
        gone.extend(sorted.aside.iter().map(|aside| aside.index));
        gone.sort_unstable();
        messages.remove(&gone);
        // Where all of it is parked, that it is covered must still become durable.
        if messages.is_empty() && !self.inner.is_atomic() {
            return Ok(Receipt::done());
        }
        self.inner.send(messages).await
    }

    fn is_atomic(&self) -> bool {
        self.inner.is_atomic()
    }

    fn cover(&mut self, note: Progress) {
        self.inner.cover(note);
    }

    fn newest(&self) -> Option<Progress> {
        self.inner.newest()
    }

    fn rest(&mut self) {
        self.inner.rest();
    }

    async fn record(&mut self, progress: Progress) -> Result<Receipt, Error> {
        self.inner.record(progress).await
    }

    async fn due(&mut self) {
        if self.lot_is_due && !self.inner_is_due {
            return tokio::time::sleep_until(self.rest_until).await;
        }
        if self.inner_is_due {
            return;
        }
        if self.held.is_empty() {
            self.inner.due().await;
            self.inner_is_due = true;
            return;
        }
        tokio::select! {
            () = self.lot.asked() => self.lot_is_due = true,
            () = self.inner.due() => self.inner_is_due = true,
        }
    }

    async fn attend(&mut self) -> Result<(), Error> {
        if self.inner_is_due {
            self.inner.attend().await?;
            self.inner_is_due = false;
        }
        if self.lot_is_due {
            let began = tokio::time::Instant::now();
            let served = self.serve().await;
            // Then the stream has its turn, after a failure a longer one.
            let rest = if served.is_ok() { began.elapsed() } else { began.elapsed().max(REST_AFTER_FAILURE) };
            self.rest_until = tokio::time::Instant::now() + rest;
            self.lot_is_due = !served?;
        }
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        self.inner.probe().await
    }

    async fn reset(&mut self) -> Result<(), Error> {
        self.inner.reset().await
    }

    async fn close(self, deadline: Duration) -> Result<(), Error> {
        self.inner.close(deadline).await
    }
}

/// Of a run, what cannot be sent: the refused ones, and what is behind them of their keys.
fn leave_out(messages: &Messages, refused: Vec<Refused>) -> (Vec<usize>, Vec<Returned>) {
    let (mut gone, mut returned, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
    let mut refused = refused.into_iter().peekable();
    for (index, message) in messages.iter().enumerate() {
        if let Some(refused) = refused.next_if(|refused| refused.index == index) {
            keys.extend(message.key());
            returned.push(Returned { position: message.position(), refused });
            gone.push(index);
        } else if message.key().is_some_and(|key| keys.contains(key)) {
            // It comes again: whether it waits, or was another topic's, the lot knows.
            gone.push(index);
        }
    }
    (gone, returned)
}

/// Why an entry is parked, as a word for a metric.
fn why(cause: &Cause<'_>) -> &'static str {
    match cause {
        Cause::Refused { unfit: true, .. } => "unfit",
        Cause::Refused { refused, .. } if refused.overtaken => "overtaken",
        Cause::Refused { .. } => "refused",
        Cause::Waiting => "waiting",
    }
}

/// What an entry is refused for.
fn refusal(entry: &Entry<'_>) -> Refused {
    match entry.cause {
        Cause::Refused { refused, .. } => refused.clone(),
        Cause::Waiting => Refused::new(0, "it must wait behind an event of its key that is parked"),
    }
}

/// Logs what was parked: one line a batch, or a topic that refuses everything would fill the log.
fn tell(entries: &[Entry<'_>]) {
    let is_refused = |entry: &&Entry<'_>| matches!(entry.cause, Cause::Refused { .. });
    let Some(first) = entries.iter().find(is_refused) else { return };
    let key = first.message.key().map(|key| KeyHash::of(first.message.topic(), key).to_string());
    warn!(
        refused = entries.iter().filter(is_refused).count(),
        waiting = entries.len() - entries.iter().filter(is_refused).count(),
        first = name(&first.message),
        key_hash = key,
        reason = refusal(first).reason,
        "parked events that cannot be delivered; see `postrider parked list`"
    );
}

#[cfg(test)]
#[path = "parking_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "parking/world_tests.rs"]
mod world;
