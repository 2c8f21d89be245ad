//! What the loader is told: which topic fills which table, and what becomes of what does not fit.

use std::sync::Arc;

use crate::pipeline::{Assigned, Gathered};

/// What the loader is told beside how ClickHouse is reached.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What fills what.
    pub feeds: Vec<Feed>,
    /// Most batches that are inserted at the same time; each of another partition.
    pub inserts_in_flight_max: usize,
    /// Goes into every deduplication token: with another salt ClickHouse takes again what it took before.
    pub salt: String,
    /// The partitions that are read: of others nothing is kept.
    pub assigned: Assigned,
    /// Where it is shown what is held of batches that came in part.
    pub gathered: Gathered,
}

/// One topic that fills one table.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The name it has in the configuration, for messages.
    pub name: String,
    /// The topic.
    pub topic: Arc<str>,
    /// The table.
    pub table: String,
    /// What its rows are.
    pub rows: Rows,
    /// The columns that are filled; all, if none are named.
    pub columns: Option<Vec<String>>,
    /// Columns that are not filled from the field of their name.
    pub from: Vec<(String, From)>,
    /// What becomes of a field for which there is no column.
    pub unknown: Unknown,
    /// What a TRUNCATE of the captured table does.
    pub on_truncate: OnTruncate,
    /// Whether the table is made from the first record that carries its schema, if it is not there.
    pub create: bool,
    /// What a table that is made is sorted by; the fields of the record's key, if no columns are named.
    pub order_by: Option<Vec<String>>,
}

/// What the rows of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// The rows of a captured table as they are now.
    Current {
        /// Whether the view of the live rows is kept.
        view: bool,
    },
    /// One for each record.
    Append {
        /// The changes of a captured table that become a row, as Debezium's letters.
        operations: Vec<char>,
    },
}

/// Where the value of a column comes from, if not from the field of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The field of this name; of a captured row as it is, or was if it is gone.
    Field(String),
    /// The field of this name in the row as it was.
    Before(String),
    /// The header of this name.
    Header(String),
    /// A part of the record.
    Part(Part),
    /// Always this text.
    Constant(String),
}

/// A part of a record beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The topic it was read from.
    Topic,
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// Kafka's timestamp, in milliseconds since 1970.
    Timestamp,
    /// The key's bytes.
    Key,
    /// The value's bytes.
    Value,
    /// The headers, as a map from name to value.
    Headers,
    /// The kind of change, as Debezium's letter.
    Operation,
    /// The change's position.
    Position,
    /// When the change was committed, in microseconds since 1970.
    Committed,
}

/// What becomes of a field for which there is no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is left out.
    Ignore,
    /// The record is refused.
    Refuse,
    /// The column is added, and widened where a type grows.
    Add,
}

/// What a TRUNCATE of the captured table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTruncate {
    /// Deletes the rows that are older.
    Delete,
    /// The record is refused.
    Refuse,
    /// Nothing.
    Ignore,
}
