//! Frames of WAL become batches: which events, and how far they reach. Pure: no I/O.
//!
//! Guarantee: a batch's end never reaches beyond its messages. A keepalive moves it only between transactions, where
//! everything the server has read was sent; inside one, only the ordinal moves, and nothing may be forgotten yet.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::pipeline::{Batch, End, Error, Kind, Messages};
use crate::postgres::chunk::{Frame, Frames};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::pgoutput::{self, Insert, Message, Relation};
use crate::shape::outbox::{Outbox, Shaped};
use crate::shape::position::EventPosition;
use crate::sources::wal::columns::{OutboxTable, Places};
use crate::sources::wal::record::{Record, WalPosition};
use crate::telemetry::Metrics;

/// How much of an event's id an error shows, in bytes: a UUID has 36.
const ID_SHOWN_BYTES: usize = 100;

/// A transaction whose commit has not been read yet.
struct Open {
    commit_lsn: CommitLsn,
    commit_ms: i64,
    commit_us: i64,
    ordinal: u64,
}

/// Cuts batches from the frames of one connection.
pub(super) struct Cutter {
    slot: Bytes,
    table: OutboxTable,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    /// The outbox relations by OID; `None` is a relation that is none of ours.
    relations: HashMap<u32, Option<Places>>,
    open: Option<Open>,
    /// What was delivered before this connection: at or below it, nothing is cut again.
    delivered: Record,
    reached: Record,
}

impl Cutter {
    pub(super) fn new(slot: Bytes, table: OutboxTable, outbox: Outbox, metrics: Arc<Metrics>, from: Record) -> Self {
        Self { slot, table, outbox, metrics, relations: HashMap::new(), open: None, delivered: from, reached: from }
    }

    /// Starts again on a new connection, which will send its relations again.
    pub(super) fn restart(&mut self, from: Record) {
        self.relations.clear();
        self.open = None;
        self.delivered = from;
        self.reached = from;
    }

    /// Cuts one batch from whole frames; `None` if they move nothing.
    pub(super) fn cut(&mut self, arena: &Bytes) -> Result<Option<Batch<WalPosition>>, Error> {
        let before = self.reached;
        let mut messages = Messages::over(arena.clone());
        for frame in Frames::new(arena) {
            match frame {
                Frame::XLogData { wal_start, data, .. } => {
                    let message = pgoutput::decode(data).map_err(|error| {
                        let context = format!("the stream could not be decoded at WAL position {wal_start}");
                        Error::new(End::Source, Kind::Protocol, context).because(error)
                    })?;
                    self.message(message, &mut messages)?;
                }
                Frame::Keepalive { wal_end, .. } if self.open.is_none() => {
                    self.reached.end_lsn = self.reached.end_lsn.max(wal_end);
                }
                Frame::Keepalive { .. } => {}
            }
        }
        let moved = self.reached != before || !messages.is_empty();
        let end = WalPosition { slot: self.slot.clone(), record: self.reached };
        Ok(moved.then_some(Batch { messages, end }))
    }

    fn message(&mut self, message: Message<'_>, messages: &mut Messages) -> Result<(), Error> {
        match message {
            Message::Insert(insert) => self.insert(&insert, messages)?,
            Message::Begin(begin) => {
                self.open = Some(Open {
                    commit_lsn: begin.final_lsn,
                    commit_ms: begin.commit_time_us.div_euclid(1000),
                    commit_us: begin.commit_time_us,
                    ordinal: 0,
                });
            }
            Message::Commit(commit) => {
                self.open = None;
                self.reach_commit(commit.commit_lsn, commit.end_lsn);
            }
            Message::Relation(relation) => self.relation(&relation)?,
            // The publication of an outbox publishes inserts only; a wider one is counted, so that ordinals hold.
            Message::Update(_) | Message::Delete(_) | Message::Truncate(_) => {
                self.row_change()?;
            }
            Message::Message(_) | Message::Origin(_) | Message::Type(_) => {}
        }
        Ok(())
    }

    fn insert(&mut self, insert: &Insert<'_>, messages: &mut Messages) -> Result<(), Error> {
        let (commit_lsn, commit_ms, ordinal) = self.row_change()?;
        let places = self.relations.get(&insert.relation).ok_or_else(|| {
            let context = format!("a row came of relation {}, which was never described", insert.relation);
            Error::new(End::Source, Kind::Protocol, context)
        })?;
        let Some(places) = places else { return Ok(()) };
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        let row = places.row(&insert.new);
        let position = EventPosition::new(self.reached.epoch, commit_lsn.as_u64(), ordinal);
        let shaped = self.outbox.shape(&row, position, commit_ms, messages).map_err(|why| {
            // A mapped column may hold anything: what is told of it is bounded.
            let id = row.id.unwrap_or(b"null");
            let id = String::from_utf8_lossy(&id[..id.len().min(ID_SHOWN_BYTES)]);
            let context = format!("the event with id {id} at position {position} cannot be published");
            Error::new(End::Source, Kind::Refused, context)
                .because(why)
                .with_help("The stream waits here, so that order holds.")
        })?;
        if let Some(open) = &self.open {
            messages.times_mut().committed_us.get_or_insert(open.commit_us);
        }
        if shaped == Shaped::HeadersMalformed {
            self.metrics.wal.header_errors.inc();
            warn!(%position, "an event's headers are not a JSON object; they travel as text");
        }
        Ok(())
    }

    /// Counts a row change, before any filter, and moves the position to it.
    fn row_change(&mut self) -> Result<(CommitLsn, i64, u64), Error> {
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| Error::new(End::Source, Kind::Protocol, "a row change came outside a transaction"))?;
        let ordinal = open.ordinal;
        open.ordinal += 1;
        if !self.delivered.covers(open.commit_lsn, ordinal) {
            (self.reached.commit_lsn, self.reached.ordinal) = (open.commit_lsn, ordinal);
        }
        Ok((open.commit_lsn, open.commit_ms, ordinal))
    }

    fn reach_commit(&mut self, commit_lsn: CommitLsn, end_lsn: EndLsn) {
        // A transaction without row changes names itself too: later ones must not be compared with an older one.
        if commit_lsn > self.reached.commit_lsn {
            (self.reached.commit_lsn, self.reached.ordinal) = (commit_lsn, 0);
        }
        self.reached.end_lsn = self.reached.end_lsn.max(end_lsn);
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<(), Error> {
        let places = if self.table.is(relation) {
            Some(Places::find(&self.table, relation)?)
        } else {
            if !self.relations.contains_key(&relation.oid) {
                self.metrics.wal.ignored_relations.inc();
                warn!(
                    schema = relation.namespace,
                    table = relation.name,
                    "the publication also carries a table that is not the outbox; its rows are ignored"
                );
            }
            None
        };
        self.relations.insert(relation.oid, places);
        Ok(())
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
