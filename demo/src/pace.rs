//! A shared pace: so many events a second over all writers together, counted from one start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many seconds of unused pace may be caught up at once: a writer held up by a lock makes up for it, an outage of minutes does not become a flood.
const CATCH_UP_MAX_S: f64 = 1.0;

/// Hands out moments at which the next events may be written. Shared by all writers.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    events_per_s: f64,
    taken: AtomicU64,
}

impl Pace {
    /// A pace of `events_per_s` events a second from now on.
    pub fn new(events_per_s: f64) -> Self {
        Self { start: Instant::now(), events_per_s, taken: AtomicU64::new(0) }
    }

    /// Waits until `events` more events may be written.
    pub async fn wait_for(&self, events: u64) {
        let due = self.take(events, self.start.elapsed());
        tokio::time::sleep_until((self.start + due).into()).await;
    }

    /// Books `events` events and says when, after the start, the first of them is due.
    fn take(&self, events: u64, now: Duration) -> Duration {
        let behind_at_most = ((now.as_secs_f64() - CATCH_UP_MAX_S) * self.events_per_s).max(0.0) as u64;
        self.taken.fetch_max(behind_at_most, Ordering::Relaxed);
        let before = self.taken.fetch_add(events, Ordering::Relaxed);
        Duration::from_secs_f64(before as f64 / self.events_per_s)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::pace::Pace;

    #[test]
    fn events_are_spread_evenly_over_the_second() {
        let pace = Pace::new(100.0);
        assert_eq!(pace.take(50, Duration::ZERO), Duration::ZERO);
        assert_eq!(pace.take(50, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(pace.take(1, Duration::ZERO), Duration::from_secs(1));
    }

    #[test]
    fn a_long_hold_up_is_caught_up_by_no_more_than_a_second() {
        let pace = Pace::new(100.0);
        assert_eq!(pace.take(1, Duration::from_secs(60)), Duration::from_secs(59));
    }
}
