//! Where events are set aside that a sink cannot take.

mod postgres;
mod rows;
mod session;
mod watch;

pub use postgres::{PostgresLot, PostgresLotOptions};
