//! `[parking]`: how much may be set aside because it cannot be delivered, and for how long it is remembered.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// Few enough that the relay knows every held key by heart, in some ten megabytes.
const EVENTS_MAX: Key = Key {
    path: "parking.events_max",
    kind: Kind::Integer { min: 0, max: 10_000_000 },
    fallback: Fallback::Value("100000"),
    meaning: "Most events that may be parked, those that wait behind another of their key included. When it is reached, the stream waits. 0 parks nothing.",
};
const BYTES_MAX: Key = Key {
    path: "parking.bytes_max",
    kind: Kind::Integer { min: 0, max: 1_099_511_627_776 },
    fallback: Fallback::Value("268435456"),
    meaning: "Most bytes of keys, values and headers that may be parked. When it is reached, the stream waits.",
};
/// A person asked and waits for the effect, and a look costs the server less than a millisecond.
const POLL_INTERVAL_MS: Key = Key {
    path: "parking.poll_interval_ms",
    kind: Kind::Integer { min: 10, max: 3_600_000 },
    fallback: Fallback::Value("1000"),
    meaning: "How often the relay looks whether `postrider parked` asked for something, in milliseconds; only while an event is parked.",
};
const KEEP_DAYS: Key = Key {
    path: "parking.keep_days",
    kind: Kind::Integer { min: 1, max: 3650 },
    fallback: Fallback::Value("30"),
    meaning: "How long events stay readable in `postrider.parked` after they were delivered, skipped or discarded, in days. The audit stays.",
};

pub(super) const KEYS: &[Key] = &[EVENTS_MAX, BYTES_MAX, POLL_INTERVAL_MS, KEEP_DAYS];

/// What may be parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parking {
    /// Most events.
    pub events_max: usize,
    /// Most bytes.
    pub bytes_max: u64,
    /// How often to look whether something was asked for.
    pub poll_interval: Duration,
    /// How long to keep what was settled.
    pub keep: Duration,
}

impl Parking {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self {
            events_max: usize::try_from(settings.unsigned(&EVENTS_MAX)).unwrap_or(usize::MAX),
            bytes_max: settings.unsigned(&BYTES_MAX),
            poll_interval: settings.milliseconds(&POLL_INTERVAL_MS),
            keep: Duration::from_secs(settings.unsigned(&KEEP_DAYS) * 24 * 60 * 60),
        }
    }
}
