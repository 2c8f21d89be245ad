//! Nova: users who post, like, comment and follow. Its writers put each row and its event into one transaction.
//!
//! The aggregate's row is locked before its event is written, and its counter `n` is raised and stamped into the payload; so of two
//! events of one key, the one with the smaller `n` committed first.

mod acts;
mod crowd;
mod ledger;
mod linger;
mod pools;
mod writer;

use tokio_postgres::Client;

use crate::error::{Doing, Result};

pub use crowd::{Crowd, Options};
pub use ledger::{Ledger, Outcome};

/// Every aggregate type that Nova's events have.
pub const AGGREGATE_TYPES: &[&str] = &["user", "post", "comment", "like", "follow", "token"];

const SCHEMA: &str = include_str!("../../sql/nova.sql");

/// Creates Nova's tables beside an outbox that is already there.
pub async fn create_schema(client: &Client) -> Result<()> {
    client.batch_execute(SCHEMA).await.doing("creating Nova's tables")
}
