//! Frames of WAL become batches: which events, and how far they reach. Pure: no I/O.
//!
//! Guarantee: a batch's end never reaches beyond its messages. A keepalive moves it only between transactions, where
//! everything the server has read was sent; inside one, only the ordinal moves, and nothing may be forgotten yet.

mod account;
mod beside;
mod logical;
mod state;
mod told;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::pipeline::{Batch, End, Error, Kind, Messages};
use crate::postgres::chunk::{Frame, Frames};
use crate::postgres::lsn::{CommitLsn, EndLsn, RecordLsn};
use crate::postgres::pgoutput::{self, Message, Relation};
use crate::shape::change::table::Table;
use crate::shape::outbox::{Committed, Outbox};
use crate::shape::position::EventPosition;
use crate::shape::row::RowTypes;
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::wal::captured::{Captured, RowChange, Rows, Transaction};
use crate::sources::wal::catalog::Described;
use crate::sources::wal::columns::{OutboxSource, OutboxTable, Places};
use crate::sources::wal::horizon::Horizons;
use crate::sources::wal::lookout::Lookout;
use crate::sources::wal::record::{Record, WalPosition};
use crate::sources::wal::reselect::Found;
use crate::sources::wal::signal::SignalPlaces;
use crate::telemetry::Metrics;

use state::{CapturedTable, Open, Paused, Route, Target};

pub(super) use state::Pause;

/// With so many bytes made, a batch is handed over before its chunk is cut to the end: what is made of captured rows, with their
/// schemas above all, can be many times what was read.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The columns of each table that cannot be null, in the order of the outboxes.
pub(super) type NotNull = Vec<BTreeSet<String>>;

/// Cuts batches from the frames of one connection.
pub(super) struct Cutter {
    slot: Bytes,
    routes: Vec<Route>,
    metrics: Arc<Metrics>,
    /// The relations that the stream has described, by OID.
    relations: HashMap<u32, Target>,
    captured: Option<Captured>,
    /// What those note who read tables beside the stream.
    lookout: Lookout,
    /// The table whose rows are signals.
    signals: Option<OutboxTable>,
    /// Whether values that were not sent are read from their tables.
    reselects: bool,
    /// What was read of the row whose change comes next.
    found: Option<Found>,
    paused: Option<Paused>,
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
    /// What was sampled beside this connection.
    horizons: Arc<Horizons>,
    /// What was delivered of the snapshot that was taken before.
    snapshot: Option<Arc<SnapshotProgress>>,
}

/// What was delivered before a connection began.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) record: Record,
    pub(super) snapshot: Option<Arc<SnapshotProgress>>,
}

impl From<Record> for Delivered {
    fn from(record: Record) -> Self {
        Self { record, snapshot: None }
    }
}

impl Cutter {
    /// # Errors
    /// An outbox whose templates are none.
    pub(super) fn new(
        slot: Bytes,
        sources: &[OutboxSource],
        metrics: Arc<Metrics>,
        from: impl Into<Delivered>,
        not_null: NotNull,
        captured: Option<Captured>,
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
        let from = from.into();
        Ok(Self {
            slot,
            routes: sources.iter().map(route).collect::<Result<_, Error>>()?,
            metrics,
            relations: HashMap::new(),
            not_null,
            member_types: RowTypes::default(),
            counts_messages: sources.iter().any(|source| source.message_prefix.is_some())
                || captured.as_ref().is_some_and(Captured::reads_messages),
            captured,
            lookout: Lookout::default(),
            signals: None,
            reselects: false,
            found: None,
            paused: None,
            told_of_loose: false,
            open: None,
            delivered: from.record,
            reached: from.record,
            horizons: Arc::default(),
            snapshot: from.snapshot,
        })
    }

    /// Starts again on a new connection, which will send its relations again.
    pub(super) fn restart(&mut self, from: impl Into<Delivered>, not_null: NotNull) {
        let from = from.into();
        self.relations.clear();
        self.paused = None;
        self.found = None;
        self.lookout.restart();
        if let Some(captured) = &mut self.captured {
            captured.restart();
        }
        self.not_null = not_null;
        self.open = None;
        self.delivered = from.record;
        self.reached = from.record;
        self.snapshot = from.snapshot;
    }

    /// How far it came.
    pub(super) fn reached(&self) -> Record {
        self.reached
    }

    /// What is known of the snapshot.
    pub(super) fn snapshot(&self) -> Option<Arc<SnapshotProgress>> {
        self.snapshot.clone()
    }

    /// Learns of the snapshot: what its rows show is not cut. For a connection that is about to begin.
    pub(super) fn keep(&mut self, snapshot: Option<Arc<SnapshotProgress>>) {
        self.snapshot = snapshot;
    }

    /// Forgets what it has begun to cut, for a stream that was left.
    pub(super) fn stop(&mut self) {
        self.paused = None;
        self.open = None;
    }

    /// Cuts one batch from whole frames; `None` if they move nothing, or if something must be done first: see
    /// [`Cutter::pause`].
    pub(super) fn cut(&mut self, arena: &Bytes) -> Result<Option<Batch<WalPosition>>, Error> {
        if let Some(captured) = &mut self.captured {
            captured.begin();
        }
        self.go_on(arena, 0, Messages::over(arena.clone()), self.reached)
    }

    /// Reads the rows of this table as signals.
    pub(super) fn with_signals(self, table: Option<OutboxTable>) -> Self {
        Self { signals: table, ..self }
    }

    /// Reads large values that were not sent from their tables, or leaves them unknown.
    pub(super) fn with_reselect(self, reselects: bool) -> Self {
        Self { reselects, ..self }
    }

    /// Why cutting waits; [`Cutter::cut`] is for when it does not.
    pub(super) fn pause(&self) -> Option<&Pause> {
        self.paused.as_ref().map(|paused| &paused.why)
    }

    /// Goes on cutting now that the table is known; returns as [`Cutter::cut`] does.
    pub(super) fn describe(&mut self, table: Table) -> Result<Option<Batch<WalPosition>>, Error> {
        let Some(Pause::Describe(described)) = self.pause() else { return Ok(None) };
        let (oid, identified) = (described.oid, described.identified.clone());
        let Some(captured) = &mut self.captured else { return Ok(None) };
        let form = captured.describe(&table)?;
        let shown =
            self.snapshot.as_ref().map_or(CommitLsn::ZERO, |read| read.shows_before(&table.schema, &table.name));
        self.lookout.described(&identified);
        self.relations.insert(oid, Target::Captured(Box::new(CapturedTable { form, shown, table, identified })));
        self.resume()
    }

    /// Goes on cutting with what was found; returns as [`Cutter::cut`] does.
    pub(super) fn reselected(&mut self, found: Found) -> Result<Option<Batch<WalPosition>>, Error> {
        self.found = Some(found);
        self.resume()
    }

    /// Goes on cutting where it paused; returns as [`Cutter::cut`] does.
    pub(super) fn resume(&mut self) -> Result<Option<Batch<WalPosition>>, Error> {
        let Some(paused) = self.paused.take() else { return Ok(None) };
        self.go_on(&paused.arena, paused.offset, paused.messages, paused.before)
    }

    fn go_on(
        &mut self,
        arena: &Bytes,
        offset: usize,
        mut messages: Messages,
        before: Record,
    ) -> Result<Option<Batch<WalPosition>>, Error> {
        let mut rows = Rows::default();
        let mut frames = Frames::new(&arena[offset..]);
        let mut begin = offset;
        while let Some(frame) = frames.next() {
            match frame {
                Frame::XLogData { wal_start, data, .. } => {
                    let message = pgoutput::decode(data).map_err(|error| {
                        let context = format!("the stream could not be decoded at WAL position {wal_start}");
                        Error::new(End::Source, Kind::Protocol, context).because(error)
                    })?;
                    if self.joins_at(&message) {
                        let (rest, before, why) = (Messages::over(arena.clone()), self.reached, Pause::Joined);
                        self.paused =
                            Some(Paused { arena: arena.clone(), offset: arena.len(), messages: rest, before, why });
                        break;
                    }
                    if let Some(asked) = self.reselect(&message, &mut rows) {
                        let why = Pause::Reselect(asked);
                        self.paused = Some(Paused { arena: arena.clone(), offset: begin, messages, before, why });
                        return Ok(None);
                    }
                    if let Some(why) = self.message(message, wal_start, &mut rows, &mut messages)? {
                        let offset = arena.len() - frames.remaining();
                        self.paused = Some(Paused { arena: arena.clone(), offset, messages, before, why });
                        return Ok(None);
                    }
                }
                Frame::Keepalive { wal_end, .. } if self.open.is_none() => {
                    self.reached.end_lsn = self.reached.end_lsn.max(wal_end);
                }
                Frame::Keepalive { .. } => {}
            }
            let full = (messages.made_bytes() > BATCH_BYTES_MAX && frames.remaining() > 0).then_some(Pause::Full);
            if let Some(why) = self.pause_behind().or(full) {
                let offset = arena.len() - frames.remaining();
                let (rest, before) = (Messages::over(arena.clone()), self.reached);
                self.paused = Some(Paused { arena: arena.clone(), offset, messages: rest, before, why });
                break;
            }
            begin = arena.len() - frames.remaining();
        }
        let moved = self.reached != before || !messages.is_empty();
        self.reached.horizon = self.horizons.passed(self.reached.end_lsn).or(self.reached.horizon);
        let end =
            WalPosition { slot: self.slot.clone(), record: self.reached, snapshot: self.snapshot.clone(), chunk: None };
        Ok(moved.then_some(Batch { messages, end }))
    }

    /// What must be done between two transactions, now that the stream has come here.
    fn pause_behind(&self) -> Option<Pause> {
        if self.open.is_some() {
            return None;
        }
        let end = self.reached.end_lsn;
        if self.reads_alone() && end >= self.reached.alone_until {
            return Some(Pause::Joined);
        }
        self.lookout.is_passed_at(end.as_u64()).then_some(Pause::Passed)
    }

    /// Whether the outboxes are read alone, because the publication of the captured tables does not exist yet here.
    pub(super) fn reads_alone(&self) -> bool {
        self.reached.alone_until > EndLsn::ZERO
    }

    /// Whether a transaction begins that the publication of the captured tables carries. This asks where its commit record lies
    /// in the log.
    fn joins_at(&self, message: &Message<'_>) -> bool {
        let place = self.reached.alone_until.as_u64();
        matches!(message, Message::Begin(begin) if self.reads_alone() && begin.final_lsn.as_u64() >= place)
    }

    /// Reads one message; returns what must be done before the next.
    fn message<'r>(
        &mut self,
        message: Message<'r>,
        wal_start: RecordLsn,
        rows: &mut Rows<'r>,
        messages: &mut Messages,
    ) -> Result<Option<Pause>, Error> {
        match message {
            Message::Insert(insert) => {
                if let Some(Target::Signals(places)) = self.relations.get(&insert.relation) {
                    return self.signal(*places, insert.new);
                }
                self.change((insert.relation, wal_start), RowChange::Insert(insert.new), rows, messages)?;
            }
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
                    transaction: Transaction::new(&begin, wal_start),
                    touched: false,
                });
            }
            Message::Commit(commit) => {
                self.tell_end(wal_start, messages);
                if let Some(open) = self.open.take().filter(|open| open.touched) {
                    self.lookout.committed(open.transaction.xid());
                }
                if let Some(captured) = &mut self.captured {
                    captured.committed(wal_start);
                }
                self.reach_commit(commit.commit_lsn, commit.end_lsn);
            }
            Message::Relation(relation) => return self.relation(&relation),
            // The publication of an outbox publishes inserts only; what a wider one sends is counted, so that ordinals hold.
            Message::Update(update) => {
                self.change((update.relation, wal_start), RowChange::Update(update.old, update.new), rows, messages)?;
            }
            Message::Delete(delete) => {
                self.change((delete.relation, wal_start), RowChange::Delete(delete.old), rows, messages)?;
            }
            Message::Truncate(truncate) => {
                for relation in truncate.relations() {
                    self.change((relation, wal_start), RowChange::Truncate, rows, messages)?;
                }
            }
            Message::Message(message) => self.logical(&message, messages)?,
            Message::Origin(origin) => {
                if let (Some(open), Some(_)) = (&mut self.open, &self.captured) {
                    open.transaction.came_from(&origin);
                }
            }
            Message::Type(_) => {}
        }
        Ok(None)
    }

    /// A row, or a whole table, was changed.
    #[inline]
    fn change<'r>(
        &mut self,
        (relation, wal_start): (u32, RecordLsn),
        change: RowChange<'r>,
        rows: &mut Rows<'r>,
        messages: &mut Messages,
    ) -> Result<(), Error> {
        let found = self.found.take();
        let place = self.place_in_transaction(relation, change, rows, messages);
        let (commit_lsn, commit_ms, ordinal) =
            count(&mut self.open, &self.delivered, &mut self.reached, change.ordinals())?;
        let target = self.relations.get(&relation).ok_or_else(|| {
            let context = format!("a change came of relation {relation}, which was never described");
            Error::new(End::Source, Kind::Protocol, context)
        })?;
        if let (Target::Captured(_), Some(open)) = (target, &mut self.open) {
            // What was delivered before is noted too: it is newer than a row that does not show it.
            open.touched = true;
            self.lookout.change(relation, open.transaction.xid(), &change);
        }
        if matches!(target, Target::Ignored) || self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        let position = self.position(commit_lsn, ordinal);
        let shaped = match (target, change) {
            (Target::Outbox(route, places), RowChange::Insert(new)) => {
                let outbox = &mut self.routes[*route].outbox;
                let committed = Committed { position, timestamp_ms: commit_ms };
                places.read(&new, |row| outbox.shape(row, places.types(), committed, messages))
            }
            // The snapshot's rows show it.
            (Target::Captured(table), _) if commit_lsn < table.shown => {
                self.metrics.snapshot.shown_changes.inc();
                return Ok(());
            }
            (Target::Captured(table), change) => {
                let (Some(captured), Some(open)) = (&mut self.captured, &self.open) else { return Ok(()) };
                let at = (position, &open.transaction, wal_start);
                captured.shape(&table.form, change, at, (place, found.as_ref()), rows, messages)
            }
            (Target::Ignored | Target::Signals(_) | Target::Outbox(..), _) => return Ok(()),
        };
        self.account(&shaped, position, messages);
        Ok(())
    }

    /// The position of a row of the open transaction.
    fn position(&self, commit_lsn: CommitLsn, ordinal: u64) -> EventPosition {
        let position = EventPosition::new(self.reached.epoch, commit_lsn.as_u64(), ordinal);
        if self.open.as_ref().is_some_and(|open| open.messages) { position.among_messages() } else { position }
    }

    fn reach_commit(&mut self, commit_lsn: CommitLsn, end_lsn: EndLsn) {
        // A transaction without row changes names itself too: later ones must not be compared with an older one.
        if commit_lsn > self.reached.commit_lsn {
            (self.reached.commit_lsn, self.reached.ordinal) = (commit_lsn, 0);
            self.reached.messages = self.counts_messages;
        }
        self.reached.end_lsn = self.reached.end_lsn.max(end_lsn);
        if self.snapshot.as_ref().is_some_and(|read| read.has_horizon() && read.horizon() <= commit_lsn) {
            // What comes from now on shows in no row of the snapshot.
            self.snapshot = Some(Arc::new(SnapshotProgress::over()));
        }
    }

    /// Learns what a relation is; returns a captured one, which must be described before its first change.
    fn relation(&mut self, relation: &Relation<'_>) -> Result<Option<Pause>, Error> {
        let is = |route: &Route| route.table.as_ref().is_some_and(|table| table.is(relation));
        let captures = |captured: &Captured| captured.captures(relation.namespace, relation.name);
        let target = match self.routes.iter().position(is) {
            Some(index) => {
                let none = BTreeSet::new();
                let not_null = self.not_null.get(index).unwrap_or(&none);
                Target::Outbox(index, Places::find(&self.routes[index].columns, relation, not_null)?)
            }
            None if self.signals.as_ref().is_some_and(|table| table.is(relation)) => {
                Target::Signals(SignalPlaces::find(relation))
            }
            None if self.captured.as_ref().is_some_and(captures) => {
                let xid = self.open.as_ref().map(|open| open.transaction.xid());
                return Ok(Some(Pause::Describe(Described::of(relation, xid))));
            }
            None => {
                if !self.relations.contains_key(&relation.oid) {
                    self.metrics.wal.ignored_relations.inc();
                    warn!(
                        schema = relation.namespace,
                        table = relation.name,
                        "a publication also carries a table that is neither an outbox nor captured; its rows are ignored"
                    );
                }
                Target::Ignored
            }
        };
        self.relations.insert(relation.oid, target);
        Ok(None)
    }
}

/// Counts a change, before any filter, and moves the position to it; the next change is `ordinals` on.
#[inline]
fn count(
    open: &mut Option<Open>,
    delivered: &Record,
    reached: &mut Record,
    ordinals: u64,
) -> Result<(CommitLsn, i64, u64), Error> {
    let open =
        open.as_mut().ok_or_else(|| Error::new(End::Source, Kind::Protocol, "a change came outside a transaction"))?;
    let ordinal = open.ordinal;
    open.ordinal += ordinals;
    if !delivered.covers(open.commit_lsn, ordinal) {
        (reached.commit_lsn, reached.ordinal, reached.messages) = (open.commit_lsn, ordinal, open.messages);
    }
    Ok((open.commit_lsn, open.commit_ms, ordinal))
}

#[cfg(test)]
#[path = "cut_tests.rs"]
pub(in crate::sources::wal) mod tests;

#[cfg(test)]
mod captured_tests;
