//! A block: the columns of an insert, written at once.

use crate::encode::native::column::Column;
use crate::encode::native::store;

/// The columns of an insert. Every one has as many rows.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// The columns, in the order of the insert's list.
    pub columns: Vec<Column>,
}

impl Block {
    /// A block of these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// How many rows are whole.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.iter().map(Column::rows).min().unwrap_or(0)
    }

    /// How many rows there are where none is half made: the first column tells.
    #[inline]
    #[must_use]
    pub fn whole_rows(&self) -> usize {
        self.columns.first().map_or(0, Column::rows)
    }

    /// How many bytes it is, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::len).sum::<usize>() + 20
    }

    /// Forgets what follows the first `rows` rows: what a half-made row left behind.
    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Forgets all rows, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Appends the block as the format has it, of as many rows as are whole.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        let rows = self.rows();
        self.truncate(rows);
        out.reserve(self.bytes());
        store::varuint(self.columns.len() as u64, out);
        store::varuint(rows as u64, out);
        self.columns.iter().for_each(|column| column.write(out));
    }
}
