//! The composition root: configuration becomes a source, a sink and a supervisor. It alone knows every concrete type.

mod capture;
pub(crate) mod care;
pub mod check;
pub(crate) mod kafka;
mod parking;
pub(crate) mod postgres;
pub(crate) mod setup;
mod traces;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{Instrument, info, info_span, warn};

use crate::admin::Admin;
use crate::config::{self, Config};
use crate::pipeline::backoff::Bounds;
use crate::pipeline::{
    End, Ends, Error, Kind, Limits, Parking, ParkingOptions, Progress, Status, Stop, Supervision, supervise,
};
use crate::sinks::lots::{PostgresLot, PostgresLotOptions};
use crate::sinks::{Kafka, KafkaOptions, Null};
use crate::sources::capture::{Changes, ChangesOptions};
use crate::telemetry::Metrics;

/// Batches in flight at most. Under load a batch is a read of up to 256 KiB, so bytes are the bound; this one holds
/// for an idle outbox, whose batches are single events.
const IN_FLIGHT_BATCHES_MAX: usize = 512;

/// Progress is made durable, and then confirmed to Postgres, at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long the last spans may take to reach the collector when the relay stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The outbox to Kafka; what Kafka cannot take is parked in Postgres.
struct OutboxToKafka {
    changes: Arc<ChangesOptions>,
    kafka: KafkaOptions,
    lot: PostgresLotOptions,
    parking: ParkingOptions,
    metrics: Arc<Metrics>,
}

impl Ends for OutboxToKafka {
    type Source = Changes;
    type Sink = Parking<Kafka, PostgresLot>;

    async fn open_sink(&self) -> Result<(Self::Sink, Option<Progress>), Error> {
        let (kafka, progress) =
            Kafka::open(self.kafka.clone(), Some(&self.changes.wal.slot), Arc::clone(&self.metrics)).await?;
        let lot = PostgresLot::new(self.lot.clone());
        Ok((Parking::open(kafka, lot, self.parking.clone()).await?, progress))
    }

    async fn open_source(&self, progress: Option<Progress>) -> Result<Changes, Error> {
        Changes::open(Arc::clone(&self.changes), progress, Arc::clone(&self.metrics)).await
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

/// Runs the relay until SIGTERM or SIGINT, then drains. `accept_gap` lets it start although events may be missing.
///
/// # Errors
/// Those after which going on would lose events or change nothing; all others are waited for and overcome.
pub async fn run(config: Config, accept_gap: bool) -> Result<(), Error> {
    let metrics = Metrics::new();
    let status = Status::new(
        format!("slot {} in database {}", config.source.slot, config.postgres.database),
        format!("kafka {}", config.kafka.bootstrap_servers),
    );
    let status = Arc::new(status.of_slot(&config.source.slot));
    let (order, stop) = Stop::new();
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let finished = Arc::new(Notify::new());
    let ended = Arc::clone(&finished);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "stopping"),
            () = ended.notified() => info!("the initial snapshot is delivered, and nothing else is wanted"),
        }
        order.order();
    });
    serve_admin(&config, &metrics, &status, stop.clone()).await?;
    care::keep(&config, &metrics, &stop);

    let (traces, flush) = traces::start(&config, &metrics)?;
    let supervision = Supervision {
        limits: Limits {
            in_flight_bytes_max: config.source.in_flight_bytes_max,
            in_flight_batches_max: IN_FLIGHT_BATCHES_MAX,
            progress_interval: PROGRESS_INTERVAL,
            drain_deadline: config.shutdown.drain_deadline,
        },
        retry: Bounds { initial: config.retry.initial, max: config.retry.max },
        metrics: &metrics,
        traces: &traces,
        status: &status,
    };
    let changes = Arc::new(capture::changes(&config, accept_gap, &status, finished));
    // Every line that the flow logs names the slot.
    let span = info_span!("relay", slot = config.source.slot);
    let outcome = if config.kafka.bootstrap_servers == config::kafka::NO_BROKER {
        let ends = OutboxToNull { changes, metrics: Arc::clone(&metrics) };
        Box::pin(supervise(&ends, supervision, stop)).instrument(span).await
    } else {
        let ends = OutboxToKafka {
            changes,
            kafka: kafka::options(&config.kafka, &config.topics)?,
            lot: parking::lot(&config),
            parking: parking::options(&config, &metrics, &status),
            metrics: Arc::clone(&metrics),
        };
        Box::pin(supervise(&ends, supervision, stop)).instrument(span).await
    };
    drop(traces);
    if let Some(flush) = flush {
        flush.wait(FLUSH_MAX).await;
    }
    outcome
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Error> {
    signal(kind).map_err(|error| Error::new(End::Source, Kind::Setup, "signals cannot be received").because(error))
}

/// Serves probes and metrics beside the pipeline, which does not depend on them.
async fn serve_admin(config: &Config, metrics: &Arc<Metrics>, status: &Arc<Status>, stop: Stop) -> Result<(), Error> {
    let Some(address) = config.admin.listen else { return Ok(()) };
    let admin = Admin::bind(&address.to_string()).await.map_err(|error| {
        Error::new(End::Source, Kind::Setup, "the admin endpoint cannot listen")
            .because(error)
            .with_help("Choose another [admin] listen address; \"\" switches the endpoint off.")
    })?;
    info!(address = %admin.address(), "serving /live /ready /metrics /status");
    let (status, metrics) = (Arc::clone(status), Arc::clone(metrics));
    tokio::spawn(async move {
        if let Err(error) = admin.serve(status, metrics, stop).await {
            warn!(%error, "the admin endpoint ended");
        }
    });
    Ok(())
}
