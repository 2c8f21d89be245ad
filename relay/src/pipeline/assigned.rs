//! Which partitions are this process's now: written by a source that shares its topics with others, read by whoever has work
//! of its own on them.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The partitions that a source holds. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Assigned(Arc<RwLock<HashSet<(Arc<str>, i32)>>>);

impl Assigned {
    /// The partition was given to this process.
    pub fn add(&self, topic: &Arc<str>, partition: i32) {
        self.write().insert((Arc::clone(topic), partition));
    }

    /// The partition was taken away.
    pub fn remove(&self, topic: &Arc<str>, partition: i32) {
        self.write().remove(&(Arc::clone(topic), partition));
    }

    /// Nothing is held.
    pub fn clear(&self) {
        self.write().clear();
    }

    /// Whether the partition is held.
    #[must_use]
    pub fn holds(&self, topic: &Arc<str>, partition: i32) -> bool {
        self.read().contains(&(Arc::clone(topic), partition))
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashSet<(Arc<str>, i32)>> {
        // Every holder leaves a whole set, so a panic elsewhere does not spoil it.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashSet<(Arc<str>, i32)>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
