//! Reads chunks and shapes their rows, in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::pipeline::times::now_us;
use crate::pipeline::{Error, Messages};
use crate::postgres::connection::Connection;
use crate::postgres::copy::{Block, Fields};
use crate::postgres::lsn::CommitLsn;
use crate::shape::change::row::{Change, Snapshot, Stamp, Value};
use crate::shape::change::{Capture, Form};
use crate::shape::outbox::Shaped;
use crate::shape::position::EventPosition;
use crate::sources::snapshot::account;
use crate::sources::snapshot::flow::{Chunk, Flow, Item, Of};
use crate::sources::snapshot::progress::Stretch;
use crate::sources::snapshot::session::{end, read_error};
use crate::sources::snapshot::tables::{Found, list};
use crate::telemetry::Metrics;
use crate::telemetry::failpoint::{Failpoint, reach};

/// Rows under one number of a chunk at most: a table that is read at once takes several numbers.
const ROWS_BITS: u32 = 24;

/// How a table's rows become messages.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) columns: Vec<String>,
    pub(super) form: Form,
}

/// What all rows of a snapshot have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) epoch: u16,
    pub(super) shows_before: CommitLsn,
    pub(super) taken_us: i64,
    pub(super) xid: Option<u32>,
}

impl Moment {
    /// The position of a row. A commit record stands at a multiple of eight, so that nothing else has this one.
    fn position(&self, number: u32, row: u64) -> EventPosition {
        let ordinal = u64::from(number) << ROWS_BITS | row;
        EventPosition::new(self.epoch, self.shows_before.as_u64().saturating_sub(1), ordinal)
    }
}

/// A thread's own.
pub(super) struct Worker {
    pub(super) reader: Reader,
    pub(super) session: Connection,
}

/// What it is apart from its session.
pub(super) struct Reader {
    pub(super) tables: Arc<[Found]>,
    pub(super) shapes: Arc<[Shape]>,
    pub(super) capture: Capture,
    pub(super) moment: Moment,
    pub(super) numbers: Arc<AtomicU32>,
    pub(super) flow: Arc<Flow>,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a chunk was not read to its end.
enum Cut {
    Stopped,
    Failed(Error),
}

impl Worker {
    /// Reads until there is nothing left to read, or somebody fails.
    pub(super) fn run(mut self) {
        // The source must hear of the end even if this thread panics.
        let _closing = Closing::of(&self.reader.flow);
        while let Some(chunk) = self.reader.flow.chunk() {
            match self.reader.read(&mut self.session, &chunk) {
                Ok(()) => {}
                Err(Cut::Stopped) => return,
                Err(Cut::Failed(error)) => {
                    self.reader.flow.fail(error);
                    return;
                }
            }
        }
        end(self.session);
    }
}

/// Tells the source that it is over if the thread that has it panics.
pub(super) struct Closing(Arc<Flow>);

impl Closing {
    pub(super) fn of(flow: &Arc<Flow>) -> Self {
        Self(Arc::clone(flow))
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use crate::pipeline::{End, Kind};
            self.0.fail(Error::new(End::Source, Kind::Broken, "a thread that read the initial snapshot panicked"));
        }
    }
}

/// Rows on their way into messages: of which chunk, and how far.
struct Course<'c> {
    chunk: &'c Chunk,
    number: u32,
    /// Rows under that number.
    row: u64,
    /// Rows of the chunk.
    rows: u64,
}

impl Reader {
    fn read(&mut self, session: &mut Connection, chunk: &Chunk) -> Result<(), Cut> {
        let table = &self.tables[chunk.table];
        let columns = list(&self.shapes[chunk.table].columns);
        let select = table.select(&columns, chunk.from.as_ref(), chunk.to.as_ref());
        let fault = |tables: &[Found], error| Cut::Failed(read_error(&tables[chunk.table], error));
        let mut copy =
            session.copy_out(&format!("copy ({select}) to stdout")).map_err(|error| fault(&self.tables, error))?;
        let (mut fields, mut first) = (Fields::default(), chunk.first);
        let mut course = Course { chunk, number: self.number(), row: 0, rows: 0 };
        let mut next = copy.next_block().map_err(|error| fault(&self.tables, error))?;
        loop {
            // One ahead, so that the last is known as such.
            let block = next;
            next = if block.is_some() { copy.next_block().map_err(|error| fault(&self.tables, error))? } else { None };
            let is_last = next.is_none();
            let last = if is_last { chunk.last } else { Of::Nothing };
            let first = std::mem::take(&mut first);
            let (messages, rows) = match block {
                Some(block) => self.shape(block, &mut fields, (first, last), &mut course)?,
                None => (Messages::over(Bytes::new()), 0),
            };
            course.rows += rows;
            reach(Failpoint::SnapshotShaped);
            let stretch = || Stretch {
                from: chunk.from.clone(),
                to: chunk.to.clone(),
                shows_before: self.moment.shows_before,
                rows: course.rows,
            };
            let ends = is_last.then(|| (chunk.place, stretch()));
            let item = Item { table: chunk.table, messages, rows, first, last, ends };
            self.flow.give(item).map_err(|_| Cut::Stopped)?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn shape(
        &mut self,
        mut block: Block,
        fields: &mut Fields,
        (first, last): (Of, Of),
        course: &mut Course<'_>,
    ) -> Result<(Messages, u64), Cut> {
        let begun = Instant::now();
        let table = course.chunk.table;
        let rows = block.rows(fields).map_err(|error| Cut::Failed(read_error(&self.tables[table], error)))?;
        // Messages are written anew: the block's buffer is free for the next rows as soon as these are shaped.
        let mut messages = Messages::over(Bytes::new());
        let mut values = Vec::new();
        let mut stamp = self.stamp();
        for row in 0..rows.len() {
            values.clear();
            values.extend(rows.values(row).map(|value| value.map_or(Value::Null, Value::Text)));
            let (is_first, is_last) = (row == 0, row + 1 == rows.len());
            stamp.snapshot = mark(if is_first { first } else { Of::Nothing }, if is_last { last } else { Of::Nothing });
            if course.row >> ROWS_BITS > 0 {
                (course.number, course.row) = (self.number(), 0);
            }
            stamp.position = self.moment.position(course.number, course.row);
            course.row += 1;
            let read = Change::Read { row: &values };
            let shaped = self.capture.shape(&self.shapes[table].form, read, &stamp, &mut messages);
            if shaped != Shaped::Filtered {
                messages.name_last(&values);
            }
            account(&self.metrics, &shaped, &stamp);
        }
        let times = messages.times_mut();
        // What a row waits for begins when it is read: nobody waited for it before.
        times.committed_us = Some(stamp.now_us);
        times.read_at = Some(begun);
        times.shaped_at = Some(Instant::now());
        Ok((messages, rows.len() as u64))
    }

    fn stamp(&self) -> Stamp<'static> {
        let Moment { shows_before, taken_us, xid, .. } = self.moment;
        Stamp {
            position: self.moment.position(0, 0),
            commit_us: taken_us,
            now_us: now_us(),
            xid,
            lsn: Some(shows_before.as_u64()),
            last_commit_lsn: None,
            snapshot: Snapshot::True,
            origin: None,
            origin_lsn: None,
            transaction: None,
        }
    }
}

/// A row that is both is told as Debezium tells it: the last of all before the first of all, and so of its table.
fn mark(first: Of, last: Of) -> Snapshot {
    match (first, last) {
        (_, Of::All) => Snapshot::Last,
        (Of::All, _) => Snapshot::First,
        (_, Of::Table) => Snapshot::LastInDataCollection,
        (Of::Table, _) => Snapshot::FirstInDataCollection,
        (Of::Nothing, Of::Nothing) => Snapshot::True,
    }
}
