//! What each message says, borrowed from the bytes it came in.

use crate::postgres::lsn::{CommitLsn, EndLsn, RecordLsn};
use crate::postgres::pgoutput::relation::Relation;
use crate::postgres::pgoutput::tuple::Tuple;

/// One message of a transaction, or between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction starts; it has committed already.
    Begin(Begin),
    /// A transaction is complete.
    Commit(Commit),
    /// The transaction was replicated here from another server.
    Origin(Origin<'a>),
    /// What a relation looks like from here on; sent before its first change and after each alteration.
    Relation(Relation<'a>),
    /// The name of a type that is not built in.
    Type(Type<'a>),
    /// A row was inserted.
    Insert(Insert<'a>),
    /// A row was updated.
    Update(Update<'a>),
    /// A row was deleted.
    Delete(Delete<'a>),
    /// Tables were truncated.
    Truncate(Truncate<'a>),
    /// A message written by `pg_logical_emit_message`.
    Message(LogicalMessage<'a>),
}

/// A transaction starts; it has committed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record starts: its identity.
    pub final_lsn: CommitLsn,
    /// When it committed, in microseconds since 1970-01-01 UTC.
    pub commit_time_us: i64,
    /// Its transaction id, without the epoch.
    pub xid: u32,
}

/// A transaction is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record starts: equal to Begin's `final_lsn`.
    pub commit_lsn: CommitLsn,
    /// Where its commit record ends: what may be confirmed once all of it is durable elsewhere.
    pub end_lsn: EndLsn,
    /// When it committed, in microseconds since 1970-01-01 UTC.
    pub commit_time_us: i64,
}

/// The transaction was replicated here from another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Where it committed on that server.
    pub lsn: RecordLsn,
    /// The origin's name on this server.
    pub name: &'a str,
}

/// The name of a type that is not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type<'a> {
    /// Its OID, as columns refer to it.
    pub oid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A row was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The relation's OID.
    pub relation: u32,
    /// The row.
    pub new: Tuple<'a>,
}

/// A row was updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// The relation's OID.
    pub relation: u32,
    /// What the row was, as far as the replica identity tells; `None` when the identity did not change.
    pub old: Option<OldTuple<'a>>,
    /// What the row is.
    pub new: Tuple<'a>,
}

/// A row was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The relation's OID.
    pub relation: u32,
    /// What the row was, as far as the replica identity tells.
    pub old: OldTuple<'a>,
}

/// A row as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// Only the columns of the replica identity; the others are null.
    Key(Tuple<'a>),
    /// Every column: the replica identity is FULL.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The columns, whichever they are.
    #[must_use]
    pub fn tuple(self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => tuple,
        }
    }
}

/// Tables were truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// TRUNCATE … CASCADE.
    pub cascade: bool,
    /// TRUNCATE … RESTART IDENTITY.
    pub restart_identity: bool,
    pub(crate) relations: &'a [u8],
}

impl Truncate<'_> {
    /// The OIDs of the relations.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.relations.as_chunks().0.iter().copied().map(u32::from_be_bytes)
    }
}

/// A message written by `pg_logical_emit_message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// Whether it belongs to the transaction that surrounds it; if not, it arrives at once, outside Begin and Commit.
    pub transactional: bool,
    /// Where it was written.
    pub lsn: RecordLsn,
    /// What kind of message its writer says it is.
    pub prefix: &'a str,
    /// The message.
    pub content: &'a [u8],
}
