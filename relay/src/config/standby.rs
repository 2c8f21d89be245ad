//! `[standby]`: how several relays for one slot agree on which one reads it.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// Long against a pause of the machine and a slow commit, short against the patience of whoever waits for events. A process that
/// ends gives way at once, whatever this is.
const LEASE_MS: Key = Key {
    path: "standby.lease_ms",
    kind: Kind::Integer { min: 500, max: 600_000 },
    fallback: Fallback::Value("3000"),
    meaning: "How long a relay that hangs or is cut off keeps the slot from the others, in milliseconds; it renews its lease three times as often, and stops sending when it could not for so long.",
};
/// Ten looks a second at one row and at the slots, which are in the server's memory.
const LOOK_INTERVAL_MS: Key = Key {
    path: "standby.look_interval_ms",
    kind: Kind::Integer { min: 10, max: 60_000 },
    fallback: Fallback::Value("100"),
    meaning: "How often a waiting relay looks whether it is its turn, in milliseconds.",
};

pub(super) const KEYS: &[Key] = &[LEASE_MS, LOOK_INTERVAL_MS];

/// How relays for one slot take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// How long a lease lasts that is not renewed.
    pub lease: Duration,
    /// How often a waiting relay looks.
    pub look_interval: Duration,
}

impl Standby {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self { lease: settings.milliseconds(&LEASE_MS), look_interval: settings.milliseconds(&LOOK_INTERVAL_MS) }
    }
}
