//! What those need of the cutter who read tables beside the stream, whole or single values.

use std::collections::HashMap;

use crate::pipeline::Error;
use crate::postgres::lsn::CommitLsn;
use crate::postgres::pgoutput::{Message, Tuple};
use crate::shape::change::table::Table;
use crate::sources::wal::captured::{RowChange, Rows};
use crate::sources::wal::cut::state::Target;
use crate::sources::wal::cut::{Cutter, Pause, count};
use crate::sources::wal::lookout::{Identified, Lookout};
use crate::sources::wal::record::WalPosition;
use crate::sources::wal::reselect::Reselect;
use crate::sources::wal::signal::SignalPlaces;

impl Cutter {
    /// Where the stream stands, if that is between two transactions.
    pub(in crate::sources::wal) fn place(&self) -> Option<WalPosition> {
        let passed = matches!(self.pause(), None | Some(Pause::Passed));
        let place = || WalPosition {
            slot: self.slot.clone(),
            record: self.reached,
            snapshot: self.snapshot.clone(),
            chunk: None,
        };
        (self.open.is_none() && passed).then(place)
    }

    /// The position that the next change has, as text.
    pub(in crate::sources::wal) fn place_of_change(&self) -> String {
        let (commit_lsn, ordinal) =
            self.open.as_ref().map_or((CommitLsn::ZERO, 0), |open| (open.commit_lsn, open.ordinal));
        self.position(commit_lsn, ordinal).to_string()
    }

    /// Begins to watch a table for somebody who reads it, whose rows are told apart by `key`.
    pub(in crate::sources::wal) fn watch(&mut self, oid: u32, key: Vec<String>) {
        let (described, under_way) = (identified(&self.relations, oid), self.open.as_ref());
        self.lookout.watch(oid, key, described, under_way.map(|open| open.transaction.xid()));
    }

    /// Opens the window for the next chunk; false if the table is not watched any more.
    pub(in crate::sources::wal) fn open_window(&mut self, oid: u32) -> bool {
        let (described, under_way) = (identified(&self.relations, oid), self.open.as_ref());
        self.lookout.open(oid, described, under_way.map(|open| open.transaction.xid()))
    }

    pub(in crate::sources::wal) fn lookout(&mut self) -> &mut Lookout {
        &mut self.lookout
    }

    /// Whether a table was changed so that its rows are others without a change in the stream, as far as its columns tell: a
    /// column with a default was added, or a type was changed.
    pub(in crate::sources::wal) fn is_rewritten(&self, table: &Table, oid: u32) -> bool {
        let Some(Target::Captured(known)) = self.relations.get(&oid) else { return false };
        table.columns.iter().any(|column| match known.table.columns.iter().find(|known| known.name == column.name) {
            Some(known) => known.of.oid != column.of.oid || known.modifier != column.modifier,
            None => column.has_default || column.generated,
        })
    }

    /// A signal was written.
    pub(super) fn signal(&mut self, places: SignalPlaces, row: Tuple<'_>) -> Result<Option<Pause>, Error> {
        let (commit_lsn, _, ordinal) = count(&mut self.open, &self.delivered, &mut self.reached, 1)?;
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(None);
        }
        Ok(Some(Pause::Signal(places.read(row, self.position(commit_lsn, ordinal).to_string()))))
    }

    /// What must be read before a message can be: it comes again then.
    #[inline]
    pub(super) fn reselect<'r>(&self, message: &Message<'r>, rows: &mut Rows<'r>) -> Option<Reselect> {
        if !self.reselects || self.found.is_some() {
            return None;
        }
        let (Message::Update(update), Some(open), Some(captured)) = (message, &self.open, &self.captured) else {
            return None;
        };
        let Some(Target::Captured(table)) = self.relations.get(&update.relation) else { return None };
        // What a snapshot shows, or what was delivered, is not published again.
        if open.commit_lsn < table.shown || self.delivered.covers(open.commit_lsn, open.ordinal + 1) {
            return None;
        }
        let change = RowChange::Update(update.old, update.new);
        captured.missing((&table.form, &table.table), change, open.transaction.xid(), rows)
    }
}

/// What the stream says of a relation's rows, if it described it.
fn identified(relations: &HashMap<u32, Target>, oid: u32) -> Option<&Identified> {
    match relations.get(&oid) {
        Some(Target::Captured(table)) => Some(&table.identified),
        _ => None,
    }
}
