//! When letters are tried again by themselves whose want comes with another record, as one that lies in another partition.
//!
//! Known to this process only: another one begins with the first try. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::dead_letters::letters::Identity;

/// Before each try. Partitions of a topic are read side by side, so that the other record is seldom far away; after the last try
/// a person is asked.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(30), Duration::from_secs(120)];

/// The letters that rest.
#[derive(Debug, Default)]
pub(super) struct Rests(HashMap<Identity, Rest>);

#[derive(Debug)]
struct Rest {
    pauses: usize,
    until: Instant,
    /// Whether its time was told.
    told: bool,
}

impl Rests {
    /// The letter rests until its next try; false if it had them all.
    pub(super) fn begin(&mut self, letter: Identity, now: Instant) -> bool {
        let rest = self.0.entry(letter).or_insert(Rest { pauses: 0, until: now, told: false });
        let Some(pause) = PAUSES.get(rest.pauses) else { return false };
        *rest = Rest { pauses: rest.pauses + 1, until: now + *pause, told: false };
        true
    }

    /// Whether it is not the letter's time yet.
    pub(super) fn holds(&self, letter: &Identity, now: Instant) -> bool {
        self.0.get(letter).is_some_and(|rest| rest.until > now)
    }

    /// When the time of the next one is or was, of those of which it was not told.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter(|rest| !rest.told).map(|rest| rest.until).min()
    }

    /// It is told of those whose time has come.
    pub(super) fn tell(&mut self, now: Instant) {
        self.0.values_mut().filter(|rest| rest.until <= now).for_each(|rest| rest.told = true);
    }

    /// Forgets those that are none of these any more.
    pub(super) fn retain(&mut self, stays: impl Fn(&Identity) -> bool) {
        self.0.retain(|letter, _| stays(letter));
    }
}
