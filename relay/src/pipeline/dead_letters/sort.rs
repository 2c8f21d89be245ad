//! Decides, record by record in order, what of a batch becomes a letter. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::pipeline::dead_letters::index::Index;
use crate::pipeline::dead_letters::letters::{Identity, Letter};
use crate::pipeline::message::{MessageRef, Messages};
use crate::pipeline::parking::KeyHash;
use crate::pipeline::sink::Refused;

/// Why a record cannot be taken, and how often it was tried.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// Why.
    pub(super) refused: Refused,
    /// How often.
    pub(super) attempts: u32,
    /// When first, in milliseconds since 1970.
    pub(super) failed_at_ms: i64,
}

/// Where the records of a batch were read.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Whether later records of a key wait for an earlier one of it.
    pub(super) ordered: bool,
}

impl Origin {
    /// The partition.
    pub(super) fn partition(&self) -> (Arc<str>, i32) {
        (Arc::clone(&self.topic), self.partition)
    }

    /// What names a record of the batch.
    pub(super) fn identity(&self, message: &MessageRef<'_>) -> Identity {
        Identity { topic: Arc::clone(&self.topic), partition: self.partition, offset: message.offset() }
    }
}

/// The places of the records that are letters already, of a batch that begins and ends at these offsets.
pub(super) fn known(messages: &Messages, origin: &Origin, index: &Index) -> Vec<usize> {
    let (Some(first), Some(last)) = (messages.at(0), messages.at(messages.len().saturating_sub(1))) else {
        return Vec::new();
    };
    let range = first.offset()..=last.offset();
    if index.is_empty() || range.is_empty() {
        return Vec::new();
    }
    let letters: HashSet<i64> = index.within(&origin.topic, origin.partition, range).collect();
    if letters.is_empty() {
        return Vec::new();
    }
    (messages.iter().enumerate()).filter(|(_, message)| letters.contains(&message.offset())).map(|(at, _)| at).collect()
}

/// The letters of a batch of which `failed` cannot be taken, by their places and in order.
pub(super) fn condemned<'m>(
    messages: &'m Messages,
    failed: &BTreeMap<usize, Failed>,
    origin: &Origin,
    index: &Index,
    now_ms: i64,
) -> Vec<(usize, Letter<'m>)> {
    let any_held = origin.ordered && index.held_keys() > 0;
    if failed.is_empty() && !any_held {
        return Vec::new();
    }
    let mut newly_held: HashSet<KeyHash> = HashSet::new();
    let mut letters = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let identity = origin.identity(&message);
        let failed = failed.get(&at);
        let key = message.key().filter(|_| origin.ordered && (any_held || !newly_held.is_empty() || failed.is_some()));
        let key = key.map(|key| KeyHash::of(&origin.topic, key));
        let waits = || key.is_some_and(|key| newly_held.contains(&key) || index.is_behind(key, &identity));
        let letter = match failed.filter(|failed| !(failed.refused.depends && waits())) {
            Some(failed) => Letter {
                message,
                identity,
                refused: Some(failed.refused.clone()),
                attempts: failed.attempts,
                failed_at_ms: failed.failed_at_ms,
                ordered: origin.ordered,
            },
            None if waits() => {
                Letter { message, identity, refused: None, attempts: 0, failed_at_ms: now_ms, ordered: true }
            }
            None => continue,
        };
        newly_held.extend(key);
        letters.push((at, letter));
    }
    letters
}
