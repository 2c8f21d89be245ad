//! How much WAL the slot holds back against what it may: pure, so that each rung of the ladder is tested by a table.

use std::fmt;
use std::time::Duration;

/// What the slot may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Most bytes of WAL that it may hold back.
    pub bytes: Option<u64>,
    /// The same as a share of the server's own limit, in percent.
    pub percent: Option<u64>,
    /// How much time must be left until a limit is reached.
    pub time_left: Option<Duration>,
    /// The share of the budget from which on the guard warns, in percent.
    pub warn_percent: u64,
}

/// How the slot stands to the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// WAL that the server keeps for the slot, in bytes.
    pub retained: u64,
    /// WAL after what the slot confirmed, in bytes. Less than what is kept where a transaction is open.
    pub unconfirmed: u64,
    /// The server's own limit (`max_slot_wal_keep_size`), in bytes.
    pub limit: Option<u64>,
    /// Until a limit is reached at the present rate.
    pub time_left: Option<Duration>,
}

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Within the budget.
    Calm,
    /// A good part of the budget is used.
    Warned,
    /// The budget is used up.
    Over,
}

impl Level {
    /// As logs, metrics and webhooks name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Warned => "warned",
            Self::Over => "over",
        }
    }
}

/// Which budget is used most, and how far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The rung.
    pub level: Level,
    /// The part of the budget that is used: 1 is all of it. 0 without a budget.
    pub used: f64,
    /// Which budget that is.
    pub by: By,
    /// The budget in bytes, the tightest of those in bytes.
    pub budget_bytes: Option<u64>,
    /// Whether most of what is kept is kept by an open transaction, and what was not delivered would be within the budget. The
    /// server looks seldom which transactions are over: after a burst much is kept that nothing but an outage keeps from being freed.
    pub pinned: bool,
}

/// A kind of budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// In bytes.
    Bytes,
    /// By the share of the server's limit.
    Percent,
    /// By the time that is left.
    Time,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "guard.wal_bytes_max",
            Self::Percent => "guard.wal_percent_max",
            Self::Time => "guard.time_left_ms_min",
        })
    }
}

/// Judges where the slot stands.
#[must_use]
pub fn judge(budget: &Budget, standing: &Standing) -> Judgement {
    let share = budget.percent.zip(standing.limit).map(|(percent, limit)| limit / 100 * percent);
    let of = |bytes: u64| standing.retained as f64 / (bytes.max(1)) as f64;
    let time = budget
        .time_left
        .zip(standing.time_left)
        .map(|(least, left)| least.as_secs_f64() / left.as_secs_f64().max(1e-3));
    let used = [(By::Bytes, budget.bytes.map(of)), (By::Percent, share.map(of)), (By::Time, time)];
    let most = used.into_iter().filter_map(|(by, used)| used.map(|used| (by, used)));
    let (by, used) = most.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or((By::Bytes, 0.0));
    let budget_bytes = budget.bytes.into_iter().chain(share).min();
    let level = if used >= 1.0 {
        Level::Over
    } else if used * 100.0 >= budget.warn_percent as f64 {
        Level::Warned
    } else {
        Level::Calm
    };
    Judgement {
        level,
        used,
        by,
        budget_bytes,
        pinned: standing.unconfirmed < standing.retained / 2
            && budget_bytes.is_none_or(|budget| standing.unconfirmed < budget),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const BUDGET: Budget = Budget { bytes: Some(100 * MIB), percent: None, time_left: None, warn_percent: 50 };

    fn retained(retained: u64) -> Standing {
        Standing { retained, unconfirmed: retained, limit: None, time_left: None }
    }

    #[test]
    fn the_rungs_are_at_the_shares_of_the_budget() {
        for (bytes, level) in [
            (0, Level::Calm),
            (50 * MIB - 1, Level::Calm),
            (50 * MIB, Level::Warned),
            (100 * MIB - 1, Level::Warned),
            (100 * MIB, Level::Over),
            (u64::MAX, Level::Over),
        ] {
            assert_eq!(judge(&BUDGET, &retained(bytes)).level, level, "{bytes}");
        }
    }

    #[test]
    fn without_a_budget_nothing_is_too_much() {
        let none = Budget { warn_percent: 50, ..Budget::default() };
        assert_eq!(judge(&none, &retained(u64::MAX)).level, Level::Calm);
        // A share of a limit that the server does not have is none.
        let share = Budget { percent: Some(75), ..none };
        assert_eq!(judge(&share, &retained(u64::MAX)).level, Level::Calm);
    }

    #[test]
    fn the_tightest_budget_counts_and_is_named() {
        let budget = Budget { percent: Some(50), time_left: Some(Duration::from_secs(600)), ..BUDGET };
        let standing = Standing { limit: Some(100 * MIB), ..retained(60 * MIB) };
        let judgement = judge(&budget, &standing);
        assert_eq!((judgement.level, judgement.by), (Level::Over, By::Percent));
        assert_eq!(judgement.budget_bytes, Some(50 * MIB));
        let soon = Standing { limit: Some(1000 * MIB), time_left: Some(Duration::from_secs(300)), ..standing };
        let judgement = judge(&budget, &soon);
        assert_eq!((judgement.level, judgement.by), (Level::Over, By::Time));
        let late = Standing { time_left: Some(Duration::from_secs(6000)), ..soon };
        assert_eq!(judge(&budget, &late).by, By::Bytes);
    }

    #[test]
    fn what_an_open_transaction_keeps_is_told_apart() {
        let pinned = Standing { unconfirmed: 10 * MIB, ..retained(200 * MIB) };
        assert!(judge(&BUDGET, &pinned).pinned);
        // What is not delivered is too much by itself.
        let both = Standing { unconfirmed: 100 * MIB, ..retained(300 * MIB) };
        assert!(!judge(&BUDGET, &both).pinned);
        assert!(!judge(&BUDGET, &retained(200 * MIB)).pinned);
        assert!(!judge(&BUDGET, &retained(0)).pinned);
    }
}
