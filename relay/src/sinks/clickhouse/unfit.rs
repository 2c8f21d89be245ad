//! Why a record does not become a row. Says nothing of its values.

use crate::encode::native::Misfit;
use crate::pipeline::AWAITED;
use crate::shape::record::Unreadable;
use crate::sinks::clickhouse::client::{TableName, quoted};

/// Why a record does not become a row of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// It is an event, where the rows of a captured table are kept.
    #[error("the record is no change of a captured table")]
    NoChange,
    /// It has no row where it must have one.
    #[error("the change has no {0} image")]
    NoImage(&'static str),
    /// Nothing in it orders it among the versions of its row.
    #[error("the change has no position: neither the header postrider-position nor source.lsn")]
    NoVersion,
    /// A value does not fit its column.
    #[error("{0}")]
    Misfit(#[from] Misfit),
    /// There is no value for a column that needs one.
    #[error("the record has nothing for column {0}, which has neither NULL nor a DEFAULT that can take its place")]
    Missing(String),
    /// There is no value for a column of the key.
    #[error("the record has no value for column {0}, which belongs to the table's key")]
    NoKey(String),
    /// A field has no column.
    #[error("the table has no column for the field {0}")]
    UnknownField(String),
    /// A field is there twice.
    #[error("the field {0} is there twice")]
    Twice(String),
    /// A value was left out because it had not changed, and nobody knows it.
    #[error("the value of column {0} was left out because it had not changed, and the table does not hold it")]
    Unchanged(String),
    /// The same, of a row that had another key, whose deletion has the value.
    #[error(
        "the value of column {0} was left out because it had not changed, and the deletion of the row under its old key, which has it, is not in the table"
    )]
    Moved(String),
    /// A header is no text.
    #[error("the header {0} is not UTF-8")]
    Header(String),
    /// The captured table was emptied.
    #[error("the captured table was emptied by TRUNCATE")]
    Truncated,
}

impl Unfit {
    /// Its name as a label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::NoChange | Self::NoImage(_) | Self::NoVersion | Self::Twice(_) => "unreadable",
            Self::Misfit(_) | Self::Header(_) => "misfit",
            Self::Missing(_) | Self::NoKey(_) => "missing",
            Self::UnknownField(_) => "unknown_field",
            Self::Unchanged(_) | Self::Moved(_) => "unchanged",
            Self::Truncated => "truncate",
        }
    }

    /// The class of its reason, as dead letters tell it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Twice(_) => "parse",
            Self::Misfit(_) | Self::Header(_) => "type",
            Self::Unchanged(_) => "toast",
            Self::Moved(_) => AWAITED,
            Self::Truncated => "refused",
            _ => "schema",
        }
    }

    /// Whether an earlier record of its key may do away with it.
    pub(super) fn depends(&self) -> bool {
        matches!(self, Self::Unchanged(_))
    }

    /// What a person can do about it, as a sentence.
    pub(super) fn help(&self, table: &TableName) -> Option<String> {
        Some(match self {
            Self::Misfit(misfit) => format!(
                "Give the column a type that holds the value: ALTER TABLE {table} MODIFY COLUMN {} …; then replay the record.",
                quoted(&misfit.column)
            ),
            Self::Missing(column) => format!(
                "ALTER TABLE {table} MODIFY COLUMN {} DEFAULT …, or make it Nullable, or name the columns to fill by `columns`; then replay the record.",
                quoted(column)
            ),
            Self::UnknownField(field) => format!(
                "ALTER TABLE {table} ADD COLUMN {} …, or set `unknown` to \"ignore\" or \"add\"; then replay the record.",
                quoted(field)
            ),
            Self::Unchanged(_) => "Set REPLICA IDENTITY FULL for the captured table, or take a snapshot of it, so that the row is told whole.".to_owned(),
            Self::Moved(_) => "It is tried again by itself for some minutes, until the partition of the old key was read. If it stays, because another row has the old key by now or the column has a DEFAULT, set REPLICA IDENTITY FULL for the captured table, take a snapshot of it, and drop the record.".to_owned(),
            Self::Truncated => format!("Empty {table} too, if that is wanted, and skip the record; `on_truncate` decides for the next time."),
            _ => return None,
        })
    }
}
