//! The breakers of a pipeline's two ends, and everything that is told of them: metrics, status and log.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::pipeline::breaker::{Breaker, Stand, Thresholds};
use crate::pipeline::error::{End, Error};
use crate::pipeline::status::{BreakerStatus, Status, now_ms};
use crate::telemetry::Metrics;

/// A breaker for each end.
pub(in crate::pipeline) struct Breakers<'a> {
    source: Watched,
    sink: Watched,
    metrics: &'a Metrics,
    status: &'a Status,
}

/// A breaker with what is told of it.
struct Watched {
    breaker: Breaker,
    end: &'static str,
    since_ms: u64,
    opened: u64,
    /// Since when the time is counted during which it is not closed.
    counted: Option<Instant>,
}

impl<'a> Breakers<'a> {
    /// Two closed ones.
    pub(in crate::pipeline) fn new(thresholds: Thresholds, metrics: &'a Metrics, status: &'a Status) -> Self {
        let watched =
            |end| Watched { breaker: Breaker::new(thresholds), end, since_ms: now_ms(), opened: 0, counted: None };
        let breakers = Self { source: watched("source"), sink: watched("sink"), metrics, status };
        breakers.show(End::Source, None);
        breakers.show(End::Sink, None);
        breakers
    }

    /// A batch became durable: both ends work.
    pub(in crate::pipeline) fn delivered(&mut self) {
        self.source.breaker.delivered();
        self.sink.breaker.delivered();
    }

    /// Counts an error that stopped the flow. How long to leave its end alone, if its breaker opened.
    pub(in crate::pipeline) fn failed(&mut self, error: &Error) -> Option<Duration> {
        if !Breaker::counts(error) {
            return None;
        }
        let end = error.end();
        let wait = self.of(end).breaker.failed(Instant::now())?;
        self.opened(end, error, wait);
        Some(wait)
    }

    /// Counts a failed probe, whatever it says. How long to leave the end alone.
    pub(in crate::pipeline) fn probe_failed(&mut self, end: End, error: &Error) -> Duration {
        self.metrics.breaker.probes.with_label_values(&[name(end), "failed"]).inc();
        let wait = self.of(end).breaker.failed(Instant::now()).unwrap_or_default();
        self.opened(end, error, wait);
        wait
    }

    /// The time to leave the end alone is over.
    pub(in crate::pipeline) fn half_open(&mut self, end: End) {
        self.of(end).breaker.half_open();
        self.of(end).since_ms = now_ms();
        self.show(end, None);
        self.count_time(end);
    }

    /// A probe of the end succeeded. Whether its breaker is closed now.
    pub(in crate::pipeline) fn probed(&mut self, end: End) -> bool {
        self.metrics.breaker.probes.with_label_values(&[name(end), "succeeded"]).inc();
        if !self.of(end).breaker.probed() {
            return false;
        }
        self.count_time(end);
        let watched = self.of(end);
        (watched.counted, watched.since_ms) = (None, now_ms());
        self.show(end, None);
        info!(end = name(end), "the circuit breaker is closed: the service answers, and batches flow again");
        true
    }

    /// How long a probe of the end may take.
    pub(in crate::pipeline) fn probe_timeout(&mut self, end: End) -> Duration {
        self.of(end).breaker.probe_timeout()
    }

    fn opened(&mut self, end: End, error: &Error, wait: Duration) {
        let metrics = self.metrics;
        let watched = self.of(end);
        if watched.counted.is_none() {
            watched.counted = Some(Instant::now());
            watched.opened += 1;
            metrics.breaker.opened.with_label_values(&[watched.end]).inc();
            warn!(
                end = watched.end,
                failures = watched.breaker.failures(),
                error = error.chain(),
                help = error.help(),
                "the circuit breaker is open: the service is only probed now, and nothing is lost or set aside meanwhile"
            );
        }
        watched.since_ms = now_ms();
        self.show(end, Some(wait));
        self.count_time(end);
    }

    /// Adds the time since it was last counted.
    fn count_time(&mut self, end: End) {
        let metrics = self.metrics;
        let watched = self.of(end);
        if let Some(since) = watched.counted.replace(Instant::now()) {
            metrics.breaker.open_seconds.with_label_values(&[watched.end]).inc_by(since.elapsed().as_secs_f64());
        }
    }

    fn show(&self, end: End, probe_in: Option<Duration>) {
        let watched = match end {
            End::Source => &self.source,
            End::Sink => &self.sink,
        };
        let stand = watched.breaker.stand();
        self.metrics.breaker.state.with_label_values(&[watched.end]).set(stand.number());
        self.status.breaker(BreakerStatus {
            end: watched.end,
            state: stand.word(),
            since_ms: watched.since_ms,
            opened: watched.opened,
            probe_in_ms: probe_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        });
        debug_assert!(stand == Stand::Open || probe_in.is_none(), "only an open one waits for its probe");
    }

    fn of(&mut self, end: End) -> &mut Watched {
        match end {
            End::Source => &mut self.source,
            End::Sink => &mut self.sink,
        }
    }
}

fn name(end: End) -> &'static str {
    match end {
        End::Source => "source",
        End::Sink => "sink",
    }
}
