//! Nova's tables in ClickHouse: how they get there, and what they count.

mod counting;
mod database;
mod migrating;
