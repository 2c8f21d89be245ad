//! What every long-running role is made of besides its two ends: signals, the admin endpoint, traces, and the supervisor.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{Instrument, Span, info, warn};

use crate::admin::{Admin, Shown};
use crate::app::traces;
use crate::config::worker::Process;
use crate::config::{admin, breaker};
use crate::pipeline::backoff::Bounds;
use crate::pipeline::breaker::Thresholds;
use crate::pipeline::{
    End, Ends, Error, Kind, Limits, Share, Source, Status, Stop, StopHandle, Supervision, supervise,
};
use crate::telemetry::traces::Flush;
use crate::telemetry::{Metrics, Traces};

/// What helps when a worker's service takes nothing and says nothing.
const STALL_HELP: &str = "Is the service up, and does it answer? Its own log may tell what it waits for. Nothing is lost: what is \
                          not durable is not committed, and delivery goes on when it can.";

/// How long the last spans may take to reach the collector when the process stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// A role that has begun and does not move anything yet.
pub(super) struct Worker {
    /// Where it counts.
    pub(super) metrics: Arc<Metrics>,
    /// Where it shows itself.
    pub(super) status: Arc<Status>,
    /// Tells when to stop.
    pub(super) stop: Stop,
    order: Arc<StopHandle>,
    traces: Traces,
    flush: Option<Flush>,
    retry: Bounds,
    breaker: Option<Thresholds>,
    stall_help: &'static str,
    share: Option<Share>,
}

impl Worker {
    /// Listens to signals, serves probes and metrics, and traces. `name` is what spans say of it: the slot, or the
    /// group; `relay` is what the configuration calls it.
    pub(super) async fn start(
        process: &Process,
        status: Status,
        name: &str,
        relay: Option<&str>,
    ) -> Result<Self, Error> {
        let (order, stop) = Stop::new();
        let order = Arc::new(order);
        order_at_signals(Arc::clone(&order))?;
        let metrics = Metrics::new();
        let (traces, flush) = traces::start(&process.tracing, name, &metrics)?;
        let worker = Self::of(process, (order, stop), Arc::new(status), metrics, (traces, flush));
        serve_admin(&process.admin, vec![worker.shown(relay)], worker.stop.clone()).await?;
        Ok(worker)
    }

    /// One of several of the process, which `all` tells to stop together; whoever starts them listens to signals and shows them.
    pub(super) fn beside(process: &Process, status: Status, slot: &str, name: &str, all: &Stop) -> Result<Self, Error> {
        let (order, stop) = Stop::new();
        let order = Arc::new(order);
        let (mut all, orders) = (all.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            all.ordered().await;
            orders.order();
        });
        let metrics = Metrics::of_relay(name);
        let traces = traces::start(&process.tracing, slot, &metrics)?;
        Ok(Self::of(process, (order, stop), Arc::new(status), metrics, traces))
    }

    fn of(
        process: &Process,
        (order, stop): (Arc<StopHandle>, Stop),
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        (traces, flush): (Traces, Option<Flush>),
    ) -> Self {
        let retry = Bounds { initial: process.retry.initial, max: process.retry.max };
        let breaker = Some(thresholds(&process.breaker));
        Self { metrics, status, stop, order, traces, flush, retry, breaker, stall_help: STALL_HELP, share: None }
    }

    /// What it shows of itself, under this name.
    pub(super) fn shown(&self, name: Option<&str>) -> Shown {
        Shown { name: name.map(str::to_owned), status: Arc::clone(&self.status), metrics: Arc::clone(&self.metrics) }
    }

    /// With other words of help when what is in flight does not become durable.
    pub(super) fn with_stall_help(mut self, help: &'static str) -> Self {
        self.stall_help = help;
        self
    }

    /// Without circuit breakers, as a relay is: its producer waits for its brokers by itself, and the slot keeps what waits.
    pub(super) fn without_breakers(mut self) -> Self {
        self.breaker = None;
        self
    }

    /// With a part of what several of the process may have in flight.
    pub(super) fn sharing(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Stops as if told to, once `finished` is notified.
    pub(super) fn end_at(&self, finished: &Arc<Notify>, why: &'static str) {
        let (order, finished) = (Arc::clone(&self.order), Arc::clone(finished));
        tokio::spawn(async move {
            finished.notified().await;
            info!("{why}");
            order.order();
        });
    }

    /// Moves what there is between two ends until told to stop, then drains. Every line that it logs is in `span`.
    pub(super) async fn work<E: Ends>(&self, ends: &E, limits: Limits, span: Span) -> Result<(), Error>
    where
        <E::Source as Source>::Position: Display,
    {
        let supervision = Supervision {
            limits,
            retry: self.retry,
            breaker: self.breaker,
            stall_help: self.stall_help,
            share: self.share.as_ref(),
            metrics: &self.metrics,
            traces: &self.traces,
            status: &self.status,
        };
        Box::pin(supervise(ends, supervision, self.stop.clone())).instrument(span).await
    }

    /// Waits, for a moment, until the last spans are sent.
    pub(super) async fn end(self) {
        drop(self.traces);
        if let Some(flush) = self.flush {
            flush.wait(FLUSH_MAX).await;
        }
    }
}

fn thresholds(breaker: &breaker::Breaker) -> Thresholds {
    let breaker::Breaker { failures, within, open, open_max, successes, probe_timeout } = *breaker;
    Thresholds { failures, within, open, open_max, successes, probe_timeout }
}

/// Gives the order to stop at SIGTERM or SIGINT.
pub(super) fn order_at_signals(order: Arc<StopHandle>) -> Result<(), Error> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "stopping"),
        }
        order.order();
    });
    Ok(())
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Error> {
    signal(kind).map_err(|error| Error::new(End::Source, Kind::Setup, "signals cannot be received").because(error))
}

/// Serves probes and metrics beside the pipeline, which does not depend on them.
pub(super) async fn serve_admin(admin: &admin::Admin, shown: Vec<Shown>, stop: Stop) -> Result<(), Error> {
    let Some(address) = admin.listen else { return Ok(()) };
    let admin = Admin::bind(&address.to_string()).await.map_err(|error| {
        Error::new(End::Source, Kind::Setup, "the admin endpoint cannot listen")
            .because(error)
            .with_help("Choose another [admin] listen address; \"\" switches the endpoint off.")
    })?;
    info!(address = %admin.address(), "serving /live /ready /metrics /status");
    tokio::spawn(async move {
        if let Err(error) = admin.serve(shown, stop).await {
            warn!(%error, "the admin endpoint ended");
        }
    });
    Ok(())
}
