//! Which partitions are this process's now: written by a source that shares its topics with others, read by whoever has work
//! of its own on them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The partitions that a source holds. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Assigned(Arc<RwLock<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Each with the number of its giving.
    partitions: HashMap<(Arc<str>, i32), u64>,
    given: u64,
}

impl Assigned {
    /// The partition was given to this process.
    pub fn add(&self, topic: &Arc<str>, partition: i32) {
        let mut held = self.write();
        held.given += 1;
        let number = held.given;
        held.partitions.insert((Arc::clone(topic), partition), number);
    }

    /// The partition was taken away.
    pub fn remove(&self, topic: &Arc<str>, partition: i32) {
        self.write().partitions.remove(&(Arc::clone(topic), partition));
    }

    /// Nothing is held.
    pub fn clear(&self) {
        self.write().partitions.clear();
    }

    /// Whether the partition is held.
    #[must_use]
    pub fn holds(&self, topic: &Arc<str>, partition: i32) -> bool {
        self.since(topic, partition).is_some()
    }

    /// The number of the giving by which the partition is held: another one says that it may have been another process's
    /// meanwhile.
    #[must_use]
    pub fn since(&self, topic: &Arc<str>, partition: i32) -> Option<u64> {
        self.read().partitions.get(&(Arc::clone(topic), partition)).copied()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().partitions.is_empty()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        // Every holder leaves a whole map, so a panic elsewhere does not spoil it.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
