//! From the rows of a page to messages: the same topic, key, value and headers as from the log, but for the position.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio_postgres::SimpleQueryRow;
use tracing::warn;

use crate::pipeline::times::now_us;
use crate::pipeline::{End, Error, Kind, Messages};
use crate::shape::outbox::{Committed, Outbox, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::{Column, FURTHER_MAX, OutboxRow, RowTypes, Type};
use crate::sources::polling::holds::RowName;
use crate::sources::polling::options::{PolledOutbox, PollingOptions};
use crate::sources::polling::session::{number, value};
use crate::sources::polling::statement::{PARTS_BEGIN, Statements};
use crate::sources::wal::Part;
use crate::telemetry::Metrics;

/// Makes messages of the rows of one outbox.
pub(super) struct Shaper {
    route: u16,
    name: String,
    base: (u16, u64),
    outbox: Outbox,
    parts: Vec<Part>,
    types: RowTypes,
    further: usize,
    metrics: Arc<Metrics>,
}

/// A column as the catalog has it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) oid: u32,
    pub(super) optional: bool,
}

impl Shaper {
    /// `columns` are those of the table now.
    pub(super) fn new(
        options: &PollingOptions,
        of: &PolledOutbox,
        statements: &Statements,
        columns: &[Found],
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let source = &of.source;
        let mut types = RowTypes { further: vec![None; source.columns.further.len()], ..RowTypes::default() };
        for (name, part, required) in source.columns.columns() {
            match columns.iter().find(|column| column.name == name) {
                Some(column) => {
                    part.describe(Column { of: Type::of(column.oid), optional: column.optional }, &mut types);
                }
                None if required => return Err(missing(of, name)),
                None => {}
            }
        }
        let outbox = Outbox::new(&source.shape).map_err(|error| {
            let context = format!("the outbox {:?} cannot be read as it is configured", source.name);
            Error::new(End::Source, Kind::Setup, context).because(error)
        })?;
        let route = source.shape.route;
        Ok(Self {
            route,
            name: source.name.clone(),
            // Two tables may give two events one number: the place in the log, which no event has, tells them apart.
            base: (options.base.0, options.base.1 + u64::from(route)),
            outbox,
            parts: statements.parts().collect(),
            types,
            further: source.columns.further.len().min(FURTHER_MAX),
            metrics: Arc::clone(metrics),
        })
    }

    /// The names of the rows of a page.
    pub(super) fn names(&self, page: &[SimpleQueryRow]) -> Result<Vec<RowName>, Error> {
        let name = |row| Some(RowName { route: self.route, order: number(row, 0)?, bucket: number(row, 2)? });
        page.iter().map(|row| name(row).ok_or_else(|| self.unreadable())).collect()
    }

    fn unreadable(&self) -> Error {
        let context = format!("a row of the outbox {:?} has no number in its order column", self.name);
        Error::new(End::Source, Kind::Setup, context)
            .with_help("[polling] order_column must name a column of whole numbers, unique and not null.")
    }

    /// The messages of those rows of a page that are wanted.
    pub(super) fn messages(&mut self, page: &[SimpleQueryRow], wanted: &[bool], read_at: Instant) -> Messages {
        let rows = page.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(row, _)| row);
        let rows: Vec<&SimpleQueryRow> = rows.collect();
        let (arena, places) = self.gather(&rows);
        let mut messages = Messages::over(arena.clone());
        let now = now_us();
        let mut oldest_us = None;
        for (row, places) in rows.iter().zip(places.chunks(self.parts.len().max(1))) {
            let created_us = number(row, 1).unwrap_or(now);
            oldest_us = Some(oldest_us.unwrap_or(created_us).min(created_us));
            let order: i64 = number(row, 0).unwrap_or_default();
            let position = EventPosition::new(self.base.0, self.base.1, order.unsigned_abs());
            let committed = Committed { position, timestamp_ms: created_us.div_euclid(1000) };
            match self.shape(committed, (&arena, places), &mut messages) {
                Shaped::Whole => {}
                Shaped::HeadersMalformed => self.metrics.wal.header_errors.inc(),
                Shaped::Filtered => self.metrics.wal.filtered_events.inc(),
                Shaped::Unfit(why) => {
                    self.metrics.wal.unfit_events.with_label_values(&[why.class()]).inc();
                    warn!(outbox = self.name, order, %why, "an event cannot become a record as it is");
                }
            }
        }
        let times = messages.times_mut();
        times.committed_us = oldest_us;
        times.read_at = Some(read_at);
        times.shaped_at = Some(Instant::now());
        messages
    }

    /// The messages of chosen rows, each with where and when its event is, and what became of each row.
    pub(super) fn again<'p>(
        &mut self,
        rows: impl Iterator<Item = (&'p SimpleQueryRow, Committed)>,
    ) -> (Messages, Vec<Shaped>) {
        let (rows, committed): (Vec<_>, Vec<_>) = rows.unzip();
        let (arena, places) = self.gather(&rows);
        let mut messages = Messages::over(arena.clone());
        let places = committed.into_iter().zip(places.chunks(self.parts.len().max(1)));
        let shaped = places.map(|(committed, places)| self.shape(committed, (&arena, places), &mut messages)).collect();
        (messages, shaped)
    }

    /// The values of rows in one buffer, and where each lies.
    fn gather(&self, rows: &[&SimpleQueryRow]) -> (Bytes, Vec<Option<Range<usize>>>) {
        let mut arena = Vec::new();
        let mut places = Vec::new();
        for row in rows {
            for part in 0..self.parts.len() {
                places.push(value(row, PARTS_BEGIN + part).map(|text| {
                    let begin = arena.len();
                    arena.extend_from_slice(text.as_bytes());
                    begin..arena.len()
                }));
            }
        }
        (Bytes::from(arena), places)
    }

    fn shape(
        &mut self,
        committed: Committed,
        (arena, places): (&Bytes, &[Option<Range<usize>>]),
        messages: &mut Messages,
    ) -> Shaped {
        let mut further: [Option<&[u8]>; FURTHER_MAX] = [None; FURTHER_MAX];
        let mut row = OutboxRow::default();
        for (part, place) in self.parts.iter().zip(places) {
            let value = place.clone().map(|place| &arena[place]);
            part.put(value, &mut row, &mut further);
        }
        let row = OutboxRow { further: &further[..self.further], ..row };
        self.outbox.shape(&row, &self.types, committed, messages)
    }
}

fn missing(of: &PolledOutbox, column: &str) -> Error {
    let context = format!("the table of the outbox {:?} has no column {column:?}", of.source.name);
    Error::new(End::Source, Kind::Setup, context)
        .with_help("Map the column by [outbox.columns], or add it to the table.")
}
