//! What a polling source is told.

use std::time::Duration;

use crate::postgres::options::ConnectOptions;
use crate::sources::wal::OutboxSource;

/// What becomes of a row that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Its `published_at` is set.
    Mark,
    /// It is deleted.
    Delete,
}

/// The columns by which rows are found, as the catalog spells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollingColumns {
    /// A whole number, which rises in the order of insertion and is unique.
    pub order: String,
    /// The writing transaction, of type `xid8`; without it every look begins at the oldest row that waits.
    pub xid: Option<String>,
    /// When the row was published; only where rows are deleted can it be missing.
    pub published_at: Option<String>,
    /// The time of the event.
    pub created_at: Option<String>,
}

/// One outbox table.
#[derive(Debug, Clone)]
pub struct PolledOutbox {
    /// Where its events come from and what becomes of them; it has a table.
    pub source: OutboxSource,
    /// What decides who reads a row: the key, so that one relay has all of a key.
    pub key: Vec<KeyPart>,
}

/// A part of the text that is the key of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The same for every row.
    Text(String),
    /// The value of a column.
    Column(String),
}

/// What was delivered through a slot before: every row of the transactions below one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// The cluster whose transactions these are.
    pub system_id: u64,
    /// Its timeline.
    pub timeline: u32,
    /// Rows of transactions below this one are delivered.
    pub below: u64,
}

/// What a polling source reads, and how.
#[derive(Debug, Clone)]
pub struct PollingOptions {
    /// How to reach the server, or the pooler before it.
    pub connect: ConnectOptions,
    /// What the relays that share the work have in common: the name of the slot that is not there.
    pub slot: String,
    /// The tables.
    pub outboxes: Vec<PolledOutbox>,
    /// The columns of all of them.
    pub columns: PollingColumns,
    /// What becomes of a row that is delivered.
    pub after: After,
    /// Into how many parts the keys are cut: a power of two, the same for all relays that share the work.
    pub buckets: u16,
    /// How long a part stays with a relay that says nothing any more.
    pub lease: Duration,
    /// The shortest rest of an idle source.
    pub idle_min: Duration,
    /// Its longest rest.
    pub idle_max: Duration,
    /// How often all that waits is looked through from the beginning, for what became due again behind the source's back.
    pub sweep_interval: Duration,
    /// Rows that are read at once, at most.
    pub batch_rows_max: usize,
    /// A channel whose notifications end a rest early.
    pub channel: Option<String>,
    /// What a slot delivered before, if one did.
    pub handed: Option<Handed>,
    /// What the positions of parked events begin with: an epoch, and a place in the log before which everything was delivered.
    pub base: (u16, u64),
}
