//! Where batches come from. Each source is a file or folder of its own; none knows any sink.
//!
//! `wal` reads a slot and `snapshot` the rows that were there before; the two share the progress record, and `capture` composes
//! them. `kafka` reads what those wrote, for the workers.

pub mod capture;
#[cfg(feature = "downstream")]
pub mod kafka;
pub mod polling;
pub mod snapshot;
pub mod wal;
