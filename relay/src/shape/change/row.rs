//! A change of a captured table as a source saw it, and where and when that was.

use crate::shape::position::EventPosition;

/// The value of a column in a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value<'r> {
    /// SQL null; of an old row that is not whole also: not known.
    Null,
    /// Stored out of line, not changed, and therefore not sent:
    /// <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.
    Unchanged,
    /// The type's output text, in UTF-8.
    Text(&'r [u8]),
}

/// What happened to a row, or to a table.
#[derive(Debug, Clone, Copy)]
pub enum Change<'r> {
    /// A row was written.
    Insert {
        /// It.
        new: &'r [Value<'r>],
    },
    /// A row was changed.
    Update {
        /// What the identity tells of it as it was; `None` if nothing that identifies it was changed.
        old: Option<Old<'r>>,
        /// It, as it is.
        new: &'r [Value<'r>],
    },
    /// A row was deleted.
    Delete {
        /// What the identity tells of it.
        old: Old<'r>,
    },
    /// All rows were removed.
    Truncate,
    /// A row was there when the table was read.
    Read {
        /// It.
        row: &'r [Value<'r>],
    },
}

/// A row as it was.
#[derive(Debug, Clone, Copy)]
pub struct Old<'r> {
    /// A value for each column of the table.
    pub values: &'r [Value<'r>],
    /// Whether that is every column (REPLICA IDENTITY FULL), or only those of the identity, the others being null.
    pub whole: bool,
}

/// Where and when something happened.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'r> {
    /// The position of its first message, whose further ones count on in [`EventPosition`]'s parts.
    pub position: EventPosition,
    /// When it was committed, in microseconds since 1970; of what is not part of a transaction, when it was written or read.
    pub commit_us: i64,
    /// The time now, in microseconds since 1970.
    pub now_us: i64,
    /// Its transaction; not told of a row that was read beside the stream.
    pub xid: Option<u32>,
    /// Where the change itself stands in the WAL; of a row that was read beside the stream, where the stream stands.
    pub lsn: Option<u64>,
    /// The commit that was read before its transaction.
    pub last_commit_lsn: Option<u64>,
    /// Whether it was read, and where in the snapshot.
    pub snapshot: Snapshot,
    /// The replication origin that its transaction came from.
    pub origin: Option<&'r str>,
    /// The transaction's commit there.
    pub origin_lsn: Option<u64>,
    /// Its place in its transaction, if that is told.
    pub transaction: Option<InTransaction>,
}

/// Whether something was read rather than streamed, and where in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snapshot {
    /// Streamed.
    #[default]
    False,
    /// The first row of a snapshot.
    First,
    /// The first row of a table.
    FirstInDataCollection,
    /// Some row.
    True,
    /// The last row of a table.
    LastInDataCollection,
    /// The last row of a snapshot.
    Last,
    /// A row of a snapshot that is taken while changes are streamed.
    Incremental,
}

impl Snapshot {
    /// Its word in `source.snapshot`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::First => "first",
            Self::FirstInDataCollection => "first_in_data_collection",
            Self::True => "true",
            Self::LastInDataCollection => "last_in_data_collection",
            Self::Last => "last",
            Self::Incremental => "incremental",
        }
    }
}

/// The place of an event in its transaction, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InTransaction {
    /// Among all events of captured tables.
    pub total_order: u64,
    /// Among those of its table.
    pub data_collection_order: u64,
}
