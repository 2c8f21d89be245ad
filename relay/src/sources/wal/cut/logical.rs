//! Logical messages: events of an outbox, or published as what they are.

use tracing::warn;

use crate::pipeline::{Error, Messages};
use crate::postgres::pgoutput::LogicalMessage;
use crate::shape::content;
use crate::shape::outbox::Committed;
use crate::shape::position::EventPosition;
use crate::sources::wal::cut::state::Route;
use crate::sources::wal::cut::{Cutter, count};

impl Cutter {
    /// A message of `pg_logical_emit_message`: an event, if its prefix is that of an outbox and its transaction's commit
    /// is what publishes it.
    pub(super) fn logical(&mut self, message: &LogicalMessage<'_>, messages: &mut Messages) -> Result<(), Error> {
        let route = self.routes.iter_mut().find(|route| route.prefix.as_deref() == Some(message.prefix));
        let takes = route.is_none() && self.captured.as_ref().is_some_and(|captured| captured.takes(message));
        if !message.transactional {
            if let (true, Some(captured)) = (takes, &mut self.captured) {
                // Its LSN is the end of its record, where the next one starts: what is behind it must stand behind. Records
                // stand at multiples of eight, and rows of snapshots take other places between.
                let before = message.lsn.as_u64().saturating_sub(3);
                let position = EventPosition::new(self.reached.epoch, before, 0);
                captured.message(message, position, None, None, messages);
            }
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
        if takes {
            return self.captured_message(message, messages);
        }
        let (commit_lsn, commit_ms, ordinal) = count(&mut self.open, &self.delivered, &mut self.reached, 1)?;
        if self.delivered.covers(commit_lsn, ordinal) {
            return Ok(());
        }
        // Only a transaction whose messages are counted comes here.
        let position = EventPosition::new(self.reached.epoch, commit_lsn.as_u64(), ordinal).among_messages();
        let Some(Route { outbox, members, .. }) = route else { return Ok(()) };
        let committed = Committed { position, timestamp_ms: commit_ms };
        let types = &self.member_types;
        let shaped = content::read(message.content, members, |row| outbox.shape(row, types, committed, messages));
        let shaped = shaped.unwrap_or_else(|why| outbox.unreadable(message.content, why, committed, messages));
        self.account(&shaped, position, messages);
        Ok(())
    }
}
