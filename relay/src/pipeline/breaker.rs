//! A circuit breaker for one end of a pipeline: after some failures in a row it is open, and its service is only asked
//! now and then whether it is back, instead of being sent batches that it cannot take.
//!
//! Closed → (failures in a row) → open → (a while) → half-open, where the service is probed → (probes that succeed in a
//! row) → closed. A probe that fails opens it again, each time for longer. A failure between closing and the first batch
//! that becomes durable opens it at once: the service answers probes and takes nothing.
//!
//! Guarantee: only outages count ([`Breaker::counts`]), never what a record itself causes. Pure: it has no clock and waits
//! for nothing; the supervisor does.

mod watched;

use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::error::{Error, Kind};

pub(super) use watched::Breakers;

/// By how much each opening in a row is longer than the one before.
const GROWTH: u32 = 2;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// It opens after so many failures in a row; at least one.
    pub failures: u32,
    /// Failures further apart than this are not in a row.
    pub within: Duration,
    /// How long it stays open before the first probe.
    pub open: Duration,
    /// How long it stays open at most, however many probes failed.
    pub open_max: Duration,
    /// It closes after so many probes in a row that succeed; at least one.
    pub successes: u32,
    /// How long a probe may take; one that takes longer has failed.
    pub probe_timeout: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            failures: 5,
            within: Duration::from_secs(60),
            open: Duration::from_secs(2),
            open_max: Duration::from_secs(15),
            successes: 2,
            probe_timeout: Duration::from_secs(5),
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Batches flow.
    Closed,
    /// Nothing is asked of the service.
    Open,
    /// The service is probed.
    HalfOpen,
}

impl Stand {
    /// Its word in `/status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// Its number in the metric of its state: the greater, the worse.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The breaker of one end.
#[derive(Debug)]
pub struct Breaker {
    thresholds: Thresholds,
    stand: Stand,
    /// Failures in a row, and when the last was.
    failures: u32,
    failed_at: Option<Instant>,
    /// Probes in a row that succeeded.
    successes: u32,
    /// How long the next opening lasts.
    open: Duration,
    /// It closed, and nothing has become durable since.
    on_trial: bool,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            stand: Stand::Closed,
            failures: 0,
            failed_at: None,
            successes: 0,
            open: thresholds.open.min(thresholds.open_max),
            on_trial: false,
        }
    }

    /// Whether an error is a failure of the service: what a record causes, and what a person must mend, is none.
    #[must_use]
    pub fn counts(error: &Error) -> bool {
        matches!(error.kind(), Kind::Unavailable | Kind::Broken)
    }

    /// Where it stands.
    #[must_use]
    pub fn stand(&self) -> Stand {
        self.stand
    }

    /// Failures in a row so far.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long a probe may take.
    #[must_use]
    pub fn probe_timeout(&self) -> Duration {
        self.thresholds.probe_timeout
    }

    /// A batch became durable: whatever failed before is no row any more.
    pub fn delivered(&mut self) {
        if self.stand == Stand::Closed {
            *self = Self::new(self.thresholds);
        }
    }

    /// The service failed at `now`. How long to leave it alone, if the breaker is open now.
    pub fn failed(&mut self, now: Instant) -> Option<Duration> {
        let is_late = self.failed_at.is_some_and(|last| now.duration_since(last) > self.thresholds.within);
        self.failures = if is_late { 1 } else { self.failures.saturating_add(1) };
        self.failed_at = Some(now);
        self.successes = 0;
        if self.stand == Stand::Closed && !self.on_trial && self.failures < self.thresholds.failures {
            return None;
        }
        self.stand = Stand::Open;
        let wait = self.open;
        self.open = self.open.saturating_mul(GROWTH).min(self.thresholds.open_max);
        Some(wait)
    }

    /// The time to leave the service alone is over.
    pub fn half_open(&mut self) {
        self.stand = Stand::HalfOpen;
        self.successes = 0;
    }

    /// A probe succeeded. Whether the breaker is closed now.
    pub fn probed(&mut self) -> bool {
        self.successes += 1;
        if self.successes < self.thresholds.successes {
            return false;
        }
        self.stand = Stand::Closed;
        self.on_trial = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::error::End;

    const THRESHOLDS: Thresholds = Thresholds {
        failures: 3,
        within: Duration::from_secs(60),
        open: Duration::from_secs(2),
        open_max: Duration::from_secs(6),
        successes: 2,
        probe_timeout: Duration::from_secs(5),
    };

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_probes_in_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(THRESHOLDS);
        assert_eq!((breaker.failed(now), breaker.failed(now)), (None, None));
        assert_eq!((breaker.failed(now), breaker.stand()), (seconds(2), Stand::Open));
        breaker.half_open();
        assert!(!breaker.probed());
        assert_eq!((breaker.failed(now), breaker.stand()), (seconds(4), Stand::Open), "one success is not enough");
        breaker.half_open();
        assert_eq!(breaker.failed(now), seconds(6), "no longer than the longest");
        breaker.half_open();
        assert!(!breaker.probed());
        assert!(breaker.probed());
        assert_eq!(breaker.stand(), Stand::Closed);
    }

    #[test]
    fn a_batch_that_became_durable_ends_the_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(THRESHOLDS);
        for _ in 0..10 {
            assert_eq!((breaker.failed(now), breaker.failed(now)), (None, None));
            breaker.delivered();
        }
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        let begin = Instant::now();
        let mut breaker = Breaker::new(THRESHOLDS);
        for minute in 0..10 {
            assert_eq!(breaker.failed(begin + Duration::from_secs(61 * minute)), None);
        }
    }

    #[test]
    fn a_failure_before_anything_became_durable_opens_it_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Thresholds { failures: 1, successes: 1, ..THRESHOLDS });
        assert_eq!(breaker.failed(now), seconds(2));
        breaker.half_open();
        assert!(breaker.probed());
        let mut patient = Breaker { thresholds: THRESHOLDS, ..breaker };
        assert_eq!(patient.failed(now + Duration::from_secs(600)), seconds(4), "it answers probes and takes nothing");
        patient.half_open();
        patient.probed();
        patient.probed();
        patient.delivered();
        assert_eq!((patient.failed(now), patient.failed(now), patient.failed(now)), (None, None, seconds(2)));
    }

    #[test]
    fn only_outages_count() {
        let counts = |kind| Breaker::counts(&Error::new(End::Sink, kind, "as told"));
        assert!([Kind::Unavailable, Kind::Broken].into_iter().all(counts));
        assert!(!([Kind::Refused, Kind::Fenced, Kind::Gap, Kind::Setup, Kind::Protocol].into_iter().any(counts)));
    }

    /// What happens to a breaker.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Fails,
        Delivers,
        Passes(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            prop_oneof![3 => Just(Step::Fails), 2 => Just(Step::Delivers), 1 => (0_u64..120).prop_map(Step::Passes)];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against the words of the documentation: a closed breaker that never opened is opened by the failure that is the
        /// third in a row, and by no other.
        #[test]
        fn it_opens_with_the_last_failure_of_a_row_and_not_before(steps in steps()) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(THRESHOLDS);
            let mut row: Vec<Instant> = Vec::new();
            for step in steps {
                match step {
                    Step::Passes(seconds) => now += Duration::from_secs(seconds),
                    Step::Delivers => {
                        breaker.delivered();
                        row.clear();
                    }
                    Step::Fails => {
                        if row.last().is_some_and(|last| now - *last > THRESHOLDS.within) {
                            row.clear();
                        }
                        row.push(now);
                        let opened = breaker.failed(now).is_some();
                        prop_assert_eq!(opened, row.len() == 3);
                        if opened {
                            breaker = Breaker::new(THRESHOLDS);
                            row.clear();
                        }
                    }
                }
            }
        }
    }
}
