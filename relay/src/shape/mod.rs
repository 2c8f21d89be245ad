//! Pure: a change becomes a message. No I/O, no state but caches.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod headers;
pub mod outbox;
pub mod position;
pub mod topic;
