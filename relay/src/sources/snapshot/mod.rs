//! The initial snapshot.

#[allow(dead_code, reason = "the reader of rows comes next")]
mod progress;

pub use progress::{Key, SnapshotProgress, Stretch, TableProgress};
