//! Rows that are there already: the initial snapshot, and requests for snapshots beside the stream.

pub(super) mod order;
#[allow(dead_code, reason = "the reader of rows comes next")]
mod progress;
#[allow(dead_code, reason = "who reads tables beside the stream comes next")]
pub(super) mod requests;

pub use progress::{Key, SnapshotProgress, Stretch, TableProgress};
