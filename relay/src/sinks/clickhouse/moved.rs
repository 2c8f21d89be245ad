//! Rows that got another key. Such an update comes as a deletion of the old one and a creation of the new one, and the creation leaves
//! out large values that stay as they were: the deletion takes them along, and there the creation finds them.
//!
//! Guarantee: a creation takes values from the deletion of its own update and from nothing else. The two may lie in different
//! partitions, so what the table holds under the old key can be older than the update, or newer.

use crate::pipeline::MessageRef;
use crate::shape::record::{Change, NEW_KEY, OLD_KEY, Op, POSITION, Row};
use crate::sinks::clickhouse::encode::{Fed, key_row};
use crate::sinks::clickhouse::known::KnownRow;
use crate::sinks::clickhouse::options::Rows;

/// How far the position of a creation is behind that of its deletion: between the two is room for a tombstone.
const STEP: u128 = 2;

/// What the names of types have in them that hold values which Postgres may store out of line.
const LARGE: [&str; 6] = ["String", "Array", "Map", "JSON", "Tuple", "Dynamic"];

impl Fed {
    /// The columns that a deletion takes along, because the row lives on under another key and nothing else tells them.
    pub(super) fn taken_along(&self, message: &MessageRef<'_>, change: &Change<'_>, row: &Row<'_>) -> Vec<usize> {
        let is_moved = change.op == Op::Delete
            && matches!(self.feed.rows, Rows::Current { .. })
            && message.header(NEW_KEY).is_some();
        if !is_moved {
            return Vec::new();
        }
        let columns = |field: &str| self.layout.fields.get(field).into_iter().flatten().copied();
        let is_of_key = |at: usize| self.layout.targets[at].is_key;
        // With REPLICA IDENTITY FULL the whole row is told, here and by the creation.
        if row.iter().any(|(field, value)| value.get() != "null" && columns(field).any(|at| !is_of_key(at))) {
            return Vec::new();
        }
        let is_large = |at: &usize| LARGE.iter().any(|large| self.layout.targets[*at].of.text().contains(large));
        let mut taken: Vec<usize> = self.layout.fields.values().flatten().copied().collect();
        taken.retain(|at| !is_of_key(*at) && is_large(at));
        taken.sort_unstable();
        taken
    }

    /// The key that a created row had before, if it had another one.
    pub(super) fn came_from(&self, message: &MessageRef<'_>, change: &Change<'_>) -> Option<Vec<String>> {
        if change.after.is_none() || !matches!(self.feed.rows, Rows::Current { .. }) {
            return None;
        }
        self.key_of(&key_row(message.header(OLD_KEY)?)?)
    }
}

impl KnownRow {
    /// What the creation of this version finds here, under the old key.
    pub(super) fn found_by(&self, message: &MessageRef<'_>, version: Option<u128>) -> Self {
        let is_ours = message.header(POSITION).is_some();
        // Of Debezium's versions the upper part is the place of the change in the log.
        let belongs = self.version.zip(version).is_some_and(|(deletion, creation)| match is_ours {
            true => deletion.checked_add(STEP) == Some(creation),
            false => deletion >> 48 == creation >> 48,
        });
        if self.is_live || !belongs {
            return Self::default();
        }
        let mut found = Self { version, is_live: true, ..self.clone() };
        // A deletion that took nothing along is empty there, and a value that was left out never is.
        found.values.retain(|_, value| !matches!(value.json.as_str(), "null" | "\"\"" | "[]" | "{}"));
        found
    }
}
