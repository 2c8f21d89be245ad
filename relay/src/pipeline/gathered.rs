//! What a sink holds of batches whose last [part](crate::pipeline::Part) has not come yet: written by the sink, read by the source,
//! which bounds what is held of all that was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of batches that are not complete. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Gathered(Arc<AtomicUsize>);

impl Gathered {
    /// So many bytes are held now.
    pub fn hold(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
