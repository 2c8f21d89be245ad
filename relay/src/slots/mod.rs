//! What a DBA does, by ordinary SQL: setting a database up for the relay.
//!
//! Nothing here is on the way of an event; every statement runs because a person asked for it.

pub mod change;
pub mod check;
pub mod error;
pub mod facts;
pub mod guard;
pub mod list;
pub mod outbox;
pub mod parked;
pub mod plan;
pub mod recover;
pub mod session;
pub mod setup;
pub mod snapshots;
pub mod watch;
