//! What a sink holds of batches whose last [part](crate::pipeline::Part) has not come yet: written by the sink, read by the source,
//! which bounds what is held of all that was read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A partition of a topic.
type Partition = (Arc<str>, i32);

/// Bytes of batches that are not complete, by the partition that they are of. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Gathered(Arc<Mutex<HashMap<Partition, usize>>>);

impl Gathered {
    /// So many bytes are held of the partition's batch now.
    pub fn hold(&self, (topic, partition): &Partition, bytes: usize) {
        self.held().insert((Arc::clone(topic), *partition), bytes);
    }

    /// Nothing is held of the partition's batch any more: it is complete, or given up.
    pub fn release(&self, partition: &Partition) {
        self.held().remove(partition);
    }

    /// Nothing is held.
    pub fn clear(&self) {
        self.held().clear();
    }

    /// How many bytes are held of these partitions' batches.
    pub fn bytes(&self, partitions: impl IntoIterator<Item = Partition>) -> usize {
        let held = self.held();
        partitions.into_iter().filter_map(|partition| held.get(&partition)).sum()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Partition, usize>> {
        // Every holder leaves a whole map, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
