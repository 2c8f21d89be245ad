//! What is written for others than Kafka, as pure code: values in, bytes out.
//!
//! Architecture invariant: nothing here does I/O, and nothing here knows where a value comes from or where the bytes go.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod native;
