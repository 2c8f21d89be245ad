//! `[shutdown]`, `[retry]` and `[process]`: how the process ends, how long it waits between attempts, and what it may hold.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// A third of the 30 s that Kubernetes grants a pod by default, so that what follows the drain has its time too.
const DRAIN_DEADLINE_MS: Key = Key {
    path: "shutdown.drain_deadline_ms",
    kind: Kind::Integer { min: 0, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long SIGTERM waits for what is in flight to become durable, in milliseconds; half as long again for a batch that is just being accepted. What is not by then is sent again by the next start.",
};
/// Short: most trouble is a connection that can be had again at once.
const INITIAL_MS: Key = Key {
    path: "retry.initial_ms",
    kind: Kind::Integer { min: 1, max: 60_000 },
    fallback: Fallback::Value("100"),
    meaning: "The wait before the first new attempt after trouble, in milliseconds; each further wait is twice as long.",
};
/// A server that comes back is found again within this; a server that is down is asked six times a minute.
const MAX_MS: Key = Key {
    path: "retry.max_ms",
    kind: Kind::Integer { min: 1, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "The longest wait between two attempts, in milliseconds.",
};

/// Four relays at their own bound; of more of them hardly all are behind at once.
const IN_FLIGHT_BYTES_MAX: Key = Key {
    path: "process.in_flight_bytes_max",
    kind: Kind::Integer { min: 1_048_576, max: 68_719_476_736 },
    fallback: Fallback::Value("67108864"),
    meaning: "Most bytes that all relays of the process together may have read and not yet durable, where there are several: half of it is theirs in equal parts, half is for those that need more, in equal parts among them.",
};

pub(super) const KEYS: &[Key] = &[DRAIN_DEADLINE_MS, INITIAL_MS, MAX_MS, IN_FLIGHT_BYTES_MAX];

/// What all relays of the process together may have in flight, in bytes.
pub(super) fn in_flight_bytes_max(settings: &mut Settings) -> usize {
    usize::try_from(settings.unsigned(&IN_FLIGHT_BYTES_MAX)).unwrap_or(usize::MAX)
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long SIGTERM waits for what is in flight.
    pub drain_deadline: Duration,
}

impl Shutdown {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self { drain_deadline: settings.milliseconds(&DRAIN_DEADLINE_MS) }
    }
}

/// How long to wait between attempts; there is no last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The first wait; each further one is twice as long.
    pub initial: Duration,
    /// The longest wait; never less than `initial`.
    pub max: Duration,
}

impl Retry {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let (initial, max) = (settings.milliseconds(&INITIAL_MS), settings.milliseconds(&MAX_MS));
        // A zero stands for a value that was refused already.
        if max < initial && !max.is_zero() {
            settings.refuse(&MAX_MS, "must not be less than `retry.initial_ms`");
        }
        Self { initial, max }
    }
}
