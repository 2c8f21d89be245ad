//! Nova: users who post, like, comment and follow. Its writers put each row and its event into one transaction.
//!
//! The aggregate's row is locked before its event is written, and its counter `n` is raised and stamped into the payload; so of two
//! events of one key, the one with the smaller `n` committed first.

mod acts;
mod clients;
mod crowd;
mod ledger;
mod linger;
mod pools;
mod tables;
mod writer;

use tokio_postgres::Client;

use crate::error::{Doing, Result};

pub use clients::{Options as ClientOptions, Reported};
pub use crowd::{Crowd, Options, Public};
pub use ledger::{Ledger, Outcome};
pub use tables::tables;

/// Every aggregate type that Nova's events have.
pub const AGGREGATE_TYPES: &[&str] = &["user", "post", "comment", "like", "follow", "token"];

const SCHEMA: &str = include_str!("../../sql/nova.sql");

/// The table that is written when all else was, so that a reader of captured tables knows when it has read all.
const FENCE: &str = "create table fence (id int primary key, n int)";

/// Writes the last row of all.
pub async fn fence(client: &Client) -> Result<()> {
    client.batch_execute("insert into fence values (1, 1)").await.doing("writing the last row")
}

/// Creates Nova's tables beside an outbox that is already there.
pub async fn create_schema(client: &Client) -> Result<()> {
    client.batch_execute(SCHEMA).await.doing("creating Nova's tables")?;
    client.batch_execute(FENCE).await.doing("creating the table of the last row")
}
