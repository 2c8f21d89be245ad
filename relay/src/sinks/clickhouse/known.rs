//! Values that a change left out because they had not changed: looked up in the table, and followed through the batch.
//!
//! Guarantee: a value that was left out is never written as if it were one. It is what the row's last version holds, be that in
//! the table or earlier in the batch; where there is none, the record is refused, and where the table has a newer version
//! already, the row has nothing to add.

use std::collections::HashMap;

use crate::encode::native::{Column, Reading};
use crate::sinks::clickhouse::rows::Halt;
use crate::sinks::clickhouse::unfit::Unfit;

/// A value as JSON, and how it is read.
#[derive(Debug, Clone)]
pub(super) struct KnownValue {
    pub(super) json: String,
    pub(super) reading: Reading,
}

/// What is known of a row.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownRow {
    /// The version of which this is known; `None` if there is no such row.
    pub(super) version: Option<u128>,
    /// Whether that version is a live row.
    pub(super) is_live: bool,
    /// Its values, by column.
    pub(super) values: HashMap<usize, KnownValue>,
}

/// The rows of one table of which a batch left values out, by the texts of their keys.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownRows {
    /// The columns that were left out of some row.
    pub(super) columns: Vec<usize>,
    /// What is known of each row.
    pub(super) rows: HashMap<Vec<String>, KnownRow>,
}

impl KnownRow {
    /// Puts the value of the column `at` into it, for a row of this version.
    pub(super) fn put(&self, at: usize, column: &mut Column, version: Option<u128>) -> Result<(), Halt> {
        if self.version > version {
            return Err(Halt::Superseded);
        }
        let unchanged = || Halt::Unfit(Unfit::Unchanged(column.name().to_owned()));
        let value = self.values.get(&at).filter(|_| self.is_live).ok_or_else(unchanged)?;
        column.push_json(&value.json, &value.reading).map_err(|misfit| Halt::Unfit(Unfit::Misfit(misfit)))
    }

    /// Leaves the value of the column `at` in the deletion of the row, for who finds the row under its next key.
    pub(super) fn leave(&self, at: usize, column: &mut Column, version: Option<u128>) {
        // What the row is when it is deleted; or the deletion itself, which comes again.
        let is_known = if self.is_live { self.version < version } else { self.version == version };
        let value = self.values.get(&at).filter(|_| is_known);
        if value.is_none_or(|value| column.push_json(&value.json, &value.reading).is_err()) {
            column.push_empty();
        }
    }
}
