//! The writing ends.
//!
//! A new sink is five edits: its file here, its section in `config`, its case in `app`, its line in the contract suite
//! (`relay/tests/sink_contract.rs`), and its metrics in `telemetry`.
//!
//! Architecture invariant: a sink knows no source, and no source's form of a position.

#[cfg(feature = "downstream")]
pub mod clickhouse;
pub mod kafka;
pub mod lots;
pub mod null;
#[cfg(feature = "downstream")]
pub mod redis;

pub use kafka::{Kafka, KafkaOptions};
pub use null::Null;
#[cfg(feature = "downstream")]
pub use redis::{InvalidatorOptions, Redis, RedisOptions};
