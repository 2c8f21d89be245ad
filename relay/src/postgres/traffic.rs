//! What went over a replication stream, counted by the thread that reads it and looked at by its consumer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The counters, shared by both sides.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    received_bytes: AtomicU64,
    status_updates: AtomicU64,
    /// When the oldest confirmation that was not reported yet was given.
    unreported: Mutex<Option<Instant>>,
    reported: AtomicU64,
    report_wait_us: AtomicU64,
}

/// The counters of a stream at one moment, from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that the server sent.
    pub received_bytes: u64,
    /// Status updates that it was sent.
    pub status_updates: u64,
    /// Status updates that told it of something newly confirmed.
    pub reported: u64,
    /// How long the newest of those confirmations had waited for its report.
    pub report_wait: Duration,
}

impl Counted {
    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Something was confirmed, and waits for its report.
    pub(crate) fn confirmed(&self) {
        self.unreported.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// A status update goes out, with all that is confirmed.
    pub(crate) fn status_update(&self) {
        self.status_updates.fetch_add(1, Ordering::Relaxed);
        let since = self.unreported.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let waited = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.report_wait_us.store(waited, Ordering::Relaxed);
            self.reported.fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            reported: self.reported.load(Ordering::Acquire),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            status_updates: self.status_updates.load(Ordering::Relaxed),
            report_wait: Duration::from_micros(self.report_wait_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_update_that_tells_something_new_counts_as_a_report() {
        let counted = Counted::default();
        counted.received(7);
        counted.status_update();
        assert_eq!((counted.traffic().status_updates, counted.traffic().reported), (1, 0));
        counted.confirmed();
        counted.confirmed();
        counted.status_update();
        counted.status_update();
        let traffic = counted.traffic();
        assert_eq!((traffic.received_bytes, traffic.status_updates, traffic.reported), (7, 3, 1));
    }
}
