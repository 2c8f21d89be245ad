//! One chunk of a table, read by one snapshot, off the runtime. Nothing is written.

use std::collections::HashSet;

use crate::postgres::connection::Connection;
use crate::postgres::copy::Fields;
use crate::postgres::error::Error;
use crate::sources::capture::incremental::table::{Readable, Which};
use crate::sources::wal::window::{RowKey, Visible, mark};

/// Rows that are kept of one chunk, in bytes: then it ends, however many rows were asked for. One row is always kept.
const CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Marks a null among the places of values.
const NULL: u32 = u32::MAX;

/// The rows of a chunk, and how they were read.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) visible: Visible,
    /// Where the stream must be before they are published.
    pub(super) mark: u64,
    /// The transactions that had changed the table just before, and were not over.
    pub(super) writers: HashSet<u32>,
    pub(super) rows: Rows,
    /// The key of each row.
    pub(super) keys: Vec<RowKey>,
    /// The order's values of the last row.
    pub(super) last: Option<Vec<String>>,
    /// Whether no rows are left behind it.
    pub(super) complete: bool,
    /// Whether it ended because of its size.
    pub(super) is_cut: bool,
}

/// What came of reading one.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It.
    Read(Box<Chunk>),
    /// The table is not as it was described.
    Redescribe,
}

/// The values of the published columns, row by row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    data: Vec<u8>,
    /// Start and length of each value.
    places: Vec<(u32, u32)>,
    /// Whether each row is wanted.
    wanted: Vec<bool>,
    width: usize,
}

impl Rows {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether the row at `index` fits the condition.
    pub(super) fn is_wanted(&self, index: usize) -> bool {
        self.wanted[index]
    }

    /// The values of the row at `index`; `None` is null.
    pub(super) fn values(&self, index: usize) -> impl Iterator<Item = Option<&[u8]>> {
        self.places[index * self.width..(index + 1) * self.width].iter().map(|&(start, length)| match length {
            NULL => None,
            length => Some(&self.data[start as usize..][..length as usize]),
        })
    }

    fn push(&mut self, value: Option<&[u8]>) {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(value.unwrap_or_default());
        self.places.push((start, value.map_or(NULL, |value| value.len() as u32)));
    }
}

/// Reads a chunk. After an error the session is in an unknown state and must be left.
///
/// # Errors
/// What the server says, or a lost connection.
pub(super) fn read(sql: &mut Connection, publication: &str, table: &Readable, which: &Which) -> Result<Outcome, Error> {
    let writers = sql.simple_query(&table.writers())?;
    let writers = writers.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect();
    sql.simple_query(&table.begin())?;
    let look = sql.simple_query(&table.look(publication))?;
    let column = |index: usize| look.first().and_then(|row| row.get(index)).and_then(Option::as_deref);
    let seen = column(0).and_then(Visible::parse).zip(column(1).and_then(|text| text.parse().ok()));
    let page_bytes = column(2).and_then(|text| text.parse().ok()).unwrap_or_default();
    let (Some((visible, insert)), true) = (seen, column(3) == Some(&table.signature)) else {
        sql.simple_query("rollback")?;
        return Ok(Outcome::Redescribe);
    };
    let mut chunk = Chunk {
        visible,
        mark: mark(insert, page_bytes),
        writers,
        rows: Rows { width: table.width, ..Rows::default() },
        keys: Vec::new(),
        last: None,
        complete: false,
        is_cut: false,
    };
    let read = copy(sql, table, which, &mut chunk)?;
    sql.simple_query("commit")?;
    chunk.complete = match which {
        Which::Behind(_, rows) | Which::Changed { rows, .. } => !chunk.is_cut && read < *rows as usize,
        Which::Keys(_) => false,
    };
    Ok(Outcome::Read(Box::new(chunk)))
}

/// Reads the rows, and returns how many came.
fn copy(sql: &mut Connection, table: &Readable, which: &Which, chunk: &mut Chunk) -> Result<usize, Error> {
    let mut copy = sql.copy_out(&table.copy(which))?;
    let (mut fields, mut read) = (Fields::default(), 0);
    while let Some(mut block) = copy.next_block()? {
        let rows = block.rows(&mut fields)?;
        for index in 0..rows.len() {
            read += 1;
            // What comes behind the limit is read on and left for the next chunk.
            if chunk.rows.len() > 0 && chunk.rows.data.len() > CHUNK_BYTES_MAX {
                chunk.is_cut = true;
                continue;
            }
            let mut values = rows.values(index);
            values.by_ref().take(table.width).for_each(|value| chunk.rows.push(value));
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            chunk.last = Some(values.by_ref().take(table.order.len()).map(text).collect());
            chunk.keys.push(RowKey::of(values.by_ref().take(table.key.len())));
            chunk.rows.wanted.push(values.next() == Some(Some(&b"t"[..])));
        }
    }
    Ok(read)
}
