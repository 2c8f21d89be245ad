//! Redis: makes what is cached there stale as soon as the rows behind it change.
//!
//! Guarantees: what a receipt calls durable went through both passes, so that a process that is killed between them does both
//! again after its next start. Nothing depends on the order or the number of times in which records arrive: generations only
//! rise, by whole positions; a removal removed already does no harm; kept sets hold each member's newest position. The second
//! pass, which compares no positions, voids what was filled between the moment when the change was streamed and the moment when
//! other sessions saw it.

pub mod audit;
mod errors;
pub mod keys;
mod members;
mod once;
mod options;
mod passes;
mod pending;
mod scripts;
mod stream;
mod sweep;
mod tally;
mod targets;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, timeout};
use tracing::Level;

use crate::pipeline::{End, Error, Kind, MessageRef, Messages, Progress, Receipt, Refused, Sink};
use crate::shape::record::{self, Op, Record, Row, Unreadable};
use crate::shape::rules::Seen;
use crate::shape::rules::effects::Effects;
use crate::shape::rules::field::{Facts, Fields};
use crate::sinks::redis::members::Members;
use crate::sinks::redis::passes::{Passes, Tools, Work};
use crate::sinks::redis::pending::Pending;
use crate::sinks::redis::scripts::Scripts;
use crate::sinks::redis::stream::Origin;
use crate::sinks::redis::wire::Wire;
use crate::telemetry::Metrics;

pub use once::{Once, OnceOptions};
pub use options::{InvalidatorOptions, Password, RedisOptions, RedisTls};

/// The header by which a person follows an event from its writer to here.
const CORRELATION: &str = "correlation-id";

/// Correlation ids of a batch that a line of the log names.
const CORRELATIONS_MAX: usize = 32;

/// The sink that invalidates.
pub struct Redis {
    options: InvalidatorOptions,
    tools: Tools,
    passes: Passes,
    /// What `admit` found, for the `send` that follows it.
    planned: Option<Planned>,
}

/// The class of a reason for which a record is refused, and the reason.
type Unfit = (&'static str, String);

/// What rules make of a batch.
struct Planned {
    effects: Effects,
    committed_us: Vec<i64>,
    refused: Vec<Refused>,
    /// What tells the batch from another one, once what is refused is out of it.
    accepted: (usize, u128, u128),
}

impl Redis {
    /// Connects and starts the passes.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if Redis does not answer, [`Kind::Setup`] if it refuses us.
    pub async fn open(options: InvalidatorOptions, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let scripts = Scripts::new();
        let wire = Wire::open(&options.redis, scripts.all()).await?;
        let tools = Tools {
            wire,
            scripts: Arc::new(scripts),
            rules: Arc::clone(&options.rules),
            pending: Pending::new(options.pending_bytes_max, Arc::clone(&metrics)),
            metrics,
            second_pass: options.second_pass,
            sweep_keys_per_second: options.sweep_keys_per_second,
        };
        let passes = start(&options, &tools);
        Ok(Self { options, tools, passes, planned: None })
    }

    fn plan(&self, messages: &Messages) -> Planned {
        let mut planned =
            Planned { effects: Effects::default(), committed_us: Vec::new(), refused: Vec::new(), accepted: (0, 0, 0) };
        for (index, message) in messages.iter().enumerate() {
            let accepted = planned.accepted.0;
            match self.look(&message, accepted, &mut planned.effects) {
                Err((code, reason)) => planned.refused.push(Refused::new(index, reason).with_code(code)),
                Ok(committed_us) => {
                    planned.committed_us.extend(committed_us);
                    let first = if accepted == 0 { message.position() } else { planned.accepted.1 };
                    planned.accepted = (accepted + 1, first, message.position());
                }
            }
        }
        planned
    }

    /// What rules make of one record; when it was committed, if any of them was for it.
    fn look(&self, message: &MessageRef<'_>, place: usize, effects: &mut Effects) -> Result<Option<i64>, Unfit> {
        if !self.options.rules.are_for(message.topic()) {
            return Ok(None);
        }
        let unreadable = |unreadable: Unreadable| ("parse", unreadable.to_string());
        let record = Record::read(message).map_err(unreadable)?;
        let (facts, position, committed_us) = match &record {
            Record::Tombstone => return Ok(None),
            Record::Change(change) if change.op == Op::Message => return Ok(None),
            Record::Change(change) => {
                let (before, after) = (change.before.as_ref().map(fields), change.after.as_ref().map(fields));
                let facts = Facts { op: change.op.letter().chars().next(), before, after };
                (facts, change.version, change.committed_us)
            }
            Record::Event(row) => {
                let position = record::position(message).map_err(unreadable)?;
                (Facts { op: None, before: None, after: Some(fields(row)) }, position, None)
            }
        };
        let mark = effects.mark();
        let (offset, time_ms) = (message.offset(), message.timestamp_ms());
        let seen = Seen { facts, position, message: place, offset, time_ms };
        self.options.rules.apply(message.topic(), seen, effects).map_err(|reason| ("schema", reason))?;
        let applied = mark != effects.mark();
        Ok(applied.then(|| committed_us.unwrap_or_else(|| message.timestamp_ms().saturating_mul(1000))))
    }
}

impl Sink for Redis {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        let planned = self.plan(messages);
        let refused = planned.refused.clone();
        self.planned = Some(planned);
        Ok(refused)
    }

    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        self.tools.pending.room().await;
        let accepted = (
            messages.len(),
            messages.at(0).map_or(0, |message| message.position()),
            messages.iter().last().map_or(0, |message| message.position()),
        );
        let planned = match self.planned.take().filter(|planned| planned.accepted == accepted) {
            // What was refused is not in the batch any more.
            Some(planned) => Planned { refused: Vec::new(), ..planned },
            None => self.plan(&messages),
        };
        let (receipt, resolved) = Receipt::pending();
        let origin = origin(&messages);
        let Planned { effects, committed_us, refused, .. } = planned;
        let share = self.tools.pending.take(messages.bytes(), 0);
        let correlations = correlations(&messages);
        let accepted_at = Instant::now();
        let work = Work { effects, origin, committed_us, refused, correlations, receipt, accepted_at, share };
        if self.passes.hand_over(work) {
            Ok(resolved)
        } else {
            Err(Error::new(End::Sink, Kind::Broken, "the passes over redis have ended"))
        }
    }

    /// The source keeps its own.
    async fn record(&mut self, _progress: Progress) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    /// What is given up may have been done in part; it is done again, and does no harm.
    async fn reset(&mut self) -> Result<(), Error> {
        self.planned = None;
        self.passes = start(&self.options, &self.tools);
        Ok(())
    }

    async fn close(self, deadline: Duration) -> Result<(), Error> {
        timeout(deadline, self.tools.pending.empty()).await.map_err(|_| {
            Error::new(End::Sink, Kind::Unavailable, "second passes were still waiting when the deadline passed")
                .with_help("They are done after the next start.")
        })
    }

    async fn probe(&mut self) -> Result<(), Error> {
        if self.tools.wire.run("reach a server", &[cmd("PING")]).await.is_ok() {
            return Ok(());
        }
        // A connection that was lost stays lost.
        self.tools.wire = Wire::open(&self.options.redis, self.tools.scripts.all()).await?;
        self.passes = start(&self.options, &self.tools);
        Ok(())
    }
}

fn fields<'a>(row: &'a Row<'_>) -> &'a dyn Fields {
    row
}

fn start(options: &InvalidatorOptions, tools: &Tools) -> Passes {
    Passes::start(tools, Members::new(Arc::clone(&options.rules), options.postgres.clone()))
}

/// Where a batch comes from: what its source cut, or else what its messages say.
fn origin(messages: &Messages) -> Origin {
    match messages.cut() {
        Some(cut) => Origin { topic: Arc::clone(&cut.topic), partition: cut.partition, offsets: (cut.first, cut.last) },
        None => {
            let offset = |message: Option<MessageRef<'_>>| message.map_or(0, |message| message.offset());
            let topic = messages.at(0).map_or_else(|| "".into(), |message| message.topic().into());
            Origin { topic, partition: 0, offsets: (offset(messages.at(0)), offset(messages.iter().last())) }
        }
    }
}

/// The ids by which a person finds the records of a batch, while somebody listens.
fn correlations(messages: &Messages) -> Vec<String> {
    if !tracing::enabled!(Level::DEBUG) {
        return Vec::new();
    }
    let ids = messages.iter().filter_map(|message| message.header(CORRELATION));
    ids.take(CORRELATIONS_MAX).map(|id| String::from_utf8_lossy(id).into_owned()).collect()
}
