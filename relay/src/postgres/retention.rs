//! How long the log that a slot keeps may still grow: pure arithmetic over what a server says, so that whoever watches a slot
//! reckons alike.
//!
//! The time left is reckoned from the rate at which the server writes its log, as if the slot stayed where it is. A slot whose
//! reader keeps up is not on its way to a limit; for it, the same figure says how long its reader may be away.

use std::collections::VecDeque;

/// The server notes which transactions run every 15 seconds, and only then can a slot's `restart_lsn` move: a slot that keeps
/// up holds what is written in two such intervals, and the reader may be as late.
const BEHIND_SECONDS: f64 = 30.0;

/// Less than this is nobody's trouble: two segments of the default size.
const BEHIND_BYTES: f64 = 33_554_432.0;

/// How fast the log grows, as the average over a window.
#[derive(Debug, Clone, PartialEq)]
pub struct WalRate {
    window: f64,
    samples: VecDeque<(f64, u64)>,
}

impl WalRate {
    /// Nothing measured yet; the average is over the last `window` seconds.
    #[must_use]
    pub fn over(window: f64) -> Self {
        Self { window, samples: VecDeque::new() }
    }

    /// Notes that the log ended at `position`, in bytes, when the clock showed `seconds`. Where it goes back, as after a
    /// failover, what was measured before says nothing.
    pub fn add(&mut self, seconds: f64, position: u64) {
        if let Some((last, before)) = self.samples.back() {
            if position < *before || seconds < *last {
                self.samples.clear();
            } else if seconds == *last {
                return;
            }
        }
        self.samples.push_back((seconds, position));
        while self.samples.get(1).is_some_and(|(second, _)| seconds - second >= self.window) {
            self.samples.pop_front();
        }
    }

    /// The average, in bytes a second; `None` before there are two samples.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.samples.front()?, self.samples.back()?);
        #[expect(clippy::cast_precision_loss, reason = "what is written between two looks is far below 2^52 bytes")]
        let written = (to - from) as f64;
        (last > first).then(|| written / (last - first))
    }

    /// How many seconds the average is over.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }
}

/// What ends a slot, or what a slot must not outgrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The server's `max_slot_wal_keep_size`, beyond which it gives the slot up.
    KeepSize,
    /// What the operator says that the disk has room for, `wal_disk_bytes`.
    Disk,
    /// The server's `idle_replication_slot_timeout`, PostgreSQL 18 and later.
    Idle,
}

impl Limit {
    /// The setting that makes it.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::KeepSize => "max_slot_wal_keep_size",
            Self::Disk => "wal_disk_bytes",
            Self::Idle => "idle_replication_slot_timeout",
        }
    }
}

/// How a slot stands to the log and to what limits it. All in bytes but where it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Log that is kept for it; `None` if it keeps none.
    pub retained_bytes: Option<i64>,
    /// Log that its reader has not confirmed; `None` where a reader confirms nothing but what it keeps.
    pub lag_bytes: Option<i64>,
    /// Log that may be written before the server may give it up; `None` without a limit.
    pub safe_bytes: Option<i64>,
    /// Log that the disk has room for; `None` if nobody said.
    pub disk_bytes: Option<i64>,
    /// Seconds until the server gives it up because nobody reads it; `None` if it does not, or somebody does.
    pub idle_seconds: Option<f64>,
    /// Whether somebody reads it.
    pub is_read: bool,
}

/// The time until a limit is reached, and which.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    /// In seconds; 0 once it is reached.
    pub seconds: f64,
    /// The limit that comes first.
    pub limit: Limit,
}

/// What becomes of a slot if all goes on as it does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outlook {
    /// Whether its reader is as fast as the log grows.
    pub keeps_up: bool,
    /// The time until the first limit; `None` if it keeps up, or if no limit comes nearer.
    pub left: Option<TimeLeft>,
    /// The same as if it stayed where it is from now on.
    pub if_stopped: Option<TimeLeft>,
}

/// Reckons what becomes of a slot while the log grows by `rate` bytes a second.
#[must_use]
pub fn outlook(standing: &Standing, rate: Option<f64>) -> Outlook {
    let rate = rate.unwrap_or_default();
    let by_log = [
        (Limit::KeepSize, standing.safe_bytes),
        (Limit::Disk, standing.disk_bytes.zip(standing.retained_bytes).map(|(room, kept)| room.saturating_sub(kept))),
    ];
    let by_log = by_log.into_iter().filter_map(|(limit, room)| Some(TimeLeft { seconds: until(room?, rate)?, limit }));
    let idle = standing.idle_seconds.map(|seconds| TimeLeft { seconds: seconds.max(0.0), limit: Limit::Idle });
    let if_stopped = by_log.chain(idle).min_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let keeps_up = keeps_up(standing, rate);
    let reached = if_stopped.filter(|left| left.seconds <= 0.0);
    Outlook { keeps_up, left: if keeps_up { reached } else { if_stopped }, if_stopped }
}

/// When `room` bytes are full; `None` for never.
#[expect(clippy::cast_precision_loss, reason = "a rounded time is as good")]
fn until(room: i64, rate: f64) -> Option<f64> {
    match (room <= 0, rate > 0.0) {
        (true, _) => Some(0.0),
        (false, true) => Some(room as f64 / rate),
        (false, false) => None,
    }
}

/// Whether what is not confirmed, and what is kept beyond that, are as little as of a reader that is never late.
#[expect(clippy::cast_precision_loss, reason = "a rounded size is as good")]
fn keeps_up(standing: &Standing, rate: f64) -> bool {
    let Some(retained) = standing.retained_bytes else { return standing.is_read };
    let bound = (rate * BEHIND_SECONDS).max(BEHIND_BYTES);
    let lag = standing.lag_bytes.unwrap_or(retained);
    standing.is_read && lag as f64 <= bound && retained.saturating_sub(lag) as f64 <= 2.0 * bound
}

/// What may still be written before the server may give up a slot that keeps the log from `restart` on, reckoned as the server
/// does; for standbys, which do not tell it.
///
/// It is given up when the log has gone on by more than `keep_bytes`, in whole segments, after the segment of `restart`.
#[must_use]
pub fn safe_bytes(restart: u64, end: u64, keep_bytes: u64, segment_bytes: u64) -> i64 {
    let segment = segment_bytes.max(1);
    let fails = (restart / segment).saturating_add(keep_bytes / segment).saturating_add(1).saturating_mul(segment);
    let room = i128::from(fails) - i128::from(end);
    i64::try_from(room).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1 << 20;

    fn rate(samples: &[(f64, u64)]) -> WalRate {
        let mut rate = WalRate::over(60.0);
        samples.iter().for_each(|(seconds, position)| rate.add(*seconds, *position));
        rate
    }

    #[test]
    fn the_rate_is_the_average_over_the_window_and_starts_anew_after_a_step_back() {
        assert_eq!(rate(&[]).bytes_per_second(), None);
        assert_eq!(rate(&[(1.0, 10)]).bytes_per_second(), None);
        assert_eq!(rate(&[(1.0, 10), (1.0, 20)]).bytes_per_second(), None, "a clock that stands");
        assert_eq!(rate(&[(1.0, 10), (3.0, 30)]).bytes_per_second(), Some(10.0));
        let long: Vec<(f64, u64)> = (0..100_u32).map(|n| (f64::from(n) * 5.0, u64::from(n) * u64::from(n))).collect();
        let over = rate(&long);
        assert!((over.seconds() - 60.0).abs() < 1e-9, "{over:?}");
        assert_eq!(over.bytes_per_second(), Some((99.0 * 99.0 - 87.0 * 87.0) / 60.0));
        assert_eq!(rate(&[(1.0, 1000), (2.0, 2000), (3.0, 500)]).bytes_per_second(), None, "another timeline");
        assert_eq!(rate(&[(1.0, 1000), (2.0, 2000), (3.0, 500), (4.0, 600)]).bytes_per_second(), Some(100.0));
    }

    #[test]
    fn the_limit_that_comes_first_is_named() {
        let stuck = Standing {
            retained_bytes: Some(100 * MIB),
            lag_bytes: Some(100 * MIB),
            safe_bytes: Some(200 * MIB),
            ..Standing::default()
        };
        let left = |standing: Standing, rate| {
            outlook(&standing, rate).left.map(|left| (left.limit, left.seconds.round() as i64))
        };
        let rate = Some(MIB as f64);
        assert_eq!(left(stuck, rate), Some((Limit::KeepSize, 200)));
        assert_eq!(left(Standing { disk_bytes: Some(150 * MIB), ..stuck }, rate), Some((Limit::Disk, 50)));
        assert_eq!(left(Standing { disk_bytes: Some(90 * MIB), ..stuck }, rate), Some((Limit::Disk, 0)));
        assert_eq!(left(Standing { idle_seconds: Some(7.0), ..stuck }, rate), Some((Limit::Idle, 7)));
        assert_eq!(left(Standing { safe_bytes: None, ..stuck }, rate), None, "no limit");
        assert_eq!(left(stuck, Some(0.0)), None, "nothing is written");
        assert_eq!(left(stuck, None), None, "nothing was measured");
        assert_eq!(left(Standing { safe_bytes: Some(-MIB), ..stuck }, None), Some((Limit::KeepSize, 0)), "reached");
        assert_eq!(left(Standing::default(), rate), None, "a slot that keeps nothing");
    }

    #[test]
    fn a_reader_that_keeps_up_is_on_its_way_to_no_limit_and_one_behind_or_pinned_is() {
        let read = Standing {
            retained_bytes: Some(20 * MIB),
            lag_bytes: Some(MIB),
            safe_bytes: Some(200 * MIB),
            is_read: true,
            ..Standing::default()
        };
        let seconds = |left: Option<TimeLeft>| left.map(|left| left.seconds.round() as i64);
        let rate = Some(MIB as f64);
        let at = outlook(&read, rate);
        assert_eq!((at.keeps_up, seconds(at.left), seconds(at.if_stopped)), (true, None, Some(200)));
        for (why, standing) in [
            ("nobody reads it", Standing { is_read: false, ..read }),
            ("it is behind", Standing { lag_bytes: Some(90 * MIB), retained_bytes: Some(100 * MIB), ..read }),
            ("a transaction pins it", Standing { retained_bytes: Some(100 * MIB), ..read }),
        ] {
            let at = outlook(&standing, rate);
            assert_eq!((at.keeps_up, seconds(at.left)), (false, Some(200)), "{why}");
        }
        let fast =
            outlook(&Standing { retained_bytes: Some(600 * MIB), lag_bytes: Some(200 * MIB), ..read }, Some(1e7));
        assert!(fast.keeps_up, "what a fast server writes in half a minute is no arrear: {fast:?}");
        let reached = outlook(&Standing { safe_bytes: Some(0), ..read }, rate);
        assert_eq!(seconds(reached.left), Some(0), "a limit that is reached is said though it keeps up");
    }

    #[test]
    fn a_slot_may_keep_whole_segments() {
        let segment = 16 << 20;
        assert_eq!(safe_bytes(0, 0, 64 << 20, segment), 80 << 20);
        assert_eq!(safe_bytes(segment + 5, 2 * segment, 0, segment), 0);
        assert_eq!(safe_bytes(5, 200 << 20, 64 << 20, segment), -(120 << 20));
        assert_eq!(safe_bytes(u64::MAX, 0, u64::MAX, 1), i64::MAX);
    }
}
