//! Where batches come from. Each source is a file or folder of its own; none knows any sink.
//!
//! `wal` reads a slot and `snapshot` the rows that were there before; the two share the progress record, and `capture` composes
//! them.

pub mod capture;
pub mod snapshot;
pub mod wal;
