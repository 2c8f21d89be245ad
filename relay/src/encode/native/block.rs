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

    /// Takes the rows out; room for as many stays.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { columns: self.columns.iter_mut().map(Column::take).collect() }
    }

    /// Whether it has the columns of the other, in their order.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let of = |column: &Column| (column.name().to_owned(), column.of().text().to_owned());
        self.columns.iter().map(of).eq(other.columns.iter().map(of))
    }

    /// Appends the block as the format has it. Every row of it is whole.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.begin(self.rows(), self.bytes(), out);
        self.columns.iter().for_each(|column| Column::write(&[column], out));
    }

    /// Appends the rows of these blocks, which have the same columns, as one block; what is written is let go of.
    pub fn write_all(blocks: Vec<Self>, out: &mut Vec<u8>) {
        let Some(first) = blocks.first() else { return };
        debug_assert!(blocks.iter().all(|block| block.is_like(first)), "blocks of other columns");
        first.begin(blocks.iter().map(Self::rows).sum(), blocks.iter().map(Self::bytes).sum(), out);
        let count = first.columns.len();
        let mut rest: Vec<_> = blocks.into_iter().map(|block| block.columns.into_iter()).collect();
        for _ in 0..count {
            let columns: Vec<Column> = rest.iter_mut().filter_map(Iterator::next).collect();
            Column::write(&columns.iter().collect::<Vec<_>>(), out);
        }
    }

    fn begin(&self, rows: usize, bytes: usize, out: &mut Vec<u8>) {
        debug_assert_eq!(self.rows(), self.whole_rows(), "a row that is half made");
        out.reserve(bytes);
        store::varuint(self.columns.len() as u64, out);
        store::varuint(rows as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::native::{Reading, Type};

    const COLUMNS: [(&str, [&str; 3]); 7] = [
        ("Int64", ["1", "-2", "3"]),
        ("String", ["\"a\"", "\"\"", "\"ccc\""]),
        ("Nullable(String)", ["null", "\"b\"", "null"]),
        ("Array(Array(Nullable(Int32)))", ["[[1,null],[]]", "[]", "[[2],[3,4]]"]),
        ("Map(String, Array(String))", [r#"{"a":["x"]}"#, "{}", r#"{"b":[],"c":["y","z"]}"#]),
        ("Tuple(a UInt8, b Nullable(String))", [r#"{"a":1,"b":"s"}"#, r#"{"a":2,"b":null}"#, r#"{"a":3,"b":"t"}"#]),
        ("Point", ["[1,2]", "[3,4]", "[5,6]"]),
    ];

    fn empty() -> Block {
        Block::new(COLUMNS.iter().map(|(of, _)| Column::new(*of, Type::parse(of).unwrap())).collect())
    }

    fn push(block: &mut Block, row: usize) {
        for (column, (of, values)) in block.columns.iter_mut().zip(COLUMNS) {
            column.push_json(values[row], &Reading::Plain).unwrap_or_else(|misfit| panic!("{of}: {misfit:?}"));
        }
    }

    #[test]
    fn rows_in_several_blocks_are_written_as_in_one() {
        let (mut whole, mut wanted) = (empty(), Vec::new());
        (0..3).for_each(|row| push(&mut whole, row));
        whole.write(&mut wanted);
        for ends in [vec![3], vec![1, 3], vec![2, 3], vec![1, 2, 3], vec![0, 3, 3]] {
            let (mut filling, mut blocks, mut row) = (empty(), Vec::new(), 0);
            for end in &ends {
                (row..*end).for_each(|row| push(&mut filling, row));
                blocks.push(filling.take());
                assert_eq!((filling.rows(), blocks.last().unwrap().rows()), (0, end - row));
                row = *end;
            }
            let mut written = Vec::new();
            Block::write_all(blocks, &mut written);
            assert_eq!(written, wanted, "{ends:?}");
        }
    }
}
