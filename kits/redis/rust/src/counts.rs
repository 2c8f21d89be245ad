//! How pages were served: the numbers behind a cache's hit ratio.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::State;

/// Counts since the start of this process; shared by all clones of a cache.
#[derive(Debug, Default)]
pub struct Counts {
    hits: AtomicU64,
    filled: AtomicU64,
    refused: AtomicU64,
    stale: AtomicU64,
    bypassed: AtomicU64,
    failed: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Served from the cache, valid.
    pub hits: u64,
    /// Served from the database, and stored.
    pub filled: u64,
    /// Served from the database, and not stored: invalidated while it was read.
    pub refused: u64,
    /// Served from the cache as stale, because the database could not be asked.
    pub stale: u64,
    /// Served from the database, because Redis could not be asked.
    pub bypassed: u64,
    /// Not served at all.
    pub failed: u64,
}

impl Totals {
    /// The part of all pages served that were valid and in the cache; none before the first page.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits + self.filled + self.refused + self.stale + self.bypassed;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}

impl Counts {
    /// The counts now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            hits: self.hits.load(Relaxed),
            filled: self.filled.load(Relaxed),
            refused: self.refused.load(Relaxed),
            stale: self.stale.load(Relaxed),
            bypassed: self.bypassed.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }

    pub(crate) fn served(&self, state: State) {
        let count = match state {
            State::Hit => &self.hits,
            State::Filled => &self.filled,
            State::Refused => &self.refused,
            State::Stale(_) => &self.stale,
            State::Bypassed => &self.bypassed,
        };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_counts_every_page_served_and_no_failure() {
        let counts = Counts::default();
        assert_eq!(counts.totals().hit_ratio(), None);
        for state in [State::Hit, State::Hit, State::Filled, State::Bypassed] {
            counts.served(state);
        }
        counts.failed();
        assert_eq!(counts.totals().hit_ratio(), Some(0.5));
    }
}
