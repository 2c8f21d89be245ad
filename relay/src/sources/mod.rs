//! Where batches come from. Each source is a file or folder of its own; none knows another, or any sink.

pub mod wal;
