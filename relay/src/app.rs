//! The composition root: configuration becomes a source, a sink and a supervisor. It alone knows every concrete type.

mod capture;
pub(crate) mod care;
pub mod check;
mod chosen;
#[cfg(feature = "downstream")]
mod clickhouse;
#[cfg(feature = "downstream")]
mod consumer;
#[cfg(feature = "downstream")]
mod dead_letters;
pub(crate) mod declared;
#[cfg(feature = "downstream")]
pub mod dlq;
mod guard;
#[cfg(feature = "downstream")]
pub mod invalidate;
pub(crate) mod kafka;
#[cfg(feature = "downstream")]
pub mod load;
#[cfg(feature = "downstream")]
pub(crate) mod migrate;
mod parking;
mod polling;
pub(crate) mod postgres;
pub mod recover;
#[cfg(feature = "downstream")]
mod redis;
pub mod replay;
pub(crate) mod setup;
mod several;
pub(crate) mod slots;
mod standby;
mod traces;
pub mod verify;
mod wal;
pub(crate) mod witness;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{Span, info_span};

use crate::app::polling::{PollingToKafka, PollingToNull};
use crate::app::worker::Worker;
use crate::config::Config;
use crate::config::relays::OfRelay;
use crate::config::source::Mode;
use crate::leases::Standby;
use crate::pipeline::{Ends, Error, Kind, Limits, Parking, ParkingOptions, Progress, Status, Turn};
use crate::sinks::lots::{PostgresLot, PostgresLotOptions};
use crate::sinks::{Kafka, KafkaOptions, Null};
use crate::slots::guard::{Released, Relief};
use crate::sources::capture::{Changes, ChangesOptions};
use crate::sources::wal::Spill;
use crate::telemetry::Metrics;

/// Batches in flight at most. Under load a batch is a read of up to 256 KiB, so bytes are the bound; this one holds
/// for an idle outbox, whose batches are single events.
const IN_FLIGHT_BATCHES_MAX: usize = 512;

/// What helps when the broker takes nothing and says nothing.
const STALL_HELP: &str = "Is the broker up, and are as many replicas in sync as the topic's min.insync.replicas demands? \
                          `postrider check` looks. Nothing is lost; delivery goes on when it can.";

/// Progress is made durable, and then confirmed to Postgres, at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The outbox to Kafka; what Kafka cannot take is parked in Postgres.
struct OutboxToKafka {
    standby: Standby,
    changes: Arc<ChangesOptions>,
    kafka: KafkaOptions,
    lot: PostgresLotOptions,
    parking: ParkingOptions,
    metrics: Arc<Metrics>,
    /// For making a slot anew that the guard released, if it may release any.
    recovers: Option<(Box<Config>, Released)>,
}

impl Ends for OutboxToKafka {
    type Source = Changes;
    type Sink = Parking<Kafka, PostgresLot>;

    async fn take_turn(&self) -> Result<Arc<Turn>, Error> {
        let Some(spill) = &self.changes.wal.spill else { return self.standby.take_turn().await };
        spill.end_turn().await;
        let turn = self.standby.take_turn().await?;
        spill.begin_turn(Arc::clone(&turn)).await?;
        Ok(turn)
    }

    async fn pass_turn(&self) {
        if let Some(spill) = &self.changes.wal.spill {
            spill.end_turn().await;
        }
        self.standby.pass_turn().await;
    }

    async fn open_sink(&self) -> Result<(Self::Sink, Option<Progress>), Error> {
        let (kafka, progress) =
            Kafka::open(self.kafka.clone(), Some(&self.changes.wal.slot), Arc::clone(&self.metrics)).await?;
        let lot = PostgresLot::new(self.lot.clone());
        Ok((Parking::open(kafka, lot, self.parking.clone()).await?, progress))
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Changes, Error> {
        let opened = Changes::open(Arc::clone(&self.changes), progress, Arc::clone(&self.metrics)).await;
        match (opened, &self.recovers) {
            (Err(error), Some((config, released))) if guard::may_be_released(&error, released) => {
                Err(guard::recover(config, released, error).await)
            }
            (opened, _) => opened,
        }
    }
}

/// The outbox to nowhere, for measuring everything before the broker.
struct OutboxToNull {
    changes: Arc<ChangesOptions>,
    metrics: Arc<Metrics>,
}

impl Ends for OutboxToNull {
    type Source = Changes;
    type Sink = Null;

    async fn open_sink(&self) -> Result<(Null, Option<Progress>), Error> {
        Ok(Null::open())
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Changes, Error> {
        Changes::open(Arc::clone(&self.changes), progress, Arc::clone(&self.metrics)).await
    }
}

/// Runs every one of `relays` until SIGTERM or SIGINT, then drains. `accept_gap` lets them start although events may be missing.
///
/// # Errors
/// Those after which going on would lose events or change nothing; all others are waited for and overcome. Of several relays
/// one that ends by an error stops no other: the error comes when all have ended.
pub async fn run(relays: Vec<OfRelay<Config>>, accept_gap: bool) -> Result<(), Error> {
    match <[_; 1]>::try_from(relays) {
        Ok([OfRelay { name, config }]) => {
            let worker = Worker::start(&config.process, status(&config), &config.source.slot, name.as_deref()).await?;
            relay(config, accept_gap, worker, None).await
        }
        Err(relays) => several::run(relays, accept_gap).await,
    }
}

/// What the relay of `config` shows before it moves anything.
fn status(config: &Config) -> Status {
    let (slot, polls) = (&config.source.slot, config.source.mode == Mode::Polling);
    let how = if polls { "outbox, polled as" } else { "slot" };
    let source = format!("{how} {slot} in database {}", config.postgres.database);
    Status::new(source, format!("kafka {}", config.kafka.bootstrap_servers)).of_slot(slot)
}

/// Runs one relay, which has this name if there are others.
async fn relay(config: Config, accept_gap: bool, worker: Worker, name: Option<String>) -> Result<(), Error> {
    let worker = worker.without_breakers().with_stall_help(STALL_HELP);
    let slot = &config.source.slot;
    // Every line that the flow logs names the slot.
    let span = match name {
        Some(name) => info_span!("relay", name, slot),
        None => info_span!("relay", slot),
    };
    care::keep(&config, &worker.metrics, &worker.stop);
    let limits = Limits {
        in_flight_bytes_max: config.source.in_flight_bytes_max,
        in_flight_batches_max: IN_FLIGHT_BATCHES_MAX,
        progress_interval: PROGRESS_INTERVAL,
        drain_deadline: config.process.shutdown.drain_deadline,
    };
    let outcome = match config.source.mode {
        Mode::Polling => Box::pin(poll(&config, &worker, limits, span)).await,
        Mode::Wal => Box::pin(read_slot(&config, accept_gap, &worker, limits, span)).await,
    };
    worker.end().await;
    outcome
}

/// From the slot; from the table once that is lost, if it may be.
async fn read_slot(
    config: &Config,
    accept_gap: bool,
    worker: &Worker,
    limits: Limits,
    span: Span,
) -> Result<(), Error> {
    let mut watch = Watch::begin(config, worker)?;
    let mut accept_gap = accept_gap;
    loop {
        let outcome = Box::pin(stream(config, accept_gap, worker, limits, span.clone(), &mut watch)).await;
        match outcome {
            Err(gap) if gap.kind() != Kind::Gap || worker.stop.is_ordered() => return Err(gap),
            // Released while it was read, by this relay's guard or that of one that stands by: opened again it is made anew. A
            // gap that was accepted was another one.
            Err(_) if config.guard.may_release && guard::has_released(config).await => accept_gap = false,
            Err(gap) if config.source.falls_back => {
                polling::fall_back(config, worker, &gap);
                return Box::pin(poll(config, worker, limits, span)).await;
            }
            outcome => return outcome,
        }
    }
}

/// The guard over a slot, as long as the relay lives.
struct Watch {
    released: Released,
    spill: Option<Arc<Spill>>,
    /// By which the guard asks for the spill; whoever streams first hears it.
    relief: Option<Relief>,
}

impl Watch {
    fn begin(config: &Config, worker: &Worker) -> Result<Self, Error> {
        let spill = if config.kafka.has_broker() { guard::spill(config, &worker.metrics)? } else { None };
        let relief = spill.clone().map(|spill| Relief::new(move || spill.is_full()));
        let released = guard::keep(config, relief.clone(), &worker.metrics, &worker.stop);
        Ok(Self { released, spill, relief })
    }
}

/// From the slot.
async fn stream(
    config: &Config,
    accept_gap: bool,
    worker: &Worker,
    limits: Limits,
    span: Span,
    watch: &mut Watch,
) -> Result<(), Error> {
    let slot = &config.source.slot;
    let finished = Arc::new(Notify::new());
    worker.end_at(&finished, "the initial snapshot is delivered, and nothing else is wanted");
    let standby = standby::standby(config, worker);
    let spill = watch.spill.clone();
    let changes = Arc::new(capture::changes(config, accept_gap, &worker.status, finished, standby.reader(), spill));
    guard::relieve(&changes.wal, watch.relief.take(), &worker.stop, span.clone());
    let metrics = Arc::clone(&worker.metrics);
    if !config.kafka.has_broker() {
        let ends = OutboxToNull { changes, metrics };
        return worker.work(&ends, limits, span).await;
    }
    let kafka = kafka::delivering(&config.kafka, &config.topics, slot)?;
    // What a person must mend is said at once, whether the database answers or not.
    Kafka::check_options(&kafka)?;
    let ends = OutboxToKafka {
        standby,
        changes,
        kafka,
        lot: parking::lot(config),
        parking: parking::options(config, &metrics, &worker.status),
        metrics,
        recovers: config.guard.may_release.then(|| (Box::new(config.clone()), watch.released.clone())),
    };
    worker.work(&ends, limits, span).await
}

/// From the table.
async fn poll(config: &Config, worker: &Worker, limits: Limits, span: Span) -> Result<(), Error> {
    let polling = Arc::new(polling::options(config));
    let metrics = Arc::clone(&worker.metrics);
    if !config.kafka.has_broker() {
        let ends = PollingToNull { polling, metrics };
        return worker.work(&ends, limits, span).await;
    }
    let ends = PollingToKafka {
        polling,
        kafka: kafka::options(&config.kafka, &config.topics)?,
        lot: parking::lot(config),
        parking: parking::options(config, &metrics, &worker.status),
        metrics,
    };
    worker.work(&ends, limits, span).await
}
