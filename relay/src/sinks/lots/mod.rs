//! Where events are set aside that a sink cannot take.

#[cfg(feature = "downstream")]
pub mod letters;
mod postgres;
mod rows;
mod session;
mod watch;

#[cfg(feature = "downstream")]
pub use letters::{KafkaLetters, KafkaLettersOptions};
pub use postgres::{PostgresLot, PostgresLotOptions};
