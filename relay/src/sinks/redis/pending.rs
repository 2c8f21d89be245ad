//! How much waits for its second pass: a bound in bytes, for one record may fan out over a million members.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::telemetry::Metrics;

/// What is accepted and not finished.
pub(super) struct Pending {
    bytes_max: usize,
    bytes: AtomicUsize,
    works: AtomicUsize,
    changed: Notify,
    metrics: Arc<Metrics>,
}

/// A share of what is pending, given back when dropped.
pub(super) struct Share {
    of: Arc<Pending>,
    bytes: usize,
    names: usize,
}

impl Pending {
    pub(super) fn new(bytes_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: 0.into(), works: 0.into(), changed: Notify::new(), metrics })
    }

    /// Counts names that wait from now on.
    pub(super) fn take(self: &Arc<Self>, bytes: usize, names: usize) -> Share {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.works.fetch_add(1, Ordering::Relaxed);
        self.metrics.redis.pending.add(names as i64);
        self.metrics.redis.pending_bytes.add(bytes as i64);
        Share { of: Arc::clone(self), bytes, names }
    }

    /// Waits until less than the bound is pending. What a batch fans out to is known only later: one may go beyond it.
    pub(super) async fn room(&self) {
        self.until(|pending| pending.bytes.load(Ordering::Relaxed) < pending.bytes_max).await;
    }

    /// Waits until nothing is pending.
    pub(super) async fn empty(&self) {
        self.until(|pending| pending.works.load(Ordering::Relaxed) == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }
}

impl Share {
    /// Counts what became known of it: what its fan-outs named.
    pub(super) fn set(&mut self, bytes: usize, names: usize) {
        let of = &self.of;
        of.bytes.fetch_add(bytes, Ordering::Relaxed);
        of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        of.metrics.redis.pending.add(names as i64 - self.names as i64);
        of.metrics.redis.pending_bytes.add(bytes as i64 - self.bytes as i64);
        (self.bytes, self.names) = (bytes, names);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.works.fetch_sub(1, Ordering::Relaxed);
        self.of.metrics.redis.pending.sub(self.names as i64);
        self.of.metrics.redis.pending_bytes.sub(self.bytes as i64);
        self.of.changed.notify_waiters();
    }
}
