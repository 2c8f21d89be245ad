//! `[partitions]`: the days that an outbox is cut into: how many are kept ready, how long delivered ones stay, and who looks after them.

use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// What a choice of yes and no is called, as TOML calls it.
const NO_YES: &[&str] = &["false", "true"];

const MANAGE: Key = Key {
    path: "partitions.manage",
    kind: Kind::Choice(NO_YES),
    fallback: Fallback::Value("false"),
    meaning: "true: `postrider run` looks after the partitions itself, for which its role must be a member of the table's owner. Else `postrider outbox partitions --apply` does, from cron.",
};
/// A week lets a broken cron be found before anything goes to the rest.
const AHEAD_DAYS: Key = Key {
    path: "partitions.ahead_days",
    kind: Kind::Integer { min: 1, max: 366 },
    fallback: Fallback::Value("7"),
    meaning: "Whole days after today that have a partition, at least.",
};
/// As long as a gap may take to be noticed and filled from the table.
const RETENTION_DAYS: Key = Key {
    path: "partitions.retention_days",
    kind: Kind::Integer { min: 1, max: 36_500 },
    fallback: Fallback::Value("7"),
    meaning: "Whole days that a partition stays after its end. Then it leaves, once everything in it is delivered. It must exceed the longest transaction that writes events.",
};
const INTERVAL_MS: Key = Key {
    path: "partitions.interval_ms",
    kind: Kind::Integer { min: 100, max: 86_400_000 },
    fallback: Fallback::Value("600000"),
    meaning: "How often `postrider run` looks after the partitions, in milliseconds.",
};

pub(super) const KEYS: &[Key] = &[MANAGE, AHEAD_DAYS, RETENTION_DAYS, INTERVAL_MS];

/// How the days of an outbox come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    /// Whether the relay looks after them while it runs.
    pub manage: bool,
    /// Whole days after today that have one.
    pub ahead_days: u32,
    /// Whole days that one stays after its end.
    pub retention_days: u32,
    /// How often the relay looks.
    pub interval: Duration,
}

impl Partitions {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let days = |days: u64| u32::try_from(days).unwrap_or(u32::MAX);
        Self {
            manage: settings.flag(&MANAGE),
            ahead_days: days(settings.unsigned(&AHEAD_DAYS)),
            retention_days: days(settings.unsigned(&RETENTION_DAYS)),
            interval: settings.milliseconds(&INTERVAL_MS),
        }
    }
}
