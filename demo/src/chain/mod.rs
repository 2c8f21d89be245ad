//! What lies behind Kafka in a run: ClickHouse, which `postrider load` fills, and Redis, whose pages `postrider invalidate` supersedes.
//!
//! [`readers`] fill pages while they are invalidated; when everything has arrived ([`lag`]), [`current`] and [`aggregates`] hold ClickHouse
//! against Postgres and against what Nova's clients reported, and [`stale`] holds every cached page against Postgres.

mod aggregates;
mod cache;
mod clickhouse;
mod config;
mod current;
mod feed;
mod lag;
pub(crate) mod letters;
mod readers;
mod services;
mod site;
mod stale;
mod verdict;
mod workers;

pub use clickhouse::ClickHouse;
pub(crate) use lag::Group;
pub(crate) use services::{Restarts, Services, blocking};
pub(crate) use site::Downstream;
pub(crate) use verdict::Found;
pub(crate) use workers::Workers;
