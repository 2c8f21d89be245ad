//! Rows that got another key. Such an update comes as a deletion of the old one and a creation of the new one, and the creation leaves
//! out large values that stay as they were: the deletion takes them along, and there the creation finds them.
//!
//! Guarantee: a creation takes values from the deletion of its own update and from nothing else. The two may lie in different
//! partitions, so what the table holds under the old key can be older than the update, or newer. What a deletion did not know is
//! empty in it, and is never taken for a value.

use crate::pipeline::MessageRef;
use crate::shape::record::{Change, NEW_KEY, OLD_KEY, Op, POSITION, Row};
use crate::sinks::clickhouse::encode::{Fed, key_row};
use crate::sinks::clickhouse::known::KnownRow;
use crate::sinks::clickhouse::layout::Missing;

/// How far the position of a creation is behind that of its deletion: between the two is room for a tombstone.
const STEP: u128 = 2;

/// How the types begin that are empty without a value, and never with one that was left out: that is a large one.
const EMPTY: [&str; 4] = ["String", "Array(", "Map(", "JSON"];

impl Fed {
    /// Whether a deletion can take the value of the column along, so that it is told from none.
    fn is_taken(&self, at: usize) -> bool {
        let target = &self.layout.targets[at];
        let mut of = target.of.text();
        for around in ["LowCardinality(", "Nullable("] {
            of = of.strip_prefix(around).unwrap_or(of);
        }
        // A DEFAULT takes the place of what is not there.
        !target.is_key && target.missing != Missing::Default && EMPTY.iter().any(|begin| of.starts_with(begin))
    }

    /// The columns that a deletion takes along, because the row lives on under another key. What the deletion says of them is
    /// nothing: Debezium writes nulls, zeros and defaults for what it does not know.
    pub(super) fn taken_along(&self, message: &MessageRef<'_>, change: &Change<'_>, row: &Row<'_>) -> Vec<usize> {
        let is_moved = change.op == Op::Delete && self.is_current() && message.header(NEW_KEY).is_some();
        if !is_moved || self.key_of(row).is_none() {
            return Vec::new();
        }
        let columns = self.layout.fields.values().flatten().copied();
        let mut taken: Vec<usize> = columns.filter(|at| self.is_taken(*at)).collect();
        taken.sort_unstable();
        taken
    }

    /// The key that a created row had before, if it had another one.
    pub(super) fn came_from(&self, message: &MessageRef<'_>, change: &Change<'_>) -> Option<Vec<String>> {
        if change.after.is_none() || !self.is_current() {
            return None;
        }
        self.key_of(&key_row(message.header(OLD_KEY)?)?)
    }

    /// What the creation of this version finds of the row under its old key.
    pub(super) fn found_by(&self, message: &MessageRef<'_>, version: Option<u128>, old: &KnownRow) -> KnownRow {
        let is_ours = message.header(POSITION).is_some();
        // Of Debezium's versions the upper part is the place of the change in the log.
        let belongs = old.version.zip(version).is_some_and(|(deletion, creation)| match is_ours {
            true => deletion.checked_add(STEP) == Some(creation),
            false => deletion >> 48 == creation >> 48,
        });
        if old.is_live || !belongs {
            return KnownRow::default();
        }
        let mut found = KnownRow { version, is_live: true, ..old.clone() };
        let is_empty = |json: &str| matches!(json, "null" | "\"\"" | "[]" | "{}");
        found.values.retain(|at, value| self.is_taken(*at) && !is_empty(&value.json));
        found
    }
}
