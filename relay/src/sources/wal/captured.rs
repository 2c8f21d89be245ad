//! Changes of captured tables on their way to the shaper: what they are, where they stand, and what is noted of their transaction.

use crate::pipeline::times::now_us;
use crate::pipeline::{End, Error, Kind, Messages};
use crate::postgres::lsn::RecordLsn;
use crate::postgres::pgoutput::{self, Begin, LogicalMessage, OldTuple, Origin, Tuple};
use crate::shape::change::options::CaptureOptions;
use crate::shape::change::row::{Change, InTransaction, Old, Snapshot, Stamp, Value};
use crate::shape::change::table::Table;
use crate::shape::change::transaction::{Boundary, EventCounts};
use crate::shape::change::{Capture, Form};
use crate::shape::outbox::Shaped;
use crate::shape::position::EventPosition;
use crate::sources::wal::columns::OutboxTable;
use crate::sources::wal::reselect::{Found, Reselect, with_found};

/// What is captured beside the outboxes, and how it is published.
#[derive(Debug, Clone)]
pub struct CaptureSource {
    /// The publication of the captured tables; it must be older than the slot.
    pub publication: String,
    /// What becomes of their changes.
    pub shape: CaptureOptions,
    /// The table whose inserted rows are signals.
    pub signals: Option<OutboxTable>,
    /// Whether a table is read again whose columns were changed so that its rows are others, of which the stream tells nothing.
    pub rereads_rewritten: bool,
    /// Whether large values that were not sent are read from their tables.
    pub reselects: bool,
}

/// A change of a row, or of a whole table, as the stream tells it.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowChange<'r> {
    Insert(Tuple<'r>),
    Update(Option<OldTuple<'r>>, Tuple<'r>),
    Delete(OldTuple<'r>),
    Truncate,
}

impl<'r> RowChange<'r> {
    /// The ordinals that it takes, whatever is configured: one for each record that it can become. An update of a key is a
    /// deletion, a tombstone and a creation.
    pub(super) fn ordinals(&self) -> u64 {
        match self {
            Self::Insert(_) | Self::Truncate => 1,
            Self::Delete(_) => 2,
            Self::Update(..) => 3,
        }
    }

    fn read<'s>(self, rows: &'s mut Rows<'r>) -> Change<'s> {
        match self {
            Self::Insert(new) => Change::Insert { new: fill(&mut rows.new, new) },
            Self::Update(old, new) => {
                let new = fill(&mut rows.new, new);
                Change::Update { old: old.map(|old| read_old(&mut rows.old, old)), new }
            }
            Self::Delete(old) => Change::Delete { old: read_old(&mut rows.old, old) },
            Self::Truncate => Change::Truncate,
        }
    }
}

/// Room for the values of a change, used again for each change of a chunk.
#[derive(Debug, Default)]
pub(super) struct Rows<'r> {
    new: Vec<Value<'r>>,
    old: Vec<Value<'r>>,
}

fn fill<'s, 'r>(values: &'s mut Vec<Value<'r>>, tuple: Tuple<'r>) -> &'s [Value<'r>] {
    values.clear();
    values.extend(tuple.columns().map(|column| match column {
        pgoutput::Column::Null => Value::Null,
        pgoutput::Column::Unchanged => Value::Unchanged,
        // The stream is never asked for binary values.
        pgoutput::Column::Text(text) | pgoutput::Column::Binary(text) => Value::Text(text),
    }));
    values
}

fn read_old<'s, 'r>(values: &'s mut Vec<Value<'r>>, old: OldTuple<'r>) -> Old<'s> {
    Old { values: fill(values, old.tuple()), whole: matches!(old, OldTuple::Full(_)) }
}

/// What captured changes say of their transaction.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    xid: u32,
    commit_us: i64,
    begin_lsn: RecordLsn,
    origin: Option<(String, u64)>,
    /// Counted only where transactions are told.
    counts: EventCounts,
    begun: bool,
}

impl Transaction {
    pub(super) fn new(begin: &Begin, wal_start: RecordLsn) -> Self {
        Self {
            xid: begin.xid,
            commit_us: begin.commit_time_us,
            begin_lsn: wal_start,
            origin: None,
            counts: EventCounts::default(),
            begun: false,
        }
    }

    /// It begins to be told.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Counts the events of a change; the place of the first.
    pub(super) fn count(&mut self, form: &Form, events: u64) -> Option<InTransaction> {
        self.counts.count(form, events)
    }

    /// Counts a message that is published; its place.
    pub(super) fn count_message(&mut self) -> Option<InTransaction> {
        self.counts.count_message()
    }

    /// Whether its begin was told, and its end must be.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Its number, without the epoch.
    pub(super) fn xid(&self) -> u32 {
        self.xid
    }

    /// It was replicated here.
    pub(super) fn came_from(&mut self, origin: &Origin<'_>) {
        self.origin = Some((origin.name.to_owned(), origin.lsn.as_u64()));
    }
}

/// Shapes the changes of captured tables.
#[derive(Debug)]
pub(super) struct Captured {
    capture: Capture,
    reads_messages: bool,
    tells_transactions: bool,
    last_commit_lsn: Option<u64>,
    now_us: i64,
}

impl Captured {
    /// # Errors
    /// Options that contradict themselves.
    pub(super) fn new(options: &CaptureOptions) -> Result<Self, Error> {
        let capture = Capture::new(options).map_err(|error| {
            Error::new(End::Source, Kind::Setup, "tables cannot be captured as it is configured").because(error)
        })?;
        Ok(Self {
            capture,
            reads_messages: !options.message_prefixes.is_empty(),
            tells_transactions: options.transaction_topic.is_some(),
            last_commit_lsn: None,
            now_us: 0,
        })
    }

    /// Whether logical messages are published.
    pub(super) fn reads_messages(&self) -> bool {
        self.reads_messages
    }

    /// Whether the begin and the end of transactions are.
    pub(super) fn tells_transactions(&self) -> bool {
        self.tells_transactions
    }

    pub(super) fn captures(&self, schema: &str, table: &str) -> bool {
        self.capture.captures(schema, table)
    }

    /// Forgets what it noted of a stream that has ended.
    pub(super) fn restart(&mut self) {
        self.last_commit_lsn = None;
    }

    /// A chunk begins: its changes are processed now.
    pub(super) fn begin(&mut self) {
        self.now_us = now_us();
    }

    /// A transaction ended.
    pub(super) fn committed(&mut self, wal_start: RecordLsn) {
        self.last_commit_lsn = Some(wal_start.as_u64());
    }

    /// Learns what a table is.
    ///
    /// # Errors
    /// `Setup` if it has what cannot be published.
    pub(super) fn describe(&self, table: &Table) -> Result<Form, Error> {
        self.capture.describe(table).map_err(|error| {
            let context = format!("table {}.{} cannot be captured", table.schema, table.name);
            Error::new(End::Source, Kind::Setup, context).because(error)
        })
    }

    /// Shapes a change, which has `place` in its transaction if that is told, with what was `found` of what was not sent.
    pub(super) fn shape<'r>(
        &mut self,
        form: &Form,
        change: RowChange<'r>,
        (position, transaction, wal_start): (EventPosition, &Transaction, RecordLsn),
        (place, found): (Option<InTransaction>, Option<&Found>),
        rows: &mut Rows<'r>,
        messages: &mut Messages,
    ) -> Shaped {
        let stamp = Stamp { transaction: place, ..self.stamp(position, Some(transaction), wal_start) };
        let change = change.read(rows);
        match found {
            None => self.capture.shape(form, change, &stamp, messages),
            Some(found) => with_found(change, found, |change| self.capture.shape(form, change, &stamp, messages)),
        }
    }

    /// What must be read from the table before a change can be shaped whole.
    pub(super) fn missing<'r>(
        &self,
        (form, table): (&Form, &Table),
        change: RowChange<'r>,
        xid: u32,
        rows: &mut Rows<'r>,
    ) -> Option<Reselect> {
        let change = change.read(rows);
        let places: Vec<_> = self.capture.unavailable(form, &change).collect();
        Reselect::of(table, places, &change, xid)
    }

    /// How many events a change becomes.
    pub(super) fn events<'r>(&self, form: &Form, change: RowChange<'r>, rows: &mut Rows<'r>) -> u64 {
        self.capture.events(form, &change.read(rows))
    }

    /// Whether a message with this prefix is published.
    pub(super) fn takes(&self, message: &LogicalMessage<'_>) -> bool {
        self.reads_messages && self.capture.takes_messages(message.prefix)
    }

    /// Shapes a logical message; one that is not part of a transaction has none, and counts as a commit, as with Debezium.
    pub(super) fn message(
        &mut self,
        message: &LogicalMessage<'_>,
        position: EventPosition,
        transaction: Option<&Transaction>,
        place: Option<InTransaction>,
        messages: &mut Messages,
    ) -> Shaped {
        if transaction.is_none() {
            self.last_commit_lsn = Some(message.lsn.as_u64());
        }
        let stamp = Stamp { transaction: place, ..self.stamp(position, transaction, message.lsn) };
        self.capture.message(message.prefix, message.content, &stamp, messages)
    }

    /// Tells the begin of a transaction.
    pub(super) fn tell_begin(&mut self, transaction: &Transaction, position: EventPosition, messages: &mut Messages) {
        let stamp = self.stamp(position, Some(transaction), transaction.begin_lsn);
        self.capture.transaction(Boundary::Begin, &stamp, messages);
    }

    /// Tells its end, of which the WAL speaks at `wal_start`.
    pub(super) fn tell_end(
        &mut self,
        transaction: &Transaction,
        wal_start: RecordLsn,
        position: EventPosition,
        messages: &mut Messages,
    ) {
        let stamp = self.stamp(position, Some(transaction), wal_start);
        self.capture.transaction(Boundary::End(&transaction.counts), &stamp, messages);
    }

    fn stamp<'t>(&self, position: EventPosition, transaction: Option<&'t Transaction>, lsn: RecordLsn) -> Stamp<'t> {
        let origin = transaction.and_then(|transaction| transaction.origin.as_ref());
        Stamp {
            position,
            commit_us: transaction.map_or(self.now_us, |transaction| transaction.commit_us),
            now_us: self.now_us,
            xid: transaction.map(|transaction| transaction.xid),
            lsn: Some(lsn.as_u64()),
            last_commit_lsn: self.last_commit_lsn,
            snapshot: Snapshot::False,
            origin: origin.map(|(name, _)| name.as_str()),
            origin_lsn: origin.map(|(_, lsn)| *lsn),
            transaction: None,
        }
    }
}
