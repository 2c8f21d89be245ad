//! Frames of WAL become batches: which events, and how far they reach. Pure: no I/O.
//!
//! Guarantee: a batch's end never reaches beyond its messages. A keepalive moves it only between transactions, where
//! everything the server has read was sent; inside one, only the ordinal moves, and nothing may be forgotten yet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::pipeline::parking::KeyHash;
use crate::pipeline::{Batch, End, Error, Kind, Messages};
use crate::postgres::chunk::{Frame, Frames};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::pgoutput::{self, Insert, LogicalMessage, Message, Relation};
use crate::shape::content::{self, Members};
use crate::shape::outbox::{Committed, Outbox, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::RowTypes;
use crate::sources::wal::columns::{OutboxColumns, OutboxSource, OutboxTable, Places};
use crate::sources::wal::record::{Record, WalPosition};
use crate::telemetry::Metrics;

/// A transaction whose commit has not been read yet.
struct Open {
    commit_lsn: CommitLsn,
    commit_ms: i64,
    commit_us: i64,
    ordinal: u64,
    /// Whether the ordinal counts logical messages too.
    messages: bool,
}

/// An outbox and how its events are found in the stream.
struct Route {
    table: Option<OutboxTable>,
    prefix: Option<String>,
    columns: OutboxColumns,
    members: Members,
    outbox: Outbox,
}

/// The columns of each table that cannot be null, in the order of the outboxes.
pub(super) type NotNull = Vec<BTreeSet<String>>;

/// Cuts batches from the frames of one connection.
pub(super) struct Cutter {
    slot: Bytes,
    routes: Vec<Route>,
    metrics: Arc<Metrics>,
    /// The outbox relations by OID, with the number of their route; `None` is a relation that is none of ours.
    relations: HashMap<u32, Option<(usize, Places)>>,
    not_null: NotNull,
    /// What the members of a message are: JSON has no other types.
    member_types: RowTypes,
    /// Whether some outbox has its events in messages, which then count among a transaction's changes.
    counts_messages: bool,
    /// Whether a message outside a transaction was told of.
    told_of_loose: bool,
    open: Option<Open>,
    /// What was delivered before this connection: at or below it, nothing is cut again.
    delivered: Record,
    reached: Record,
}

impl Cutter {
    /// # Errors
    /// An outbox whose templates are none.
    pub(super) fn new(
        slot: Bytes,
        sources: &[OutboxSource],
        metrics: Arc<Metrics>,
        from: Record,
        not_null: NotNull,
    ) -> Result<Self, Error> {
        let route = |source: &OutboxSource| {
            let outbox = Outbox::new(&source.shape).map_err(|error| {
                let context = format!("the outbox {:?} cannot be read as it is configured", source.name);
                Error::new(End::Source, Kind::Setup, context).because(error)
            })?;
            Ok(Route {
                table: source.table.clone(),
                prefix: source.message_prefix.clone(),
                columns: source.columns.clone(),
                members: source.columns.members(),
                outbox,
            })
        };
        Ok(Self {
            slot,
            routes: sources.iter().map(route).collect::<Result<_, Error>>()?,
            metrics,
            relations: HashMap::new(),
            not_null,
            member_types: RowTypes::default(),
            counts_messages: sources.iter().any(|source| source.message_prefix.is_some()),
            told_of_loose: false,
            open: None,
            delivered: from,
            reached: from,
        })
    }

    /// Starts again on a new connection, which will send its relations again.
    pub(super) fn restart(&mut self, from: Record, not_null: NotNull) {
        self.relations.clear();
        self.not_null = not_null;
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
                    // One that was half delivered is counted on as it was begun, whatever is configured now.
                    messages: match begin.final_lsn == self.delivered.commit_lsn {
                        true => self.delivered.messages,
                        false => self.counts_messages,
                    },
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
            Message::Message(message) => self.logical(&message, messages)?,
            Message::Origin(_) | Message::Type(_) => {}
        }
        Ok(())
    }

    fn insert(&mut self, insert: &Insert<'_>, messages: &mut Messages) -> Result<(), Error> {
        let (commit_lsn, commit_ms, ordinal) = self.row_change()?;
        let places = self.relations.get(&insert.relation).ok_or_else(|| {
            let context = format!("a row came of relation {}, which was never described", insert.relation);
            Error::new(End::Source, Kind::Protocol, context)
        })?;
        let Some((route, places)) = places else { return Ok(()) };
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        let position = self.position(commit_lsn, ordinal);
        let committed = Committed { position, timestamp_ms: commit_ms };
        let outbox = &mut self.routes[*route].outbox;
        let shaped = places.read(&insert.new, |row| outbox.shape(row, places.types(), committed, messages));
        self.account(&shaped, position, messages);
        Ok(())
    }

    /// A message of `pg_logical_emit_message`: an event, if its prefix is that of an outbox and its transaction's commit
    /// is what publishes it.
    fn logical(&mut self, message: &LogicalMessage<'_>, messages: &mut Messages) -> Result<(), Error> {
        let route = self.routes.iter_mut().find(|route| route.prefix.as_deref() == Some(message.prefix));
        if !message.transactional {
            if route.is_some() {
                self.metrics.wal.loose_messages.inc();
                if !std::mem::replace(&mut self.told_of_loose, true) {
                    warn!(
                        prefix = message.prefix,
                        "a message was written outside its transaction (transactional = false) and is ignored: it would be \
                         published even if the transaction is rolled back; further ones are only counted"
                    );
                }
            }
            return Ok(());
        }
        if self.open.as_ref().is_some_and(|open| !open.messages) {
            if route.is_some() {
                warn!(
                    prefix = message.prefix,
                    "a message of a transaction that was half delivered before messages were events is not published"
                );
            }
            return Ok(());
        }
        let route = route.map(|route| (&mut route.outbox, &route.members));
        let (commit_lsn, commit_ms, ordinal) = change(&mut self.open, &self.delivered, &mut self.reached)?;
        let Some((outbox, members)) = route else { return Ok(()) };
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        // Only a transaction whose messages are counted comes here.
        let position = EventPosition::new(self.reached.epoch, commit_lsn.as_u64(), ordinal).among_messages();
        let committed = Committed { position, timestamp_ms: commit_ms };
        let types = &self.member_types;
        let shaped = content::read(message.content, members, |row| outbox.shape(row, types, committed, messages));
        let shaped = shaped.unwrap_or_else(|why| outbox.unreadable(message.content, why, committed, messages));
        self.account(&shaped, position, messages);
        Ok(())
    }

    /// The position of a row of the open transaction.
    fn position(&self, commit_lsn: CommitLsn, ordinal: u64) -> EventPosition {
        let position = EventPosition::new(self.reached.epoch, commit_lsn.as_u64(), ordinal);
        if self.open.as_ref().is_some_and(|open| open.messages) { position.among_messages() } else { position }
    }

    fn account(&self, shaped: &Shaped, position: EventPosition, messages: &mut Messages) {
        if let (Some(open), false) = (&self.open, messages.is_empty()) {
            messages.times_mut().committed_us.get_or_insert(open.commit_us);
        }
        match shaped {
            Shaped::Whole => {}
            Shaped::HeadersMalformed => {
                self.metrics.wal.header_errors.inc();
                warn!(
                    %position,
                    key_hash = key_hash(messages),
                    help = "The writer should send a flat object of strings: docs/guarantees.md says what else becomes of it.",
                    "an event's headers are not a JSON object; they travel as text"
                );
            }
            Shaped::Filtered => self.metrics.wal.filtered_events.inc(),
            Shaped::Unfit(why) => {
                self.metrics.wal.unfit_events.with_label_values(&[why.class()]).inc();
                let key_hash = key_hash(messages);
                warn!(%position, key_hash, %why, "an event cannot become a record; its route's policy says what becomes of it");
            }
        }
    }

    fn row_change(&mut self) -> Result<(CommitLsn, i64, u64), Error> {
        change(&mut self.open, &self.delivered, &mut self.reached)
    }

    fn reach_commit(&mut self, commit_lsn: CommitLsn, end_lsn: EndLsn) {
        // A transaction without row changes names itself too: later ones must not be compared with an older one.
        if commit_lsn > self.reached.commit_lsn {
            (self.reached.commit_lsn, self.reached.ordinal) = (commit_lsn, 0);
            self.reached.messages = self.counts_messages;
        }
        self.reached.end_lsn = self.reached.end_lsn.max(end_lsn);
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<(), Error> {
        let is = |route: &Route| route.table.as_ref().is_some_and(|table| table.is(relation));
        let places = match self.routes.iter().position(is) {
            Some(index) => {
                let none = BTreeSet::new();
                let not_null = self.not_null.get(index).unwrap_or(&none);
                Some((index, Places::find(&self.routes[index].columns, relation, not_null)?))
            }
            None => {
                if !self.relations.contains_key(&relation.oid) {
                    self.metrics.wal.ignored_relations.inc();
                    warn!(
                        schema = relation.namespace,
                        table = relation.name,
                        "the publication also carries a table that is not the outbox; its rows are ignored"
                    );
                }
                None
            }
        };
        self.relations.insert(relation.oid, places);
        Ok(())
    }
}

/// Counts a change, before any filter, and moves the position to it.
#[inline]
fn change(open: &mut Option<Open>, delivered: &Record, reached: &mut Record) -> Result<(CommitLsn, i64, u64), Error> {
    let open =
        open.as_mut().ok_or_else(|| Error::new(End::Source, Kind::Protocol, "a change came outside a transaction"))?;
    let ordinal = open.ordinal;
    open.ordinal += 1;
    if !delivered.covers(open.commit_lsn, ordinal) {
        (reached.commit_lsn, reached.ordinal, reached.messages) = (open.commit_lsn, ordinal, open.messages);
    }
    Ok((open.commit_lsn, open.commit_ms, ordinal))
}

/// The last message's key in the form in which it may be logged.
fn key_hash(messages: &Messages) -> Option<String> {
    let message = messages.at(messages.len().checked_sub(1)?)?;
    Some(KeyHash::of(message.topic(), message.key()?).to_string())
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
