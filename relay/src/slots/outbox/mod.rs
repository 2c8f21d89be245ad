//! Care of the outbox table once its events are delivered: partitions that come and go, rows that are pruned, and what it all costs.
//!
//! Guarantee: nothing is removed before every logical slot of the database has confirmed a position behind it. A slot never confirms
//! more than the relay's progress record witnesses, so that is the proof of delivery.

pub mod delivered;
pub mod keep;
pub mod partitions;
pub mod prune;
pub mod stats;
