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

/// Chunks of a table at most, so that their numbers are never used up: a larger table is cut into larger ones.
const CHUNKS_MAX: u64 = 1 << 18;

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
        Self { session, tables, chunk_rows: chunk_rows.max(1).into(), flow, newest: None, has_begun: false }
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
        let table = &self.tables[missing.table];
        let step = self.chunk_rows.max(table.rows.unwrap_or(0) / CHUNKS_MAX);
        let mut has_begun = missing.has_begun;
        for gap in &missing.gaps {
            let mut number = 0;
            let mut from = gap.from.clone();
            let mut is_empty = !self.has_rows(missing.table, gap)?;
            loop {
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
