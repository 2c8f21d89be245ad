//! When the server is to hear from us, and what: standby status updates.
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reports that are not asked for are at most this often, so that confirming costs next to nothing.
const CONFIRM_GAP: Duration = Duration::from_millis(100);

/// The slowest timer: an idle slot's progress is only learned from the answers to it.
pub(crate) const PERIOD_MAX: Duration = Duration::from_secs(1);

/// The fastest timer, for a `wal_sender_timeout` that is hardly meant.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Microseconds from 1970-01-01 to 2000-01-01, where Postgres' clock starts.
const POSTGRES_EPOCH_US: u128 = 946_684_800_000_000;

/// An update with its frame: tag, length, kind, three positions, the time, and whether an answer is wanted.
pub(crate) const STATUS_BYTES: usize = 39;

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Everything below has been received.
    pub(crate) written: u64,
    /// Everything below is durable elsewhere: flushed and applied, for Postgres.
    pub(crate) flushed: u64,
    /// Whether the server is to answer with a keepalive.
    pub(crate) reply: bool,
}

impl Status {
    pub(crate) fn encode(self) -> [u8; STATUS_BYTES] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = u64::try_from(now.saturating_sub(POSTGRES_EPOCH_US)).unwrap_or(0);
        let mut bytes = [0; STATUS_BYTES];
        bytes[0] = b'd';
        bytes[1..5].copy_from_slice(&(STATUS_BYTES as u32 - 1).to_be_bytes());
        bytes[5] = b'r';
        // What was confirmed has been received, even if by an earlier stream.
        bytes[6..14].copy_from_slice(&self.written.max(self.flushed).to_be_bytes());
        bytes[14..22].copy_from_slice(&self.flushed.to_be_bytes());
        bytes[22..30].copy_from_slice(&self.flushed.to_be_bytes());
        bytes[30..38].copy_from_slice(&now.to_be_bytes());
        bytes[38] = self.reply.into();
        bytes
    }
}

/// Why an update is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The timer: the server must not think us dead, and is asked to show that it lives.
    Timer,
    /// More has been confirmed.
    Confirmed,
}

/// Decides when an update is due; it never reads a clock itself.
#[derive(Debug)]
pub(crate) struct Schedule {
    period: Duration,
    timer: Instant,
    sent: Instant,
    flushed: u64,
}

impl Schedule {
    /// The timer follows the server's own `wal_sender_timeout`, `None` for one that never hangs up. The first update is due
    /// at once: it tells an idle slot's position a second sooner.
    pub(crate) fn new(wal_sender_timeout: Option<Duration>, now: Instant) -> Self {
        let period = wal_sender_timeout.map_or(PERIOD_MAX, |timeout| (timeout / 4).clamp(PERIOD_MIN, PERIOD_MAX));
        Self { period, timer: now, sent: now, flushed: 0 }
    }

    pub(crate) fn due(&self, now: Instant, confirmed: u64) -> Option<Due> {
        if now >= self.timer {
            Some(Due::Timer)
        } else if confirmed > self.flushed && now >= self.sent + CONFIRM_GAP {
            Some(Due::Confirmed)
        } else {
            None
        }
    }

    /// When to ask again, at the latest.
    pub(crate) fn next(&self, confirmed: u64) -> Instant {
        if confirmed > self.flushed { self.timer.min(self.sent + CONFIRM_GAP) } else { self.timer }
    }

    /// An update has been sent. Only the timer's own restarts it: an idle position must not wait for a quiet second.
    pub(crate) fn sent(&mut self, now: Instant, flushed: u64, due: Option<Due>) {
        self.sent = now;
        self.flushed = self.flushed.max(flushed);
        if due == Some(Due::Timer) {
            self.timer = now + self.period;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_timer_follows_wal_sender_timeout_within_bounds() {
        let now = Instant::now();
        for (timeout, period) in
            [(None, 1000 * MS), (Some(60_000 * MS), 1000 * MS), (Some(2000 * MS), 500 * MS), (Some(MS), 10 * MS)]
        {
            let mut schedule = Schedule::new(timeout, now);
            assert_eq!(schedule.due(now, 0), Some(Due::Timer), "the first update is due at once");
            schedule.sent(now, 0, Some(Due::Timer));
            assert_eq!(schedule.due(now + period - MS, 0), None);
            assert_eq!(schedule.due(now + period, 0), Some(Due::Timer));
            assert_eq!(schedule.next(0), now + period);
        }
    }

    #[test]
    fn confirmations_are_reported_soon_together_and_do_not_put_off_the_timer() {
        let now = Instant::now();
        let mut schedule = Schedule::new(None, now);
        schedule.sent(now, 0, Some(Due::Timer));
        assert_eq!(schedule.due(now + 99 * MS, 7), None);
        assert_eq!(schedule.next(7), now + 100 * MS);
        assert_eq!(schedule.due(now + 100 * MS, 7), Some(Due::Confirmed));
        schedule.sent(now + 100 * MS, 7, Some(Due::Confirmed));
        assert_eq!(schedule.due(now + 300 * MS, 7), None, "nothing new was confirmed");
        assert_eq!(schedule.due(now + 1000 * MS, 8), Some(Due::Timer));
    }

    #[test]
    fn an_update_tells_what_was_received_and_what_is_durable() {
        let bytes = Status { written: 9, flushed: 7, reply: true }.encode();
        assert_eq!(&bytes[..6], b"d\0\0\0\x26r");
        assert_eq!(
            bytes[6..30],
            [[0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, 7]].concat()
        );
        assert_eq!(bytes[38], 1);
        let bytes = Status { written: 5, flushed: 7, reply: false }.encode();
        assert_eq!((bytes[13], bytes[38]), (7, 0));
    }
}
