//! Postrider's relay: reads a logical replication slot and publishes the outbox to Kafka; and its workers, which carry on from
//! Kafka to ClickHouse and Redis. This page is the map.
//!
//! # The walk
//! `cli/run.rs` → [`app`] → [`sources::wal`] → [`postgres`]`/replication.rs` → `postgres/pgoutput/` → [`shape`] →
//! [`pipeline`]`/pump.rs` → [`pipeline`]`/parking.rs` → [`sinks`]`/kafka/`, and beside it [`sinks`]`/lots/`.
//!
//! With `[capture]` the same slot carries ordinary tables, in commit order with the events: [`sources::wal`]`/captured.rs`, its
//! `catalog.rs` for what the stream does not say, and [`shape::change`] for Debezium's envelope. [`sources::capture`] puts the
//! rows that are there already before them ([`sources::snapshot`]), under one progress record; tables are read again beside the
//! stream (`sources/capture/incremental/`, by what `sources/wal/window/` decides).
//!
//! Behind Kafka, in processes of their own (feature `downstream`): `cli/load.rs` and `cli/invalidate.rs` → [`app`] →
//! [`sources::kafka`], which cuts batches of one partition so that they can come again as they were → [`pipeline`]`/pump.rs` →
//! [`pipeline`]`/dead_letters.rs`, which gives up durably what can never be taken → [`sinks`]`/clickhouse/` ([`shape::record`] reads
//! a record, [`encode::native`] makes columns of its values) or [`sinks`]`/redis/` ([`shape::rules`] say what a record makes stale).
//! [`pipeline`]`/breaker.rs` keeps a worker from hammering a service that is away.
//!
//! Everything that moves events is one loop, [`pipeline::Pump`], between a [`pipeline::Source`] and a
//! [`pipeline::Sink`]; [`pipeline::supervise()`] keeps it going, and [`app`] puts the parts together. Around the sink
//! stands [`pipeline::Parking`], which sets aside what the sink will never take.
//!
//! Beside the way of an event: [`slots`] is what a DBA does (set-up, outbox care, parked events, the database's part of
//! `check`, whose findings are [`finding`]s); [`adopt`] reads a Debezium connector; [`admin`] answers probes, and [`top`]
//! shows them to a person.
//!
//! # Invariants
//! Architecture invariant: imports go down only: `main → cli → app → {sources, sinks, slots, admin} → {shape, encode,
//! kafka, leases} → pipeline → telemetry`; `postgres`, `config`, `finding` and `calendar` import nothing of ours. Sources and sinks never see each other. A test of the
//! tree holds this table.
//!
//! Architecture invariant: nothing below `app` reads the configuration; nothing in `pipeline` knows a database or a
//! broker; nothing in `shape` does I/O.
//!
//! Architecture invariant: an LSN is confirmed to Postgres in one place, [`sources::wal`]'s `acknowledge`, which only
//! the pump calls, after every message before it and the progress record that names it are durable.
//!
//! Architecture invariant: what is refused or unfit is durable in the lot before the rest of its batch is sent, and no
//! newer event of its key passes it.
//!
//! Architecture invariant: an offset is committed in one place, [`sources::kafka`]'s `acknowledge`, which only the pump calls,
//! after every record before it is durable at the sink, or durable among the dead letters.
//!
//! Architecture invariant: `CommitLsn` and `EndLsn` are two types, and nothing compares one with the other.
//!
//! Architecture invariant: no row value and no secret is logged or put into an error.

pub mod admin;
pub mod adopt;
pub mod app;
mod calendar;
pub mod cli;
pub mod config;
#[cfg(feature = "downstream")]
pub mod encode;
pub mod finding;
pub mod kafka;
pub mod leases;
pub mod pipeline;
pub mod postgres;
pub mod shape;
pub mod sinks;
pub mod slots;
pub mod sources;
pub mod telemetry;
pub mod top;
