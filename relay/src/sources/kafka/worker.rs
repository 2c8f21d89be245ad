//! The thread that polls: for the group always, for records while there is room; it cuts batches and hands them over.
//!
//! It sleeps until it is woken, by librdkafka when something arrives and by the source when something is wanted, so that a record
//! that arrives is handed on at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{debug, info};

use crate::kafka::reachability::Reachability;
use crate::pipeline::Error;
use crate::sources::kafka::commits::Pace;
use crate::sources::kafka::committer::Committer;
use crate::sources::kafka::events::{Change, ConsumerEvents, Report};
use crate::sources::kafka::lane::{Built, Lane};
use crate::sources::kafka::open::{Opened, open};
use crate::sources::kafka::options::KafkaSourceOptions;
use crate::sources::kafka::{Ready, Taken, Waiting, gone, lag, trouble};
use crate::telemetry::Metrics;

/// Records taken from one partition before the others have their turn.
const ROUND_RECORDS: usize = 1000;

/// Batches that may wait for the pump. More would only be smaller: what waits in its partition grows.
const WAITING_MAX: usize = 2;

/// Batches of a partition that may be unacknowledged where cuts need not be repeatable.
const TAKEN_MAX: usize = 1 << 16;

/// The longest sleep: what nobody wakes for is looked at then.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Events of the group that are handled before records have their turn.
const EVENTS_MAX: usize = 16;

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// How long the group may take to let go of this member.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// What the source wants.
pub(super) enum Command {
    /// A batch is durable.
    Acknowledge(Taken),
    /// A batch shall come again in two parts, the first of so many records.
    Split(Taken, usize),
    /// Back to what is acknowledged. The answer is the number of rewinds so far.
    Rewind(oneshot::Sender<u64>),
    /// Stop fetching, or go on.
    Pause(bool),
    /// Commit what is acknowledged, and leave the group.
    Close(oneshot::Sender<Result<(), Error>>),
    /// Leave the group.
    Leave,
}

/// Where batches leave.
pub(super) struct Outlet {
    sender: UnboundedSender<Result<Ready, Error>>,
    waiting: Arc<Waiting>,
}

impl Outlet {
    pub(super) fn new(sender: UnboundedSender<Result<Ready, Error>>, waiting: Arc<Waiting>) -> Self {
        Self { sender, waiting }
    }

    fn has_room(&self) -> bool {
        self.waiting.batches.load(Ordering::Acquire) < WAITING_MAX
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes.load(Ordering::Relaxed)
    }

    fn send(&self, ready: Ready) {
        self.waiting.batches.fetch_add(1, Ordering::AcqRel);
        self.waiting.bytes.fetch_add(ready.messages.bytes(), Ordering::Relaxed);
        // A source that is being dropped takes nothing more.
        drop(self.sender.send(Ok(ready)));
    }

    fn fail(&self, error: Error) {
        drop(self.sender.send(Err(error)));
    }
}

/// The poller's state.
pub(super) struct Worker {
    pub(super) options: KafkaSourceOptions,
    pub(super) consumer: Arc<BaseConsumer<ConsumerEvents>>,
    pub(super) committer: Committer,
    pub(super) lanes: Vec<Lane>,
    /// Changes of the group that could not be handled yet.
    pub(super) changes: VecDeque<Change>,
    pub(super) changes_at: Instant,
    /// When a place that librdkafka did not take is told again.
    pub(super) seek_at: Instant,
    /// How many assignments there were.
    pub(super) assignments: u64,
    pub(super) paused: bool,
    pub(super) missing: Vec<Arc<str>>,
    /// Partitions whose gap was accepted, or that were read: of these no further gap is accepted.
    pub(super) accepted: BTreeSet<(Arc<str>, i32)>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reachability: Arc<Reachability>,
    commands: Receiver<Command>,
    outlet: Outlet,
    arrived: Arc<AtomicBool>,
    epoch: u64,
    /// The partition whose batch is handed over next.
    turn: usize,
    /// The partition behind the one whose batch was completed last.
    filling: usize,
    pub(super) pace: Pace,
    lag_at: Instant,
    report: Report,
    failed: bool,
}

impl Worker {
    /// Connects and joins the group; the calling thread is the one that polls.
    ///
    /// # Errors
    /// As of [`open`].
    pub(super) fn open(
        options: KafkaSourceOptions,
        (commands, outlet): (Receiver<Command>, Outlet),
        reachability: Arc<Reachability>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let Opened { consumer, arrived, missing } = open(&options, &reachability, &metrics)?;
        let committer = Committer::start(Arc::clone(&consumer), thread::current(), Arc::clone(&metrics))
            .map_err(|error| gone().because(error))?;
        let now = Instant::now();
        Ok(Self {
            options,
            consumer,
            committer,
            lanes: Vec::new(),
            changes: VecDeque::new(),
            changes_at: now,
            seek_at: now,
            assignments: 0,
            paused: false,
            missing,
            accepted: BTreeSet::new(),
            metrics,
            reachability,
            commands,
            outlet,
            arrived,
            epoch: 0,
            turn: 0,
            filling: 0,
            pace: Pace::beginning_at(now),
            lag_at: now,
            report: Report::default(),
            failed: false,
        })
    }

    /// Works until the source is closed or dropped.
    pub(super) fn run(mut self) {
        let reply = loop {
            if let Some(reply) = self.obey() {
                break reply;
            }
            self.poll();
            self.rebalance();
            self.seek_again();
            let has_more = self.fill();
            self.hand_over();
            self.commit();
            self.measure();
            if !has_more {
                thread::park_timeout(self.idle_for());
            }
        };
        let outcome = self.leave();
        if let Some(reply) = reply {
            drop(reply.send(outcome));
        }
    }

    /// Does what is wanted. `Some`: the source is closed or gone.
    #[expect(clippy::option_option, reason = "whether to end, and whom to tell")]
    fn obey(&mut self) -> Option<Option<oneshot::Sender<Result<(), Error>>>> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Acknowledge(taken)) => {
                    if let Some(lane) = self.lane_of(&taken) {
                        lane.book.acknowledge(taken.extent(), taken.fingerprint);
                    }
                }
                Ok(Command::Split(taken, after)) => {
                    if let Some(lane) = self.lane_of(&taken) {
                        lane.book.ledger.split(taken.extent(), after);
                    }
                }
                Ok(Command::Rewind(reply)) => {
                    self.rewind();
                    let _ = reply.send(self.epoch);
                }
                Ok(Command::Pause(paused)) => self.pause(paused),
                Ok(Command::Close(reply)) => return Some(Some(reply)),
                Ok(Command::Leave) | Err(TryRecvError::Disconnected) => return Some(None),
                Err(TryRecvError::Empty) => return None,
            }
        }
    }

    fn lane_of(&mut self, taken: &Taken) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.assignment == taken.assignment)
    }

    fn rewind(&mut self) {
        self.epoch += 1;
        for lane in &mut self.lanes {
            if let Some(offset) = lane.book.rewind() {
                lane.seek = Some(offset);
            }
        }
        self.seek();
    }

    /// Lets the group and the connections have their turn.
    fn poll(&mut self) {
        let events = if self.arrived.swap(false, Ordering::AcqRel) { EVENTS_MAX } else { 1 };
        let consumer = Arc::clone(&self.consumer);
        for _ in 0..events {
            match consumer.poll(Duration::ZERO) {
                None => {}
                Some(Ok(record)) => {
                    // It was fetched before its partition had a queue of its own.
                    let place = (record.topic(), record.partition());
                    let index = self.lanes.iter().position(|lane| (&*lane.topic.name, lane.partition) == place);
                    if let Some(index) = index
                        && let Err(trouble) = self.lanes[index].take_over(&record, Instant::now())
                    {
                        self.troubled(index, &trouble);
                    }
                }
                Some(Err(error)) => self.heard(&error),
            }
        }
    }

    /// An error of the consumer as a whole.
    fn heard(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let reason = self.consumer.context().reason();
        match trouble::of_consumer(code, &reason, &self.options.group, is_fatal) {
            Some(error) => self.fail(error),
            None => debug!(%code, reason, "the consumer goes on"),
        }
    }

    /// Tells the pump, once. Until the source is closed or dropped nothing more is read.
    pub(super) fn fail(&mut self, error: Error) {
        if !self.failed {
            self.failed = true;
            self.outlet.fail(error);
        }
    }

    /// Whether the pump was told that reading cannot go on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes over what arrived, as far as there is room. Whether more may be there.
    ///
    /// Where more is there than can be taken over, batches that must be repeatable, each of which waits for a commit of its own, shall
    /// be large rather than many at once: the one that has most is filled first, and of those that have nothing the next in turn.
    fn fill(&mut self) -> bool {
        if self.paused || self.failed {
            return false;
        }
        let now = Instant::now();
        let mut held = self.held();
        let mut has_more = false;
        // Where no room is left, one partition may still reach an end that was promised: others may wait for it.
        let first = self.lanes.iter().filter_map(|lane| Some((lane.book.planned_since(now)?, lane.assignment))).min();
        for index in self.order() {
            let lane = &mut self.lanes[index];
            let may_exceed = first.is_some_and(|(_, assignment)| assignment == lane.assignment);
            let has_room = held < self.options.queue_bytes_max || may_exceed;
            if lane.seek.is_some() || !lane.has_arrivals() || !has_room || lane.look_again.is_some_and(|at| at > now) {
                continue;
            }
            lane.look_again = None;
            let (before, complete) = (lane.book.bytes(), lane.book.complete());
            let outcome = lane.fill(ROUND_RECORDS, now);
            held = (held + lane.book.bytes()).saturating_sub(before);
            match outcome {
                Ok(true) if self.options.repeatable => {
                    if lane.book.complete() > complete {
                        self.filling = index + 1;
                    }
                    return true;
                }
                // It goes on as soon as parts of it are taken: until then no other batch is begun.
                Ok(false) if self.options.repeatable && lane.book.waits_to_part() => return false,
                Ok(more) => has_more |= more,
                Err(trouble) => self.troubled(index, &trouble),
            }
        }
        has_more
    }

    /// The partitions in the order in which they are read.
    fn order(&self) -> Vec<usize> {
        let first = if self.options.repeatable { self.filling } else { self.turn };
        let mut order: Vec<usize> = (0..self.lanes.len()).map(|index| (first + index) % self.lanes.len()).collect();
        if self.options.repeatable {
            order.sort_by_key(|index| Reverse(self.lanes[*index].book.open_bytes()));
        }
        order
    }

    /// Memory of what was read and not taken by the pump, and of what it took of batches that are not complete.
    fn held(&self) -> usize {
        let own = self.lanes.iter().map(|lane| lane.book.bytes()).sum::<usize>();
        let begun = self.lanes.iter().filter(|lane| lane.book.has_begun());
        let begun = begun.map(|lane| (Arc::clone(&lane.topic.name), lane.partition));
        own + self.outlet.bytes() + self.options.gathered.bytes(begun)
    }

    fn taken_max(&self) -> usize {
        if self.options.repeatable { 1 } else { TAKEN_MAX }
    }

    /// The partition whose batch leaves however young it is: where memory is short and no batch is complete, the one that has
    /// most.
    fn hurried(&self) -> Option<usize> {
        if self.held() < self.options.queue_bytes_max || self.lanes.iter().any(|lane| lane.book.complete() > 0) {
            return None;
        }
        let may_leave = |lane: &Lane| lane.due_at(Duration::ZERO, self.taken_max()).is_some();
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| may_leave(lane));
        lanes.max_by_key(|(_, lane)| lane.book.open_bytes()).map(|(index, _)| index)
    }

    /// Hands over what may leave, a batch of each partition in turn.
    fn hand_over(&mut self) {
        if self.failed {
            return;
        }
        let (now, hurried, taken_max) = (Instant::now(), self.hurried(), self.taken_max());
        let is_repeatable = self.options.repeatable;
        let mut idle = 0;
        while idle < self.lanes.len() {
            let index = self.turn % self.lanes.len();
            self.turn = index + 1;
            let has_room = self.outlet.has_room();
            let lane = &mut self.lanes[index];
            // A cut must become durable first, room or not; one that need not grows as long as nobody takes it.
            if has_room || is_repeatable {
                let age_max = if hurried == Some(index) { Duration::ZERO } else { lane.cuts.age_max };
                lane.close_due(now, age_max, taken_max);
            }
            let built = if has_room { lane.book.take(taken_max) } else { None };
            match built {
                Some(built) => {
                    idle = 0;
                    if self.options.accept_gap {
                        self.accepted.insert((Arc::clone(&lane.topic.name), lane.partition));
                    }
                    let ready = ready(lane, built, self.epoch);
                    self.outlet.send(ready);
                }
                None => idle += 1,
            }
        }
    }

    fn measure(&mut self) {
        let now = Instant::now();
        if now < self.lag_at {
            return;
        }
        self.lag_at = now + LAG_INTERVAL;
        if let Some(report) = self.consumer.context().report() {
            self.report = report;
        }
        lag::show(&self.options.topics, &self.lanes, &self.report, &self.metrics);
    }

    /// How long nothing is to be done that nobody would wake for.
    fn idle_for(&self) -> Duration {
        let now = Instant::now();
        let taken_max = self.taken_max();
        let mut until = now + SLEEP_MAX;
        if self.outlet.has_room() || self.options.repeatable {
            until = self
                .lanes
                .iter()
                .filter_map(|lane| lane.due_at(lane.cuts.age_max, taken_max))
                .fold(until, Instant::min);
        }
        if !self.committer.is_busy() && self.lanes.iter().any(|lane| lane.book.ledger.is_dirty()) {
            until = until.min(self.pace.next_at());
        }
        until.saturating_duration_since(now)
    }

    /// Commits what is acknowledged and leaves the group.
    fn leave(mut self) -> Result<(), Error> {
        let outcome = self.commit_now(|_| true);
        info!(group = self.options.group, "leaving the group");
        for lane in &self.lanes {
            lane.alive.store(false, Ordering::Release);
        }
        self.options.assigned.clear();
        self.finish_changes();
        self.consumer.context().leave();
        let Self { consumer, committer, lanes, changes, metrics, options, .. } = self;
        // Queues hold the consumer too.
        drop((lanes, changes));
        committer.end();
        // Without a coordinator that answers, letting go takes its time, and nobody has to wait for it.
        let (gone, is_gone) = channel::<()>();
        let close = move || {
            drop(consumer);
            drop(gone);
        };
        if thread::Builder::new().name("kafka-consumer-close".into()).spawn(close).is_ok() {
            // Nothing is sent: it ends.
            let _ = is_gone.recv_timeout(LEAVE_PATIENCE);
        }
        lag::show(&options.topics, &[], &Report::default(), &metrics);
        outcome
    }
}

fn ready(lane: &Lane, built: Built, epoch: u64) -> Ready {
    let Built { messages, extent, last, .. } = built;
    let taken = Taken {
        topic: Arc::clone(&lane.topic.name),
        partition: lane.partition,
        first: extent.first,
        last: extent.last,
        assignment: lane.assignment,
        fingerprint: last,
    };
    Ready { messages, taken, alive: Arc::clone(&lane.alive), epoch }
}
