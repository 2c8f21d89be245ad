//! The one loop: batches from the source to the sink, acknowledged in order when they are durable.
//!
//! Guarantee: a position is acknowledged only after the sink reported every message up to it durable, and only after
//! the progress note that names it is durable too. Receipts may resolve out of order; acknowledgements never do.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant as Moment};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, warn};

use crate::pipeline::budget::Share;
use crate::pipeline::error::{End, Error, Kind};
use crate::pipeline::message::MessageRef;
use crate::pipeline::sink::{Durable, Receipt, Sink};
use crate::pipeline::source::{Batch, Position, Progress, Source};
use crate::pipeline::status::{State, Status};
use crate::pipeline::stop::Stop;
use crate::pipeline::supervise::Supervision;
use crate::pipeline::times::{Times, age_of};
use crate::pipeline::turn::Turn;
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};
use crate::telemetry::metrics::Stage;
use crate::telemetry::traces::{BatchTrace, Moments, Parent, TRACEPARENT, TRACESTATE, Traces};

/// Positions that may wait for a progress note. Far more than come between two notes; reached only while no note becomes
/// durable, and then some five megabytes.
const UNRECORDED_MAX: usize = 1 << 16;

/// What bounds a pump.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches are read only while the bytes in flight are below this.
    pub in_flight_bytes_max: usize,
    /// Batches are read only while fewer than this are in flight.
    pub in_flight_batches_max: usize,
    /// Progress is made durable at most this often, unless the pump stops.
    pub progress_interval: Duration,
    /// How long to wait for what is in flight when told to stop, or when the source fails.
    pub drain_deadline: Duration,
}

/// How far a pump came: outlives it, so that the next one can go on.
#[derive(Debug, Default)]
pub struct Reached {
    /// The newest progress note known to be durable.
    pub progress: Option<Progress>,
    /// Batches acknowledged.
    pub acknowledged: u64,
}

/// One batch that the sink accepted.
struct InFlight<P> {
    position: P,
    /// Whether more of its batch follows: then it is not durable, whatever its receipt says.
    is_part: bool,
    receipt: Receipt,
    /// The note that is durable with it, if the sink is atomic.
    note: Option<Progress>,
    messages: usize,
    bytes: usize,
    payload_bytes: usize,
    /// When its oldest message was committed, in microseconds since 1970.
    committed_us: Option<i64>,
    accepted_at: Moment,
    times: Times,
    trace: Option<Box<BatchTrace>>,
}

/// A progress note on its way, with the positions it covers.
struct Recording<P> {
    receipt: Receipt,
    progress: Progress,
    covers: Vec<P>,
    /// When the first of what it covers became durable.
    durable_at: Option<Moment>,
}

/// Why the flow ended, and whether the batches accepted before may still be waited for.
struct Halt {
    error: Error,
    in_flight: Fate,
}

/// What an error means for the batches in flight.
enum Fate {
    /// They go on to their receipts.
    Intact,
    /// One of them failed, or nobody can tell: none behind it may be acknowledged.
    Spoilt,
}

impl Halt {
    fn beside_what_is_in_flight(error: Error) -> Self {
        Self { error, in_flight: Fate::Intact }
    }

    /// A batch refused before any of it was accepted leaves its predecessors alone; they are worth waiting for, or
    /// every retry would deliver them again.
    fn of_send(error: Error) -> Self {
        if error.kind() == Kind::Refused { Self::beside_what_is_in_flight(error) } else { error.into() }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self { error, in_flight: Fate::Spoilt }
    }
}

/// Moves batches between two ends until it is told to stop or one of them fails.
pub struct Pump<'a, S: Source, K: Sink> {
    source: &'a mut S,
    sink: &'a mut K,
    limits: Limits,
    share: Option<&'a Share>,
    metrics: &'a Metrics,
    traces: &'a Traces,
    status: &'a Status,
    reached: &'a mut Reached,
    ring: VecDeque<InFlight<S::Position>>,
    ring_bytes: usize,
    durable: Vec<S::Position>,
    /// When the first of those became durable.
    durable_at: Option<Moment>,
    recording: Option<Recording<S::Position>>,
    record_at: Instant,
    /// None: it is always ours.
    turn: Option<&'a Turn>,
    /// Something was accepted since the sink was told that nothing more comes at the moment.
    restless: bool,
}

impl<'a, S: Source, K: Sink> Pump<'a, S, K>
where
    S::Position: Display,
{
    /// A pump between two open ends.
    pub fn new(source: &'a mut S, sink: &'a mut K, with: Supervision<'a>, reached: &'a mut Reached) -> Self {
        Self {
            source,
            sink,
            limits: with.limits,
            share: with.share,
            metrics: with.metrics,
            traces: with.traces,
            status: with.status,
            reached,
            ring: VecDeque::new(),
            ring_bytes: 0,
            durable: Vec::new(),
            durable_at: None,
            recording: None,
            record_at: Instant::now(),
            turn: None,
            restless: false,
        }
    }

    /// The same, which moves and records nothing once `turn` is over.
    #[must_use]
    pub fn during(mut self, turn: &'a Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Insists that it is still our turn.
    fn insist_on_turn(&self) -> Result<(), Error> {
        if self.turn.is_some_and(Turn::is_over) { Err(deposed()) } else { Ok(()) }
    }

    /// Pumps until told to stop, then drains. If what is in flight is not touched by an error, it is still delivered
    /// and acknowledged; if it is, it is forgotten, and the sink is left with nothing in flight. Either way the source
    /// must be rewound before the next pump.
    pub async fn run(mut self, stop: &mut Stop) -> Result<(), Error> {
        let outcome = match self.flow(stop).await {
            Ok(()) => {
                self.status.enter(State::Draining);
                reach(Failpoint::PumpDrain);
                self.drain().await.inspect(|()| reach(Failpoint::PumpDrained))
            }
            Err(Halt { error, in_flight: Fate::Intact }) => {
                if let Err(late) = self.drain().await {
                    warn!(error = late.chain(), "what was in flight was not drained; it will be delivered again");
                }
                Err(error)
            }
            // Both ends are let go of.
            Err(Halt { error, .. }) if error.kind() == Kind::Deposed => Err(error),
            Err(Halt { error, in_flight: Fate::Spoilt }) => {
                // A reset waits for the broker as long as it takes; an order to stop does not.
                let patience = async {
                    stop.ordered().await;
                    sleep(self.limits.drain_deadline).await;
                };
                tokio::select! {
                    reset = self.sink.reset() => reset.and(Err(error)),
                    () = patience => Err(error),
                }
            }
        };
        self.show_in_flight_of(0, 0);
        outcome
    }

    /// The steady state. Returns when told to stop.
    async fn flow(&mut self, stop: &mut Stop) -> Result<(), Halt> {
        loop {
            self.insist_on_turn()?;
            let room = self.has_room();
            let may_record = self.recording.is_none() && !self.durable.is_empty();
            tokio::select! {
                biased;
                () = stop.ordered() => return Ok(()),
                // What is durable goes first: it lets Postgres forget, and frees room.
                fate = recorded(&mut self.recording), if self.recording.is_some() => self.recorded(&fate?).await?,
                fate = front(&mut self.ring), if !self.ring.is_empty() => self.settle(fate?).await?,
                () = sleep_until(self.record_at), if may_record => tokio::select! {
                    biased;
                    () = stop.ordered() => return Ok(()),
                    sent = self.record() => sent?,
                },
                () = self.sink.due() => tokio::select! {
                    biased;
                    () = stop.ordered() => return Ok(()),
                    attended = self.sink.attend() => attended?,
                },
                batch = self.source.next(), if room => {
                    let batch = batch.map_err(Halt::beside_what_is_in_flight)?;
                    self.insist_on_turn()?;
                    // Given up halfway, a batch spoils what was accepted before it: it has time to get through.
                    let patience = async {
                        stop.ordered().await;
                        sleep(self.limits.drain_deadline / 2).await;
                    };
                    tokio::select! {
                        biased;
                        sent = forward(self.sink, (self.metrics, self.traces), batch) => self.accepted(sent.map_err(Halt::of_send)?),
                        () = patience => return Ok(()),
                    }
                }
                // Asked last: nothing else is ready.
                () = std::future::ready(()), if self.restless => {
                    self.restless = false;
                    self.sink.rest();
                }
            }
        }
    }

    /// Waits for everything in flight and acknowledges it.
    async fn drain(&mut self) -> Result<(), Error> {
        self.sink.rest();
        let deadline = Instant::now() + self.limits.drain_deadline;
        let drained = timeout_at(deadline, async {
            while !self.ring.is_empty() {
                let fate = front(&mut self.ring).await?;
                self.settle(fate).await?;
            }
            loop {
                if self.recording.is_some() {
                    let fate = recorded(&mut self.recording).await?;
                    self.recorded(&fate).await?;
                } else if self.durable.is_empty() {
                    return Ok(());
                } else {
                    self.record().await?;
                }
            }
        });
        drained.await.unwrap_or_else(|_| {
            let context = format!("{} batches were still in flight when the drain deadline passed", self.ring.len());
            Err(Error::new(End::Sink, Kind::Unavailable, context)
                .with_help("They are delivered after the next start; nothing is lost."))
        })
    }

    fn accepted(&mut self, flight: InFlight<S::Position>) {
        reach(Failpoint::PumpAccepted);
        // An idle advance alone is in no hurry.
        self.restless |= flight.note.is_some() && flight.messages > 0;
        self.ring_bytes += flight.bytes;
        self.ring.push_back(flight);
        self.show_in_flight();
    }

    /// The oldest batch in flight met its fate.
    async fn settle(&mut self, fate: Durable) -> Result<(), Error> {
        let mut flight = self.ring.pop_front().expect("only the front of a ring that is not empty is settled");
        self.ring_bytes -= flight.bytes;
        self.show_in_flight();
        if flight.is_part {
            return Ok(());
        }
        if let Some(split) = fate.split {
            let context = format!("a batch of {} messages is refused: {}", flight.messages, split.reason);
            self.source.split(flight.position, split.after).await?;
            return Err(Error::new(End::Sink, Kind::Refused, context)
                .at_once()
                .with_help("It is delivered in smaller parts, until the message is found for which it is refused."));
        }
        if let Some(refused) = fate.refused.first() {
            return Err(Error::new(End::Sink, Kind::Refused, refused.reason.clone())
                .with_help("The stream waits here, so that order holds; make the broker accept the record."));
        }
        reach(Failpoint::PumpSettled);
        self.count_delivered(&mut flight);
        if let Some(note) = flight.note.take() {
            self.metrics.flow.progress_records.inc();
            self.reached.progress = Some(note);
            self.acknowledge(vec![flight.position]).await
        } else if flight.position.progress().is_some() {
            self.durable_at.get_or_insert_with(Moment::now);
            self.durable.push(flight.position);
            Ok(())
        } else {
            self.acknowledge(vec![flight.position]).await
        }
    }

    /// Sends the progress note of the newest durable position.
    async fn record(&mut self) -> Result<(), Error> {
        self.record_at = Instant::now() + self.limits.progress_interval;
        let Some(progress) = self.durable.last().and_then(Position::progress) else { return Ok(()) };
        self.insist_on_turn()?;
        reach(Failpoint::PumpRecord);
        let receipt = self.sink.record(progress.clone()).await?;
        reach(Failpoint::PumpRecording);
        // Taken only now: a stop may have dropped the call while it waited.
        let covers = std::mem::take(&mut self.durable);
        self.recording = Some(Recording { receipt, progress, covers, durable_at: self.durable_at.take() });
        Ok(())
    }

    /// The progress note is durable: what it covers may be forgotten.
    async fn recorded(&mut self, fate: &Durable) -> Result<(), Error> {
        let recording = self.recording.take().expect("only a recording under way is recorded");
        if let Some(refused) = fate.refused.first() {
            let context = format!("the progress record was refused: {}", refused.reason);
            return Err(Error::new(End::Sink, Kind::Refused, context)
                .with_help("Nothing is confirmed to Postgres until the progress topic takes the record."));
        }
        reach(Failpoint::PumpRecorded);
        self.metrics.flow.progress_records.inc();
        if let Some(since) = recording.durable_at {
            self.metrics.stages.observe(Stage::Record, since.elapsed());
        }
        self.reached.progress = Some(recording.progress);
        self.acknowledge(recording.covers).await
    }

    /// Acknowledges positions in their order. Only the newest is shown, so only it is put into words.
    async fn acknowledge(&mut self, positions: Vec<S::Position>) -> Result<(), Error> {
        let Some(newest) = positions.last().map(ToString::to_string) else { return Ok(()) };
        for position in positions {
            self.source.acknowledge(position).await?;
            self.metrics.flow.acknowledgements.inc();
            self.reached.acknowledged += 1;
        }
        reach(Failpoint::PumpAcknowledged);
        self.status.acknowledged(newest);
        Ok(())
    }

    fn count_delivered(&self, flight: &mut InFlight<S::Position>) {
        if flight.messages == 0 {
            return;
        }
        self.metrics.flow.delivered_messages.inc_by(flight.messages as u64);
        self.metrics.flow.delivered_bytes.inc_by(flight.payload_bytes as u64);
        self.status.delivered(flight.messages as u64);
        self.metrics.stages.observe(Stage::Deliver, flight.accepted_at.elapsed());
        if let Some(age) = flight.committed_us.and_then(age_of) {
            self.metrics.flow.delivery_seconds.observe(age.as_secs_f64());
        }
        if let Some(trace) = flight.trace.take() {
            let Times { read_at, shaped_at, .. } = flight.times;
            let (committed_us, accepted_at) = (flight.committed_us, flight.accepted_at);
            let moments = Moments { committed_us, read_at, shaped_at, accepted_at };
            trace.durable(&moments, flight.messages, flight.payload_bytes, &flight.position.to_string());
        }
        debug!(messages = flight.messages, bytes = flight.bytes, position = %flight.position, "batch durable");
    }

    fn show_in_flight(&self) {
        self.show_in_flight_of(self.ring.len(), self.ring_bytes);
        self.metrics.waiting_since(self.ring.iter().find_map(|flight| flight.committed_us));
    }

    /// Whether one batch more may be read, by its own bounds and by what the others of the process leave.
    fn has_room(&self) -> bool {
        let own = self.ring_bytes < self.limits.in_flight_bytes_max
            && self.ring.len() < self.limits.in_flight_batches_max
            && self.durable.len() < UNRECORDED_MAX;
        // What is held back for the others goes on with the next batch of its own that is durable: it holds its part at least.
        let Some(share) = self.share.filter(|_| own) else { return own };
        let room = share.has_room();
        self.metrics.flow.held_back.set(i64::from(!room));
        room
    }

    fn show_in_flight_of(&self, batches: usize, bytes: usize) {
        if let Some(share) = self.share {
            share.hold(bytes);
        }
        self.metrics.flow.in_flight_batches.set(batches as i64);
        self.metrics.flow.in_flight_bytes.set(bytes as i64);
        self.status.in_flight(batches, bytes);
    }
}

/// What ends a pump whose turn is over.
pub(super) fn deposed() -> Error {
    Error::new(End::Source, Kind::Deposed, "it is no longer this process' turn").at_once()
}

/// Gives a batch to the sink. Free of the pump, so that it can be dropped when the order to stop comes.
async fn forward<P: Position, K: Sink>(
    sink: &mut K,
    (metrics, traces): (&Metrics, &Traces),
    batch: Batch<P>,
) -> Result<InFlight<P>, Error> {
    let Batch { messages, end: position } = batch;
    let count = messages.len();
    reach(Failpoint::PumpBatch);
    let (bytes, payload_bytes) = (messages.bytes(), messages.payload_bytes());
    let times = messages.times();
    let committed_us =
        times.committed_us.or_else(|| messages.at(0).map(|message| message.timestamp_ms().saturating_mul(1000)));
    metrics.flow.source_batches.inc();
    metrics.flow.source_messages.inc_by(count as u64);
    metrics.flow.source_bytes.inc_by(payload_bytes as u64);
    let trace = if count == 0 { None } else { traces.begin(|| messages.iter().map(parent).collect()) };
    let note = if sink.is_atomic() { position.progress() } else { None };
    if let Some(note) = &note {
        sink.cover(note.clone());
    }
    let part = messages.part();
    let is_idle = count == 0 && note.is_none() && part.is_whole();
    let receipt = if is_idle { Receipt::done() } else { sink.send(messages).await? };
    let accepted_at = Moment::now();
    if count > 0 {
        metrics.stages.batches.messages.observe(count as f64);
        metrics.stages.batches.bytes.observe(payload_bytes as f64);
        if let Some(shaped_at) = times.shaped_at {
            metrics.stages.observe(Stage::Accept, accepted_at.saturating_duration_since(shaped_at));
        }
    }
    Ok(InFlight {
        position,
        is_part: part.more,
        note,
        // A batch in parts is delivered with the last of them.
        messages: part.before + count,
        bytes: receipt.holds().unwrap_or(bytes),
        payload_bytes: part.bytes_before + payload_bytes,
        receipt,
        committed_us,
        accepted_at,
        times,
        trace: trace.map(Box::new),
    })
}

/// What a trace needs to know of a message: never its key or value.
fn parent(message: MessageRef<'_>) -> Parent<'_> {
    Parent {
        traceparent: message.header(TRACEPARENT),
        tracestate: message.header(TRACESTATE),
        topic: message.topic(),
        committed_ms: message.timestamp_ms(),
    }
}

/// Waits for the fate of the oldest batch in flight. Cancel safe.
async fn front<P>(ring: &mut VecDeque<InFlight<P>>) -> Result<Durable, Error> {
    match ring.front_mut() {
        Some(flight) => (&mut flight.receipt).await,
        None => std::future::pending().await,
    }
}

/// Waits for the fate of the progress note under way. Cancel safe.
async fn recorded<P>(recording: &mut Option<Recording<P>>) -> Result<Durable, Error> {
    match recording {
        Some(recording) => (&mut recording.receipt).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
