//! Which keys are held, and what is in the lot: what the relay must know without asking for each message.
//!
//! Bounded by the lot's own bounds: it grows only by what was parked.

use std::collections::HashMap;

use crate::pipeline::message::MessageRef;
use crate::pipeline::parking::key::{join, joined};
use crate::pipeline::parking::lot::HeldRow;

/// What is in the lot and not settled.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each held key with the position of its first row: what comes before that does not wait.
    keys: HashMap<Box<[u8]>, u128>,
    /// Every row by its position, with its commit time in milliseconds.
    rows: HashMap<u128, i64>,
    bytes: u64,
    scratch: Vec<u8>,
}

impl Held {
    /// What the lot says is in it.
    pub(super) fn from_rows(rows: &[HeldRow]) -> Self {
        let mut held = Self::default();
        for row in rows {
            held.rows.insert(row.position, row.timestamp_ms);
            held.bytes += row.bytes;
            if let Some(key) = &row.key {
                held.hold(joined(&row.topic, key), row.position);
            }
        }
        held
    }

    /// Whether the lot is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many events are in the lot.
    pub(super) fn events(&self) -> usize {
        self.rows.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many keys are held.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether this very message is in the lot already.
    pub(super) fn has(&self, message: &MessageRef<'_>) -> bool {
        self.rows.get(&message.position()) == Some(&message.timestamp_ms())
    }

    /// Whether an earlier message of its key is in the lot.
    pub(super) fn is_behind(&mut self, message: &MessageRef<'_>) -> bool {
        let Some(key) = message.key().filter(|_| !self.keys.is_empty()) else { return false };
        join(message.topic(), key, &mut self.scratch);
        self.keys.get(self.scratch.as_slice()).is_some_and(|first| message.position() > *first)
    }

    /// Notes that `message` is in the lot, where it takes `bytes`.
    pub(super) fn add(&mut self, message: &MessageRef<'_>, bytes: u64) {
        if self.rows.insert(message.position(), message.timestamp_ms()).is_none() {
            self.bytes += bytes;
        }
        if let Some(key) = message.key() {
            self.hold(joined(message.topic(), key), message.position());
        }
    }

    fn hold(&mut self, key: Vec<u8>, position: u128) {
        let first = self.keys.entry(key.into_boxed_slice()).or_insert(position);
        *first = position.min(*first);
    }
}
