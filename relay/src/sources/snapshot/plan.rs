//! Cuts tables into chunks: ranges of the key, found in the snapshot itself, so that each has so many rows and none is empty.
//!
//! A bound is the key of the row that stands some rows behind the last bound, in the key's order: the index alone tells. The rows
//! between two bounds are then read in whichever order the server finds best.

use std::sync::Arc;

use tracing::debug;

use crate::pipeline::Error;
use crate::postgres::connection::{Connection, Row};
use crate::sources::snapshot::flow::{Chunk, Flow, Of, Stopped};
use crate::sources::snapshot::progress::{Gap, Key};
use crate::sources::snapshot::session::read_error;
use crate::sources::snapshot::tables::Found;

/// After so many chunks of all tables they become twice as large, so that their numbers are never used up, whatever the statistics
/// say of the tables or do not.
const CHUNKS_PER_SIZE: u64 = 1 << 18;

/// What is missing of a table.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) table: usize,
    pub(super) gaps: Vec<Gap>,
    /// Whether a row of it was handed on in an earlier run.
    pub(super) has_begun: bool,
}

/// Plans chunk by chunk, while others read already.
pub(super) struct Planner {
    session: Connection,
    tables: Arc<[Found]>,
    chunk_rows: u64,
    /// Chunks that were planned so far.
    planned: u64,
    flow: Arc<Flow>,
    /// The newest chunk with rows: what it is the last of shows with the next.
    newest: Option<Chunk>,
    /// Whether a row of any table was handed on, or is planned.
    has_begun: bool,
}

/// Why planning ended early.
enum Cut {
    Stopped,
    Failed(Error),
}

impl From<Stopped> for Cut {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Planner {
    pub(super) fn new(session: Connection, tables: Arc<[Found]>, chunk_rows: u32, flow: Arc<Flow>) -> Self {
        Self { session, tables, chunk_rows: chunk_rows.max(1).into(), planned: 0, flow, newest: None, has_begun: false }
    }

    /// Plans what is missing. Its session goes on holding the tables as they are until all of it is read.
    pub(super) fn run(mut self, missing: &[Missing]) -> Connection {
        self.has_begun = missing.iter().any(|missing| missing.has_begun);
        match missing.iter().try_for_each(|missing| self.table(missing)).and_then(|()| self.end()) {
            Ok(()) => self.flow.end_plan(),
            Err(Cut::Stopped) => {}
            Err(Cut::Failed(error)) => self.flow.fail(error),
        }
        self.session
    }

    fn table(&mut self, missing: &Missing) -> Result<(), Cut> {
        let mut has_begun = missing.has_begun;
        for gap in &missing.gaps {
            let mut number = 0;
            let mut from = gap.from.clone();
            let mut is_empty = !self.has_rows(missing.table, gap)?;
            loop {
                let step = rows_of_chunk(self.chunk_rows, self.planned);
                self.planned += 1;
                let to = match is_empty {
                    true => None,
                    false => self.bound(missing.table, from.as_ref(), gap.to.as_ref(), step)?,
                };
                let is_last = to.is_none();
                let to = to.or_else(|| gap.to.clone());
                let chunk = Chunk {
                    table: missing.table,
                    place: (gap.number, number),
                    from,
                    to: to.clone(),
                    first: match (has_begun || is_empty, self.has_begun) {
                        (true, _) => Of::Nothing,
                        (false, true) => Of::Table,
                        (false, false) => Of::All,
                    },
                    last: Of::Nothing,
                };
                if std::mem::take(&mut is_empty) {
                    self.flow.plan(chunk)?;
                } else {
                    (has_begun, self.has_begun) = (true, true);
                    self.add(chunk)?;
                }
                if is_last {
                    break;
                }
                (from, number) = (to, number + 1);
            }
        }
        Ok(())
    }

    /// Plans the chunk before, now that it is known what it is the last of.
    fn add(&mut self, chunk: Chunk) -> Result<(), Cut> {
        let table = chunk.table;
        if let Some(mut newest) = self.newest.replace(chunk) {
            newest.last = if newest.table == table { Of::Nothing } else { Of::Table };
            self.flow.plan(newest)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Cut> {
        if let Some(mut newest) = self.newest.take() {
            newest.last = Of::All;
            self.flow.plan(newest)?;
        }
        Ok(())
    }

    fn has_rows(&mut self, table: usize, gap: &Gap) -> Result<bool, Error> {
        let sql = self.tables[table].select("1", gap.from.as_ref(), gap.to.as_ref());
        Ok(!self.ask(table, &format!("{sql} limit 1"))?.is_empty())
    }

    /// The key at which the next chunk begins; `None` if there is no such row.
    fn bound(&mut self, table: usize, from: Option<&Key>, to: Option<&Key>, step: u64) -> Result<Option<Key>, Error> {
        let found = &self.tables[table];
        if found.key.is_empty() {
            return Ok(None);
        }
        let list = found.key_list();
        let sql = format!("{} order by {list} offset {step} limit 1", found.select(&list, from, to));
        let row = self.ask(table, &sql)?.into_iter().next();
        // A key's columns are never null.
        Ok(row.map(|row| row.into_iter().map(Option::unwrap_or_default).collect()))
    }

    fn ask(&mut self, table: usize, sql: &str) -> Result<Vec<Row>, Error> {
        let found = &self.tables[table];
        debug!(table = found.title(), "planning");
        self.session.patient_query(sql).map_err(|error| read_error(found, error))
    }
}

/// The rows of the chunk of this number.
fn rows_of_chunk(chunk_rows: u64, number: u64) -> u64 {
    chunk_rows.saturating_mul(1 << (number / CHUNKS_PER_SIZE).min(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_chunks_are_enough_for_any_table() {
        assert_eq!(
            [0, CHUNKS_PER_SIZE - 1, CHUNKS_PER_SIZE, 3 * CHUNKS_PER_SIZE].map(|n| rows_of_chunk(10, n)),
            [10, 10, 20, 80]
        );
        // A table has 2^32 pages of at most 2^9 rows that hold anything; numbers of chunks have 23 bits.
        let rows: u64 = (0..28).map(|size| CHUNKS_PER_SIZE * rows_of_chunk(1, size * CHUNKS_PER_SIZE)).sum();
        assert!(rows >= 1 << 45 && 28 * CHUNKS_PER_SIZE < 1 << 23);
        assert!(rows_of_chunk(u64::MAX, u64::MAX) > 0);
    }
}
