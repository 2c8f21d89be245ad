//! Kafka: a member of a consumer group that hands over batches of one partition each.
//!
//! Guarantees: a record is handed over before its offset is committed, and its offset committed only after its batch was
//! acknowledged, in order for each partition; nothing is skipped, and what a broker no longer has is an error unless the operator
//! accepted it. Records of aborted transactions are not read. Where cuts must be repeatable, a batch comes again exactly as it
//! was cut, after a rewind, a restart, a crash or a rebalance: its cut is durable, beside the committed offset, before it leaves
//! (`ledger`, `note`). A partition that goes to another member takes its batches with it: they are dropped alone, and never
//! committed here.
//!
//! One thread polls (`worker`): always for what the group wants, so that a sink that hangs does not make this member leave; for
//! records only while there is room. A second commits (`committer`), because a commit waits for the broker.
//!
//! A header whose name is not UTF-8 cannot be read: librdkafka's binding ends the process there. Brokers and Java's clients write
//! UTF-8.

mod commits;
mod committer;
mod events;
mod group;
mod lag;
mod lane;
mod ledger;
mod note;
mod open;
mod options;
mod trouble;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, Thread};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::kafka::reachability::Reachability;
use crate::pipeline::{Batch, End, Error, Kind, Messages, Position, Progress, Source};
use crate::sources::kafka::ledger::Extent;
use crate::sources::kafka::worker::{Command, Outlet, Worker};
use crate::telemetry::Metrics;

pub use options::{Cuts, KafkaSourceOptions, Missing, Protocol, Start, Topic};

/// A batch's place: what is committed once it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the first record.
    pub first: i64,
    /// The offset where the batch ends.
    pub last: i64,
    /// Which assignment of the partition it was read under.
    assignment: u64,
    /// The fingerprint of the last record.
    fingerprint: Option<u64>,
}

impl Taken {
    fn extent(&self) -> Extent {
        Extent { first: self.first, last: self.last }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.last)
    }
}

impl Position for Taken {
    fn progress(&self) -> Option<Progress> {
        // The group's committed offset is the note.
        None
    }
}

/// A batch that waits for the pump.
#[derive(Debug)]
struct Ready {
    messages: Messages,
    taken: Taken,
    /// Whether its partition is still assigned.
    alive: Arc<AtomicBool>,
    /// How many rewinds came before it was cut.
    epoch: u64,
}

/// What waits for the pump, as both sides count it.
#[derive(Debug, Default)]
struct Waiting {
    batches: AtomicUsize,
    bytes: AtomicUsize,
}

/// Reads topics as a member of a consumer group.
pub struct KafkaSource {
    commands: Sender<Command>,
    ready: UnboundedReceiver<Result<Ready, Error>>,
    waiting: Arc<Waiting>,
    poller: Thread,
    epoch: u64,
    metrics: Arc<Metrics>,
}

impl KafkaSource {
    /// Connects, looks whether the topics are there, and joins the group. Which partitions it gets, the group says later.
    ///
    /// # Errors
    /// No broker answers, a topic is not there or may not be read, or a setting is wrong. What a group refuses is an error of
    /// [`next`](Source::next).
    pub async fn open(options: KafkaSourceOptions, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let (commands, commanded) = channel();
        let (sender, ready) = unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let outlet = Outlet::new(sender, Arc::clone(&waiting));
        let (opened, is_open) = oneshot::channel();
        let counted = Arc::clone(&metrics);
        let thread = Builder::new().name("kafka-consumer".into()).spawn(move || {
            let secure = options.security.tls.is_some() || options.security.login.is_some();
            let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, Arc::clone(&counted)));
            match Worker::open(options, (commanded, outlet), reachability, counted) {
                Ok(worker) => {
                    if opened.send(Ok(())).is_ok() {
                        worker.run();
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        let thread = thread.map_err(|error| {
            Error::new(End::Source, Kind::Unavailable, "the thread that polls kafka does not start").because(error)
        })?;
        let poller = thread.thread().clone();
        is_open.await.map_err(|_| gone())??;
        Ok(Self { commands, ready, waiting, poller, epoch: 0, metrics })
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        let sent = self.commands.send(command);
        self.poller.unpark();
        sent.map_err(|_| gone())
    }

    /// A batch is no longer waiting.
    fn took(&self, ready: &Ready) {
        self.waiting.bytes.fetch_sub(ready.messages.bytes(), Ordering::Relaxed);
        self.waiting.batches.fetch_sub(1, Ordering::Release);
        self.poller.unpark();
    }
}

fn gone() -> Error {
    Error::new(End::Source, Kind::Broken, "the thread that polls kafka has ended")
}

impl Source for KafkaSource {
    type Position = Taken;

    async fn next(&mut self) -> Result<Batch<Taken>, Error> {
        loop {
            let ready = self.ready.recv().await.ok_or_else(gone)??;
            self.took(&ready);
            let Ready { messages, taken, alive, epoch } = ready;
            if !alive.load(Ordering::Acquire) {
                self.metrics.consumer.dropped_batches.inc();
            } else if epoch == self.epoch {
                return Ok(Batch { messages, end: taken });
            }
        }
    }

    async fn acknowledge(&mut self, position: Taken) -> Result<(), Error> {
        self.command(Command::Acknowledge(position))
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        let (reply, rewound) = oneshot::channel();
        self.command(Command::Rewind(reply))?;
        self.epoch = rewound.await.map_err(|_| gone())?;
        Ok(())
    }

    async fn split(&mut self, position: Taken, after: usize) -> Result<(), Error> {
        self.metrics.consumer.splits.inc();
        self.command(Command::Split(position, after))
    }

    async fn pause(&mut self, paused: bool) -> Result<(), Error> {
        self.command(Command::Pause(paused))
    }

    async fn close(self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        self.command(Command::Close(reply))?;
        closed.await.map_err(|_| gone())?
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // Closed already, nobody listens any more.
        drop(self.commands.send(Command::Leave));
        self.poller.unpark();
    }
}
