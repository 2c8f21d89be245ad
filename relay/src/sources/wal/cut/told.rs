//! What is told of transactions beside their changes: their begin and end, the place of each event in them, and logical messages.

use crate::pipeline::{Error, Messages};
use crate::postgres::lsn::RecordLsn;
use crate::postgres::pgoutput::LogicalMessage;
use crate::shape::change::row::InTransaction;
use crate::shape::position::{EventPosition, ORDINAL_MAX};
use crate::sources::wal::captured::{Captured, RowChange, Rows};
use crate::sources::wal::cut::state::Target;
use crate::sources::wal::cut::{Cutter, count};

impl Cutter {
    /// Counts the events of a captured change in its transaction, whose begin is told before the first: its place, if places are
    /// told. What was delivered before counts too, so that a transaction that is resumed is told as it would have been.
    pub(super) fn place_in_transaction<'r>(
        &mut self,
        relation: u32,
        change: RowChange<'r>,
        rows: &mut Rows<'r>,
        messages: &mut Messages,
    ) -> Option<InTransaction> {
        let (captured, open) = (self.captured.as_ref()?, self.open.as_ref()?);
        let Some(Target::Captured(table)) = self.relations.get(&relation) else { return None };
        if !captured.tells_transactions() || open.commit_lsn < table.shown {
            return None;
        }
        let events = captured.events(&table.form, change, rows);
        if events == 0 {
            return None;
        }
        self.tell_begin(messages);
        let (Some(open), Some(Target::Captured(table))) = (&mut self.open, self.relations.get(&relation)) else {
            return None;
        };
        open.transaction.count(&table.form, events)
    }

    /// Tells the begin of the open transaction before the change that comes next, unless that was done.
    ///
    /// It takes no number of its own, so that the numbers of changes do not depend on what is told: its position is the last
    /// before the commit's place, where no commit can be, because records stand at multiples of eight.
    fn tell_begin(&mut self, messages: &mut Messages) {
        let (Some(captured), Some(open)) = (&mut self.captured, &mut self.open) else { return };
        if open.transaction.is_begun() {
            return;
        }
        open.transaction.begin();
        // It was delivered with the change before which it was told.
        if !self.delivered.covers(open.commit_lsn, open.ordinal) {
            let before = open.commit_lsn.as_u64().saturating_sub(1);
            let position = EventPosition::new(self.reached.epoch, before, ORDINAL_MAX);
            captured.tell_begin(&open.transaction, position, messages);
        }
    }

    /// Tells the end of a transaction whose begin was told: in the batch that moves the record behind it.
    pub(super) fn tell_end(&mut self, wal_start: RecordLsn, messages: &mut Messages) {
        let Some((commit_lsn, ordinal)) = self.open.as_ref().map(|open| (open.commit_lsn, open.ordinal)) else {
            return;
        };
        let position = self.position(commit_lsn, ordinal);
        let (Some(captured), Some(open)) = (&mut self.captured, &self.open) else { return };
        if open.transaction.is_begun() {
            captured.tell_end(&open.transaction, wal_start, position, messages);
        }
    }

    /// A message of a transaction that is published as what it is.
    pub(super) fn captured_message(
        &mut self,
        message: &LogicalMessage<'_>,
        messages: &mut Messages,
    ) -> Result<(), Error> {
        let tells = self.captured.as_ref().is_some_and(Captured::tells_transactions);
        if tells {
            self.tell_begin(messages);
        }
        let (commit_lsn, _, ordinal) = count(&mut self.open, &self.delivered, &mut self.reached, 1)?;
        let position = self.position(commit_lsn, ordinal);
        let (Some(captured), Some(open)) = (&mut self.captured, &mut self.open) else { return Ok(()) };
        let place = tells.then(|| open.transaction.count_message()).flatten();
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        let shaped = captured.message(message, position, Some(&open.transaction), place, messages);
        self.account(&shaped, position, messages);
        Ok(())
    }
}
