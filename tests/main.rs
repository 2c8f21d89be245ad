//! The promises of Postrider, one file a promise, on real services.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adopt;
mod capture;
mod capture_added;
mod capture_setup;
mod care;
mod check;
mod crash;
mod cut;
mod debezium_outbox;
mod downstream;
mod failover;
mod faults;
mod guard;
mod idle;
mod kill;
mod mistakes;
mod observe;
mod outage;
mod parking;
mod polling;
mod recover;
mod replay;
mod routing;
mod secure_postgres;
mod several;
mod slot_plan;
mod snapshot;
mod snapshot_incremental;
mod spill;
mod takeover;
mod tidy;
mod topics;
mod travel;
mod writer;
