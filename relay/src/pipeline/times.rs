//! When a batch reached the places on its way: where the latencies of the stages begin.

use std::time::{Duration, Instant, SystemTime};

/// What a source notes of a batch; each is absent where the source cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// When the oldest message's transaction committed, in microseconds since 1970 by the database's clock.
    pub committed_us: Option<i64>,
    /// When the batch's first bytes arrived.
    pub read_at: Option<Instant>,
    /// When its messages had their form.
    pub shaped_at: Option<Instant>,
}

/// The time now, in microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// The time now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    now_us() / 1000
}

/// How long ago that was, in microseconds since 1970; `None` if the clocks disagree.
#[must_use]
pub fn age_of(us: i64) -> Option<Duration> {
    let then = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(us).ok()?);
    then.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_in_the_future_has_no_age() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
        assert!(age_of(now + 3_600_000_000).is_none());
        assert!(age_of(now - 2_000_000).unwrap() >= Duration::from_secs(2));
        assert!(age_of(-1).is_none());
    }
}
