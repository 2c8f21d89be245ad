//! Nova, a small social network, and what is done with it: the demo, the drain benchmark and the soaks.
//!
//! # The walk
//! [`run`] prepares a database, a slot and topics of its own, lets [`nova`]'s writers write, starts the [`relay`] as a process
//! and kills it again and again, while the [`watcher`] reads the topics with a client of its own. At the end the [`judge`] compares
//! what was read with the [`outbox`]. [`drain`] measures how fast a backlog goes; [`soak`] names the long forms.
//! [`state`] does the same with ordinary tables, whose records are folded back into tables; [`large`] and [`churn`] look at one
//! large transaction and at schemas that change all the time; [`snapshot`] at the
//! rows that are there before; [`invalidation`] at how fast Redis forgets, [`load`] at how fast a topic goes into ClickHouse, and
//! [`trending`] at what asking there takes.
//!
//! Architecture invariant: the judge knows neither Kafka nor Postgres, and nothing here links the relay: it is only ever a process.

pub mod chain;
pub mod churn;
pub mod compare;
pub mod config;
pub mod database;
pub mod drain;
pub mod drill;
pub mod error;
pub mod figures;
pub mod findings;
pub mod invalidation;
pub mod judge;
pub mod large;
pub mod latency;
pub mod load;
pub mod loader;
pub mod nova;
pub mod outbox;
pub mod pace;
pub mod procfs;
pub mod random;
pub mod relay;
pub mod run;
pub mod screen;
pub mod snapshot;
pub mod soak;
pub mod state;
pub mod topics;
pub mod trending;
pub mod watcher;
