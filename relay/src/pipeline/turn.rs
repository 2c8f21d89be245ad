//! Whether it is this pipeline's turn: of several processes for one stream, one works and the others wait.
//!
//! Guarantee: a turn that nobody prolongs is over at its time, whatever else hangs: asking looks at the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

/// The end of a turn that has none.
const NEVER: u64 = u64::MAX;

/// A turn: given by whoever knows whose it is, asked after by the pump before it moves anything.
#[derive(Debug)]
pub struct Turn {
    began: Instant,
    /// Microseconds after its beginning; 0: it is over.
    until_us: AtomicU64,
    changed: Notify,
}

impl Turn {
    /// One that is never over by itself.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { began: Instant::now(), until_us: AtomicU64::new(NEVER), changed: Notify::new() }
    }

    /// One that lasts until `end`.
    #[must_use]
    pub fn until(end: Instant) -> Self {
        let turn = Self { began: Instant::now(), until_us: AtomicU64::new(0), changed: Notify::new() };
        turn.until_us.store(turn.microseconds(end), Ordering::Release);
        turn
    }

    /// Lets it last until `end`, unless it is over.
    pub fn prolong(&self, end: Instant) {
        let until = self.microseconds(end);
        let prolong = |last: u64| (!self.has_passed(last)).then(|| until.max(last));
        if self.until_us.fetch_update(Ordering::AcqRel, Ordering::Acquire, prolong).is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Ends it now.
    pub fn end(&self) {
        self.until_us.store(0, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether it is over. Once over, it stays so.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let until = self.until_us.load(Ordering::Acquire);
        let over = self.has_passed(until);
        if over && until > 0 {
            // Whoever wants to prolong it comes too late.
            let ended = self.until_us.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Acquire);
            return ended.is_ok() || self.is_over();
        }
        over
    }

    /// Waits until it is over. Cancel safe.
    pub async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_over() {
                return;
            }
            let until = self.until_us.load(Ordering::Acquire);
            if until == NEVER {
                changed.await;
                continue;
            }
            let left = Duration::from_micros(until).saturating_sub(self.began.elapsed());
            tokio::select! {
                () = changed => {}
                () = sleep(left) => {}
            }
        }
    }

    fn has_passed(&self, until_us: u64) -> bool {
        until_us != NEVER && self.began.elapsed() >= Duration::from_micros(until_us)
    }

    fn microseconds(&self, end: Instant) -> u64 {
        u64::try_from(end.saturating_duration_since(self.began).as_micros()).unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_turn_lasts_until_its_end_or_until_it_is_ended_and_stays_over() {
        let unlimited = Turn::unlimited();
        assert!(!unlimited.is_over());
        unlimited.end();
        assert!(unlimited.is_over());
        unlimited.over().await;

        let over = Turn::until(Instant::now());
        assert!(over.is_over());
        over.prolong(Instant::now() + LONG);
        assert!(over.is_over(), "what is over stays over");
        over.over().await;

        let turn = Turn::until(Instant::now() + LONG);
        turn.prolong(Instant::now() + 2 * LONG);
        assert!(!turn.is_over());
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_the_end_at_its_time_or_at_once() {
        let short = Turn::until(Instant::now() + Duration::from_millis(20));
        short.over().await;
        assert!(short.is_over());
        let turn = Turn::until(Instant::now() + LONG);
        tokio::join!(turn.over(), async { turn.end() });
    }
}
