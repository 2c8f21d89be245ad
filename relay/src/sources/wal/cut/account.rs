//! What is counted, logged and noted of what became of an event or a change.

use std::sync::Arc;

use tracing::warn;

use crate::pipeline::Messages;
use crate::pipeline::parking::KeyHash;
use crate::shape::outbox::Shaped;
use crate::shape::position::EventPosition;
use crate::sources::wal::cut::Cutter;
use crate::sources::wal::horizon::Horizons;

impl Cutter {
    /// Notes in each position what of these samples was passed.
    pub(in crate::sources::wal) fn with_horizons(self, horizons: Arc<Horizons>) -> Self {
        Self { horizons, ..self }
    }

    /// Forgets the samples of the connection before: the server may be another one.
    pub(in crate::sources::wal) fn new_horizons(&mut self) -> Arc<Horizons> {
        self.horizons = Arc::default();
        Arc::clone(&self.horizons)
    }

    pub(super) fn account(&self, shaped: &Shaped, position: EventPosition, messages: &mut Messages) {
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
}

/// The last message's key in the form in which it may be logged.
fn key_hash(messages: &Messages) -> Option<String> {
    let message = messages.at(messages.len().checked_sub(1)?)?;
    Some(KeyHash::of(message.topic(), message.key()?).to_string())
}
