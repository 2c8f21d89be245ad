//! The transactional outbox for Postgres: write the event in the transaction that makes it true.
//!
//! A service that changes its tables and tells others about it through Kafka has two systems to keep in step. This library writes
//! the event into a table of the same database, in the same transaction as the change, and the relay (`postrider run`) carries it
//! to Kafka: an event exists exactly if its transaction committed, and is delivered at least once, in order per aggregate.
//!
//! ```
//! # #[cfg(feature = "sqlx")]
//! # async fn place_order(pool: &sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use postrider::Event;
//!
//! let mut transaction = pool.begin().await?;
//! let order: i64 = sqlx::query_scalar("insert into orders (total_cents) values (1999) returning id")
//!     .fetch_one(&mut *transaction)
//!     .await?;
//! let event = Event::json_text("Order", order, "OrderPlaced", r#"{"total_cents": 1999}"#).build()?;
//! postrider::write(&mut transaction, &event).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The way through it
//! - [`Event`]: what is written; valid once it is built, within the [`limits`].
//! - [`write()`], [`write_all`]: into a transaction, and nothing but a transaction ([`OutboxTransaction`]).
//! - [`Envelope`]: what a consumer receives, with its [`Position`].
//! - [`inbox`]: doing a consumer's work once although delivery may repeat.
//! - `migrations`: the tables. Other languages write through the SQL functions `postrider.emit`, `emit_bytes` and `emit_tombstone`.
//!
//! The examples are the manual: `place_order_sqlx`, `place_order_tokio_postgres`, `consume_once`, `emit.sql`.
//!
//! # Features
//! None is on by default.
//! - `sqlx`: writing in a transaction of `sqlx` 0.9. Choose sqlx's runtime and TLS in your own dependency on it.
//! - `tokio-postgres`: writing in a transaction of `tokio-postgres` 0.7.
//! - `migrations`: running the migrations; with it comes `tokio-postgres`.

mod envelope;
mod error;
mod event;
pub mod headers;
pub mod inbox;
mod jsonb;
pub mod limits;
#[cfg(feature = "migrations")]
pub mod migrations;
mod position;
mod transaction;
mod write;

pub use crate::envelope::Envelope;
pub use crate::error::{Error, Field};
pub use crate::event::{Event, EventBuilder, Payload};
pub use crate::position::Position;
pub use crate::transaction::OutboxTransaction;
pub use crate::write::{write, write_all};
