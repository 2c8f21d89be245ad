//! `[breaker]`: when a worker stops asking a service that is away, and how it finds out that it is back.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// With the waits of `[retry]` between them, some two seconds of a service that refuses connections.
const FAILURES: Key = Key {
    path: "breaker.failures",
    kind: Kind::Integer { min: 1, max: 1000 },
    fallback: Fallback::Value("5"),
    meaning: "The circuit breaker of an end opens after so many failures in a row. Only outages count, never what a record causes.",
};
const WITHIN_MS: Key = Key {
    path: "breaker.within_ms",
    kind: Kind::Integer { min: 1, max: 3_600_000 },
    fallback: Fallback::Value("60000"),
    meaning: "Failures further apart than this are not in a row, in milliseconds.",
};
const OPEN_MS: Key = Key {
    path: "breaker.open_ms",
    kind: Kind::Integer { min: 1, max: 3_600_000 },
    fallback: Fallback::Value("2000"),
    meaning: "How long an open breaker leaves the service alone before it probes it, in milliseconds. Twice as long after each probe that fails.",
};
/// A service that is back waits no longer for its worker than for anybody else's health check.
const OPEN_MAX_MS: Key = Key {
    path: "breaker.open_max_ms",
    kind: Kind::Integer { min: 1, max: 3_600_000 },
    fallback: Fallback::Value("15000"),
    meaning: "How long an open breaker leaves the service alone at most, in milliseconds.",
};
const SUCCESSES: Key = Key {
    path: "breaker.successes",
    kind: Kind::Integer { min: 1, max: 1000 },
    fallback: Fallback::Value("2"),
    meaning: "The breaker closes after so many probes in a row that succeed.",
};
const PROBE_TIMEOUT_MS: Key = Key {
    path: "breaker.probe_timeout_ms",
    kind: Kind::Integer { min: 1, max: 600_000 },
    fallback: Fallback::Value("5000"),
    meaning: "How long a probe may take, in milliseconds; one that takes longer has failed.",
};

pub(super) const KEYS: &[Key] = &[FAILURES, WITHIN_MS, OPEN_MS, OPEN_MAX_MS, SUCCESSES, PROBE_TIMEOUT_MS];

/// When a worker's breakers open and close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Failures further apart are not in a row.
    pub within: Duration,
    /// How long it stays open before the first probe.
    pub open: Duration,
    /// How long it stays open at most; never less than `open`.
    pub open_max: Duration,
    /// Probes in a row that close it.
    pub successes: u32,
    /// How long a probe may take.
    pub probe_timeout: Duration,
}

impl Breaker {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let (open, open_max) = (settings.milliseconds(&OPEN_MS), settings.milliseconds(&OPEN_MAX_MS));
        // A zero stands for a value that was refused already.
        if open_max < open && !open_max.is_zero() {
            settings.refuse(&OPEN_MAX_MS, "must not be less than `breaker.open_ms`");
        }
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            failures: count(settings.unsigned(&FAILURES)),
            within: settings.milliseconds(&WITHIN_MS),
            open,
            open_max,
            successes: count(settings.unsigned(&SUCCESSES)),
            probe_timeout: settings.milliseconds(&PROBE_TIMEOUT_MS),
        }
    }
}
