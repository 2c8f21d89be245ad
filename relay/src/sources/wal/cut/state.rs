//! What the cutter knows while it cuts: the open transaction, what relations are, and why it waits.

use bytes::Bytes;

use crate::pipeline::Messages;
use crate::postgres::lsn::CommitLsn;
use crate::shape::change::Form;
use crate::shape::change::table::Table;
use crate::shape::content::Members;
use crate::shape::outbox::Outbox;
use crate::sources::wal::captured::Transaction;
use crate::sources::wal::catalog::Described;
use crate::sources::wal::columns::{OutboxColumns, OutboxTable, Places};
use crate::sources::wal::lookout::Identified;
use crate::sources::wal::record::Record;
use crate::sources::wal::reselect::Reselect;
use crate::sources::wal::signal::{Signal, SignalPlaces};

/// A transaction whose commit has not been read yet.
pub(super) struct Open {
    pub(super) commit_lsn: CommitLsn,
    pub(super) commit_ms: i64,
    pub(super) commit_us: i64,
    pub(super) ordinal: u64,
    /// Whether the ordinal counts logical messages too.
    pub(super) messages: bool,
    /// What captured changes say of it.
    pub(super) transaction: Transaction,
    /// Whether it changed a captured table.
    pub(super) touched: bool,
}

/// An outbox and how its events are found in the stream.
pub(super) struct Route {
    pub(super) table: Option<OutboxTable>,
    pub(super) prefix: Option<String>,
    pub(super) columns: OutboxColumns,
    pub(super) members: Members,
    pub(super) outbox: Outbox,
}

/// What becomes of a relation's rows.
pub(super) enum Target {
    /// It is none of ours.
    Ignored,
    /// They are events, by the route of this number.
    Outbox(usize, Places),
    /// They are published as what they are.
    Captured(Box<CapturedTable>),
    /// They are signals.
    Signals(SignalPlaces),
}

/// A captured table as the stream described it last.
pub(super) struct CapturedTable {
    pub(super) form: Form,
    /// Changes of transactions that commit before it show in the rows that a snapshot read.
    pub(super) shown: CommitLsn,
    pub(super) table: Table,
    pub(super) identified: Identified,
}

/// Why cutting waits.
pub(in crate::sources::wal) enum Pause {
    /// A table must be described.
    Describe(Described),
    /// Values that were not sent must be read from their table.
    Reselect(Reselect),
    /// A signal must be kept, so that it is not lost once the stream has passed it.
    Signal(Signal),
    /// The batch is large enough: it is handed over first.
    Full,
    /// The stream passed the mark of a chunk that is read beside it.
    Passed,
    /// The publication of the captured tables exists from here on: the stream must be opened with it.
    Joined,
}

/// A chunk whose cutting waits.
pub(super) struct Paused {
    pub(super) arena: Bytes,
    pub(super) offset: usize,
    pub(super) messages: Messages,
    pub(super) before: Record,
    pub(super) why: Pause,
}
