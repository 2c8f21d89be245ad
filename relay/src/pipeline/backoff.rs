//! How long to wait before trying again: exponential with jitter, from the start again after a success.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The bounds of the waiting time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// The waits after failures in a row.
#[derive(Debug)]
pub struct Backoff {
    bounds: Bounds,
    waits: ExponentialBackoff,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, waits: waits(bounds) }
    }

    /// The wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        // The jitter may exceed the longest wait, which is a promise to the operator.
        self.waits.next().unwrap_or(self.bounds.max).min(self.bounds.max)
    }

    /// Something went well: the next failure is a first one.
    pub fn succeeded(&mut self) {
        self.waits = waits(self.bounds);
    }
}

fn waits(bounds: Bounds) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(bounds.initial)
        .with_max_delay(bounds.max)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { initial: Duration::from_millis(10), max: Duration::from_millis(80) };

    #[test]
    fn waits_grow_to_the_longest_and_stay_there() {
        let mut backoff = Backoff::new(BOUNDS);
        let waits: Vec<_> = (0..50).map(|_| backoff.failed()).collect();
        assert!(waits[0] >= BOUNDS.initial && waits[0] <= 2 * BOUNDS.initial, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= BOUNDS.max), "{waits:?}");
        assert_eq!(waits[49], BOUNDS.max);
    }

    #[test]
    fn a_success_starts_the_waits_again() {
        let mut backoff = Backoff::new(BOUNDS);
        for _ in 0..20 {
            backoff.failed();
        }
        backoff.succeeded();
        assert!(backoff.failed() <= 2 * BOUNDS.initial);
    }
}
