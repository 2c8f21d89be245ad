//! Pure: a change becomes a message. No I/O, no state but caches.

pub mod change;
pub mod content;
pub mod debezium;
pub mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod headers;
pub mod json;
pub mod outbox;
pub mod position;
pub mod record;
pub mod row;
#[cfg(feature = "downstream")]
pub mod rules;
pub mod template;
pub mod topic;
pub mod unfit;
