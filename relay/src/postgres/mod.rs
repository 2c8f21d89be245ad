//! The native Postgres replication client: no byte of WAL is skipped, repeated or confirmed behind its caller's back.
//!
//! A [`connection::Connection`] starts up, authenticates and runs commands on a blocking socket; `start_logical` turns it into a
//! [`stream::ReplicationStream`], whose own thread reads, answers keepalives and reports progress whatever the consumer does.
//! What arrives is handed on as [`chunk::Chunk`]s of many messages, which [`pgoutput::decode`] reads in place. Rows that are there
//! already come by [`copy::CopyOut`].
//!
//! Architecture invariant: this module imports nothing else of the relay, and nothing in it decides what may be confirmed.

mod adopted;
mod authentication;
mod cursor;
mod dial;
mod handover;
mod passfile;
mod quote;
mod reader;
mod scan;
mod startup;
mod status;
mod tls;
mod transport;

pub mod chunk;
pub mod condition;
pub mod connection;
pub mod copy;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod lsn;
pub mod options;
pub mod pgoutput;
pub mod replication;
pub mod retention;
pub mod security;
pub mod session;
pub mod slot;
pub mod stream;
pub mod traffic;
