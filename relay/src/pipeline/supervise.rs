//! Keeps a pipeline going: opens its ends, pumps, and after any trouble waits, rewinds and goes on.
//!
//! Where one of several processes works, it is this one's turn first. Then the sink opens, because it knows what was delivered;
//! the source opens at that place. There is one path of recovery: back to the last acknowledged position. An end is opened anew only if its own error asks for it.
//!
//! With a [`breaker`](crate::pipeline::breaker), an outage that lasts is waited for without reading on: the source is paused
//! and keeps what it holds, and only probes ask the service, until it is back.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::pipeline::backoff::{Backoff, Bounds};
use crate::pipeline::breaker::{Breakers, Thresholds};
use crate::pipeline::budget::Share;
use crate::pipeline::error::{Disposition, End, Error, Kind};
use crate::pipeline::pump::{Limits, Pump, Reached, deposed};
use crate::pipeline::sink::Sink;
use crate::pipeline::source::{Progress, Source};
use crate::pipeline::stall;
use crate::pipeline::status::{State, Status};
use crate::pipeline::stop::Stop;
use crate::pipeline::turn::Turn;
use crate::telemetry::{Metrics, Traces};

/// Opens the two ends of a pipeline, as often as it takes.
pub trait Ends: Send + Sync {
    /// The reading end.
    type Source: Source;
    /// The writing end.
    type Sink: Sink;

    /// Waits until it is this process' turn; it may have both ends open only then. Asked again when a turn is over and both ends
    /// are let go of. Cancel safe.
    fn take_turn(&self) -> impl Future<Output = Result<Arc<Turn>, Error>> + Send {
        std::future::ready(Ok(Arc::new(Turn::unlimited())))
    }

    /// Gives the turn to the next: the source is closed, and no other turn will be asked for.
    fn pass_turn(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Opens the sink and returns the newest progress note it holds.
    fn open_sink(&self) -> impl Future<Output = Result<(Self::Sink, Option<Progress>), Error>> + Send;

    /// Opens the source where that note ends.
    fn open_source(&self, progress: Option<Progress>) -> impl Future<Output = Result<Self::Source, Error>> + Send;
}

/// What a supervisor needs besides the ends.
#[derive(Debug, Clone, Copy)]
pub struct Supervision<'a> {
    /// The pump's limits.
    pub limits: Limits,
    /// How long to wait after failures.
    pub retry: Bounds,
    /// When to take a service for away, and then only to probe it; `None` tries again for ever, by `retry` alone.
    pub breaker: Option<Thresholds>,
    /// What a person can do when what is in flight does not become durable, as sentences.
    pub stall_help: &'static str,
    /// What it may have in flight of the bound of several pipelines; `None`: nobody shares.
    pub share: Option<&'a Share>,
    /// Where to count.
    pub metrics: &'a Metrics,
    /// Where to trace.
    pub traces: &'a Traces,
    /// Where to show.
    pub status: &'a Status,
}

/// A pipeline between attempts.
struct Pipeline<'a, E: Ends> {
    ends: &'a E,
    with: Supervision<'a>,
    turn: Option<Arc<Turn>>,
    source: Option<E::Source>,
    sink: Option<E::Sink>,
    rewind: bool,
    reached: Reached,
    breakers: Option<Breakers<'a>>,
}

/// Runs the pipeline until told to stop, or until an error says that going on is useless or unsafe.
pub async fn supervise<E: Ends>(ends: &E, with: Supervision<'_>, mut stop: Stop) -> Result<(), Error>
where
    <E::Source as Source>::Position: Display,
{
    let breakers = with.breaker.map(|thresholds| Breakers::new(thresholds, with.metrics, with.status));
    let reached = Reached::default();
    let mut pipeline = Pipeline { ends, with, turn: None, source: None, sink: None, rewind: false, reached, breakers };
    let mut backoff = Backoff::new(with.retry);
    let outcome = loop {
        let before = pipeline.reached.acknowledged;
        let Err(error) = pipeline.attempt(&mut stop).await else { break Ok(()) };
        let error = if pipeline.is_deposed() { deposed() } else { error };
        if error.disposition() == Disposition::StandBy {
            if stop.is_ordered() {
                warn!("the turn ended before what is in flight was durable: the next delivers it");
                break Ok(());
            }
            info!("letting go of both ends, to stand by");
            continue;
        }
        with.status.failed(&error);
        if stop.is_ordered() || error.disposition() == Disposition::Stop {
            break Err(error);
        }
        if pipeline.reached.acknowledged > before {
            backoff.succeeded();
            pipeline.breakers.iter_mut().for_each(Breakers::delivered);
        }
        let opened = pipeline.breakers.as_mut().and_then(|breakers| breakers.failed(&error));
        let wait = if error.is_retried_at_once() { Duration::ZERO } else { backoff.failed() };
        pipeline.prepare_retry(&error, opened.unwrap_or(wait));
        if let Some(open) = opened {
            match pipeline.wait_for_service(error.end(), open, &mut stop).await {
                Ok(true) => backoff.succeeded(),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            continue;
        }
        tokio::select! {
            () = stop.ordered() => break Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    };
    // What a drain did not achieve within its deadline is not waited for a second time.
    let patience = if outcome.is_ok() { with.limits.drain_deadline } else { Duration::ZERO };
    pipeline.close(patience).await;
    outcome
}

impl<E: Ends> Pipeline<'_, E>
where
    <E::Source as Source>::Position: Display,
{
    /// Opens what is not open, and pumps.
    async fn attempt(&mut self, stop: &mut Stop) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = stop.ordered() => return Ok(()),
            opened = self.open() => opened?,
        }
        let (Some(source), Some(sink), Some(turn)) = (&mut self.source, &mut self.sink, &self.turn) else {
            return Err(Error::new(End::Source, Kind::Broken, "an end was not open after opening"));
        };
        let pump = Pump::new(source, sink, self.with, &mut self.reached).during(turn);
        self.with.status.enter(State::Streaming);
        self.with.metrics.flow.up.set(1);
        let outcome = tokio::select! {
            biased;
            () = turn.over() => Err(deposed()),
            outcome = pump.run(stop) => outcome,
            never = stall::watch(self.with.status, self.with.metrics, self.with.stall_help) => match never {},
        };
        self.with.metrics.flow.stalled.set(0);
        self.with.metrics.flow.up.set(0);
        outcome
    }

    async fn open(&mut self) -> Result<(), Error> {
        if self.turn.is_none() || self.is_deposed() {
            // Whoever works now must find the slot free, and what it delivers is news to us.
            self.let_go().await;
            self.turn = Some(self.ends.take_turn().await?);
        }
        if self.sink.is_none() {
            self.open_sink().await?;
        }
        self.heed_the_sink();
        if let Some(source) = &mut self.source
            && self.rewind
        {
            match source.rewind().await {
                // Another process may have read on meanwhile; whether there is a gap, the sink's note knows.
                Err(error) if error.kind() == Kind::Gap => self.source = None,
                outcome => outcome?,
            }
        }
        if self.source.is_none() {
            self.source = Some(self.open_source().await?);
            info!("streaming");
        }
        self.rewind = false;
        Ok(())
    }

    /// Whether the turn is over. Whatever went wrong since then, such as that a successor has fenced the sink, follows from that.
    fn is_deposed(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.is_over())
    }

    /// Closes both ends, whatever they hold.
    async fn let_go(&mut self) {
        (self.turn, self.sink, self.rewind) = (None, None, false);
        if let Some(source) = self.source.take()
            && let Err(error) = source.close().await
        {
            debug!(error = error.chain(), "the source did not close cleanly");
        }
    }

    /// What an atomic sink says was delivered is exactly that. If more was than was acknowledged, such as by a commit whose
    /// outcome nobody heard of, the source must not go back behind it.
    fn heed_the_sink(&mut self) {
        let Some(sink) = self.sink.as_ref().filter(|sink| sink.is_atomic()) else { return };
        let newest = sink.newest();
        if newest != self.reached.progress {
            self.source = None;
            self.reached.progress = newest;
        }
    }

    async fn open_sink(&mut self) -> Result<(), Error> {
        let (sink, progress) = self.ends.open_sink().await?;
        if sink.is_atomic() {
            self.sink = Some(sink);
            self.heed_the_sink();
            return Ok(());
        }
        self.sink = Some(sink);
        // The sink's own memory is the witness; ours only bridges the time until it is asked again.
        self.reached.progress = progress.or_else(|| self.reached.progress.take());
        Ok(())
    }

    /// Opens the source where the sink's newest note ends.
    ///
    /// While this process waited, another may have delivered: what looks like a gap is one only if the note, read
    /// again, has not changed.
    async fn open_source(&mut self) -> Result<E::Source, Error> {
        loop {
            let note = self.reached.progress.clone();
            match self.ends.open_source(note.clone()).await {
                Err(error) if error.kind() == Kind::Gap => {
                    self.sink = None;
                    self.open_sink().await?;
                    if self.reached.progress == note {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Notes a failure and drops the end that must be opened anew.
    fn prepare_retry(&mut self, error: &Error, wait: Duration) {
        let (end, kind) = (error.end().name(), error.kind().name());
        self.with.metrics.flow.errors.with_label_values(&[end, &kind]).inc();
        if error.disposition() == Disposition::Rebuild {
            self.with.metrics.flow.rebuilds.with_label_values(&[end]).inc();
            match error.end() {
                End::Source => self.source = None,
                End::Sink => self.sink = None,
            }
        }
        self.rewind = self.source.is_some();
        if self.rewind {
            self.with.metrics.flow.rewinds.with_label_values(&[end]).inc();
        }
        self.with.status.enter(State::Retrying);
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        warn!(end, kind, error = error.chain(), help = error.help(), retry_in_ms, "stopped; will go on");
    }

    /// Waits while the breaker of `end` is open, and probes; false if told to stop meanwhile.
    ///
    /// # Errors
    /// Those of a probe after which going on would be useless or unsafe.
    async fn wait_for_service(&mut self, end: End, open: Duration, stop: &mut Stop) -> Result<bool, Error> {
        if end == End::Sink {
            self.pause(true).await;
        }
        let outcome = self.probe_until_closed(end, open, stop).await;
        if end == End::Sink && matches!(outcome, Ok(true)) {
            self.pause(false).await;
        }
        outcome
    }

    async fn probe_until_closed(&mut self, end: End, mut open: Duration, stop: &mut Stop) -> Result<bool, Error> {
        loop {
            tokio::select! {
                biased;
                () = stop.ordered() => return Ok(false),
                () = tokio::time::sleep(open) => {}
            }
            self.breakers.iter_mut().for_each(|breakers| breakers.half_open(end));
            let probed = tokio::select! {
                biased;
                () = stop.ordered() => return Ok(false),
                probed = self.probe(end) => probed,
            };
            let Err(error) = probed else { return Ok(true) };
            self.with.status.failed(&error);
            if error.disposition() == Disposition::Stop {
                return Err(error);
            }
            open = self.breakers.as_mut().map_or(open, |breakers| breakers.probe_failed(end, &error));
        }
    }

    /// Probes until the breaker is closed, or until a probe fails.
    async fn probe(&mut self, end: End) -> Result<(), Error> {
        while let Some(breakers) = &mut self.breakers {
            let timeout = breakers.probe_timeout(end);
            match (end, &mut self.sink) {
                // What opens has probed; opening has time limits of its own.
                (End::Sink, None) => self.open_sink().await?,
                (End::Sink, Some(sink)) => {
                    let probed = tokio::time::timeout(timeout, sink.probe()).await;
                    if !matches!(probed, Ok(Ok(()))) {
                        // Given up halfway, or failed: it is opened anew.
                        self.sink = None;
                    }
                    probed.unwrap_or_else(|_| Err(silent(timeout)))?;
                }
                (End::Source, _) => {
                    if self.source.is_none() {
                        self.source = Some(self.open_source().await?);
                        self.rewind = false;
                    }
                }
            }
            if self.breakers.as_mut().is_none_or(|breakers| breakers.probed(end)) {
                break;
            }
        }
        Ok(())
    }

    /// Lets the source rest, or go on. One that cannot is no reason to give up: a rewind follows, which may open it anew.
    async fn pause(&mut self, paused: bool) {
        if let Some(source) = &mut self.source
            && let Err(error) = source.pause(paused).await
        {
            warn!(error = error.chain(), paused, "the source could not be paused or resumed; it is opened anew");
            self.source = None;
        }
    }

    async fn close(self, patience: Duration) {
        if let Some(source) = self.source
            && let Err(error) = source.close().await
        {
            warn!(error = error.chain(), "the source did not close cleanly");
        }
        self.ends.pass_turn().await;
        if let Some(sink) = self.sink
            && let Err(error) = sink.close(patience).await
        {
            warn!(error = error.chain(), "the sink did not close cleanly");
        }
        self.with.status.enter(State::Stopped);
    }
}

/// The error of a probe that got no answer.
fn silent(timeout: Duration) -> Error {
    let context = format!("the service did not answer a probe within {} s", timeout.as_secs_f32());
    Error::new(End::Sink, Kind::Unavailable, context)
}

#[cfg(test)]
#[path = "atomic_tests.rs"]
mod atomic_tests;
#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;
