//! ClickHouse as the loader needs it, against the real engine: what is written reads back, what does not fit is told, and what
//! goes wrong is classed.

mod client;
mod database;
mod misfits;
mod oracle;
mod round_trip;
mod table;
mod types_document;
