//! How much of a snapshot was delivered: for each table the stretches of its key that were read, and as of when.
//!
//! It is a member of the progress record, written whenever a chunk became durable; a relay that is killed goes on with what is
//! missing. The bounds of a stretch are values of key columns: they stand in the progress topic as they do in the topics of rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::postgres::lsn::CommitLsn;

/// The values of a table's key columns, as Postgres prints them.
pub type Key = Vec<String>;

/// Where a chunk stands among those of its table: the number of its gap, and its number there.
pub(super) type Place = (u32, u32);

/// What of a snapshot was delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// Whether that is all.
    pub done: bool,
    /// The tables of which anything was delivered; empty once every change that a row already shows has gone by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableProgress>,
}

/// What of a table was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableProgress {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns whose values bound the stretches, each with what orders them, its type and its collation; none: the table is
    /// read as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// What was read, in the key's order.
    pub read: Vec<Stretch>,
}

/// The rows from one key up to another, read as they were at one place in the WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The key from which on; `None`: from the first row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Key>,
    /// The key before which; `None`: up to the last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Key>,
    /// The rows show every transaction whose commit stands before this, and no other.
    #[serde(with = "lsn")]
    pub shows_before: CommitLsn,
    /// How many they are.
    #[serde(default)]
    pub rows: u64,
}

/// LSNs as Postgres prints them.
mod lsn {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::postgres::lsn::CommitLsn;

    pub(super) fn serialize<S: Serializer>(lsn: &CommitLsn, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(lsn)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<CommitLsn, D::Error> {
        String::deserialize(from)?.parse().map_err(|_| de::Error::custom("this is no LSN"))
    }
}

impl SnapshotProgress {
    /// That of a snapshot of which nothing has to be known any more.
    #[must_use]
    pub fn over() -> Self {
        Self { done: true, tables: Vec::new() }
    }

    /// The place in the WAL before which every change of a table shows in its rows, whichever of them it is; zero if there is none.
    #[must_use]
    pub fn shows_before(&self, schema: &str, name: &str) -> CommitLsn {
        let table = self.tables.iter().find(|table| table.schema == schema && table.name == name);
        let stretches = table.into_iter().flat_map(|table| &table.read);
        stretches.map(|stretch| stretch.shows_before).min().unwrap_or(CommitLsn::ZERO)
    }

    /// The place in the WAL at which the first of the rows were read; `None` if there are none.
    #[must_use]
    pub fn beginning(&self) -> Option<CommitLsn> {
        self.tables.iter().flat_map(|table| &table.read).map(|stretch| stretch.shows_before).min()
    }

    /// The place in the WAL from which on no change of any table shows in its rows.
    #[must_use]
    pub fn horizon(&self) -> CommitLsn {
        let stretches = self.tables.iter().flat_map(|table| &table.read);
        stretches.map(|stretch| stretch.shows_before).max().unwrap_or(CommitLsn::ZERO)
    }

    /// Whether it is one that streaming has not left behind.
    #[must_use]
    pub fn has_horizon(&self) -> bool {
        !self.tables.is_empty()
    }
}

/// What is missing of a table: the keys between two stretches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) number: u32,
    pub(super) from: Option<Key>,
    pub(super) to: Option<Key>,
}

/// The account of a snapshot under way.
#[derive(Debug, Default)]
pub(super) struct Account {
    tables: Vec<TableAccount>,
}

#[derive(Debug)]
struct TableAccount {
    schema: String,
    name: String,
    key: Vec<String>,
    read: BTreeMap<Place, Stretch>,
}

impl Account {
    /// Adds a table, whose rows are told apart by `key`, with what `before` knows of it; returns its number. What was read by
    /// another key does not count, nor in another order of the same.
    pub(super) fn add(&mut self, schema: &str, name: &str, key: &[String], before: &SnapshotProgress) -> usize {
        let known = before.tables.iter().find(|table| table.schema == schema && table.name == name && table.key == key);
        let stretches = known.into_iter().flat_map(|table| table.read.iter().cloned());
        let read = (0..).zip(stretches).map(|(index, stretch): (u32, Stretch)| ((2 * index + 1, 0), stretch)).collect();
        let (schema, name, key) = (schema.to_owned(), name.to_owned(), key.to_vec());
        self.tables.push(TableAccount { schema, name, key, read });
        self.tables.len() - 1
    }

    /// How many rows of all tables were read.
    pub(super) fn rows(&self) -> u64 {
        self.tables.iter().flat_map(|table| table.read.values()).map(|stretch| stretch.rows).sum()
    }

    /// How many tables were read whole.
    pub(super) fn tables_done(&self) -> usize {
        (0..self.tables.len()).filter(|table| self.gaps(*table).is_empty()).count()
    }

    /// Whether a row of the table was read.
    pub(super) fn has_begun(&self, table: usize) -> bool {
        self.tables[table].read.values().any(|stretch| stretch.rows > 0)
    }

    /// What is missing of a table, in the key's order.
    pub(super) fn gaps(&self, table: usize) -> Vec<Gap> {
        let (mut gaps, mut from, mut number) = (Vec::new(), None, 0);
        let mut whole = false;
        for stretch in self.tables[table].read.values() {
            if stretch.from != from {
                gaps.push(Gap { number, from: from.take(), to: stretch.from.clone() });
            }
            number += 2;
            from.clone_from(&stretch.to);
            whole = stretch.to.is_none();
        }
        if !whole {
            gaps.push(Gap { number, from, to: None });
        }
        gaps
    }

    /// Notes that a chunk was delivered. Neighbours of the same moment become one stretch, so that the account stays short.
    pub(super) fn note(&mut self, table: usize, place: Place, stretch: Stretch) {
        let read = &mut self.tables[table].read;
        let (mut place, mut stretch) = (place, stretch);
        if let Some((&before, left)) = read.range(..place).next_back()
            && left.to.is_some()
            && left.to == stretch.from
            && left.shows_before == stretch.shows_before
        {
            stretch.from.clone_from(&left.from);
            stretch.rows += left.rows;
            place = before;
        }
        if let Some((&behind, right)) = read.range(place..).find(|(behind, _)| **behind > place)
            && stretch.to.is_some()
            && right.from == stretch.to
            && right.shows_before == stretch.shows_before
        {
            stretch.to.clone_from(&right.to);
            stretch.rows += right.rows;
            read.remove(&behind);
        }
        read.insert(place, stretch);
    }

    /// It, as it is written down.
    pub(super) fn progress(&self, done: bool) -> SnapshotProgress {
        let table = |table: &TableAccount| TableProgress {
            schema: table.schema.clone(),
            name: table.name.clone(),
            key: table.key.clone(),
            read: table.read.values().cloned().collect(),
        };
        let touched = self.tables.iter().filter(|table| !table.read.is_empty());
        SnapshotProgress { done, tables: touched.map(table).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: Option<u32>) -> Option<Key> {
        number.map(|number| vec![number.to_string()])
    }

    fn stretch(from: Option<u32>, to: Option<u32>, lsn: u64) -> Stretch {
        Stretch { from: key(from), to: key(to), shows_before: CommitLsn::new(lsn), rows: 10 }
    }

    fn gap(number: u32, from: Option<u32>, to: Option<u32>) -> Gap {
        Gap { number, from: key(from), to: key(to) }
    }

    fn account(before: &SnapshotProgress) -> Account {
        let mut account = Account::default();
        account.add("public", "users", &["id integer".to_owned()], before);
        account
    }

    #[test]
    fn chunks_that_came_in_any_order_are_one_stretch_in_the_end() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut account = account(&SnapshotProgress::default());
            assert_eq!(account.gaps(0), [gap(0, None, None)]);
            let chunks = [(None, Some(10)), (Some(10), Some(20)), (Some(20), Some(30)), (Some(30), None)];
            for number in order {
                let (from, to) = chunks[number];
                account.note(0, (0, number as u32), stretch(from, to, 80));
            }
            assert_eq!(
                account.progress(true).tables[0].read,
                [Stretch { rows: 40, ..stretch(None, None, 80) }],
                "{order:?}"
            );
            assert_eq!((account.rows(), account.tables_done()), (40, 1));
            assert_eq!(account.gaps(0), []);
        }
    }

    #[test]
    fn what_is_missing_lies_between_what_was_read_and_is_read_at_another_moment() {
        let mut first = account(&SnapshotProgress::default());
        for (number, from, to) in [(1, Some(10), Some(20)), (3, Some(30), Some(40))] {
            first.note(0, (0, number), stretch(from, to, 80));
        }
        let before = first.progress(false);
        let mut second = account(&before);
        assert!(second.has_begun(0));
        let gaps = second.gaps(0);
        assert_eq!(gaps, [gap(0, None, Some(10)), gap(2, Some(20), Some(30)), gap(4, Some(40), None)]);
        for (gap, number) in gaps.iter().zip([7, 0, 2]) {
            let (from, to) = (gap.from.clone(), gap.to.clone());
            second.note(0, (gap.number, number), Stretch { from, to, shows_before: CommitLsn::new(160), rows: 10 });
        }
        let progress = second.progress(true);
        let read = &progress.tables[0].read;
        assert_eq!(read.len(), 5, "stretches of other moments stay apart: {read:?}");
        assert!(read.windows(2).all(|pair| pair[0].to == pair[1].from), "{read:?}");
        assert_eq!(progress.shows_before("public", "users"), CommitLsn::new(80));
        assert_eq!(progress.shows_before("public", "orders"), CommitLsn::ZERO);
        assert_eq!(progress.horizon(), CommitLsn::new(160));
        assert_eq!(account(&progress).gaps(0), []);
    }

    #[test]
    fn what_was_read_by_another_key_is_read_again() {
        let mut account = account(&SnapshotProgress::default());
        account.note(0, (0, 0), stretch(None, None, 80));
        let before = account.progress(true);
        let mut again = Account::default();
        again.add("public", "users", &["email text".to_owned()], &before);
        again.add("public", "users", &["id text".to_owned()], &before);
        assert_eq!(again.gaps(0), [gap(0, None, None)]);
        assert_eq!(again.gaps(1), [gap(0, None, None)], "numbers as text are in another order");
    }

    #[test]
    fn it_reads_back_as_written() {
        let mut account = account(&SnapshotProgress::default());
        account.note(0, (0, 1), stretch(Some(10), Some(20), 0x1_0000_0050));
        let progress = account.progress(false);
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(
            text,
            r#"{"done":false,"tables":[{"schema":"public","name":"users","key":["id integer"],"read":[{"from":["10"],"to":["20"],"shows_before":"1/50","rows":10}]}]}"#
        );
        assert_eq!(serde_json::from_str::<SnapshotProgress>(&text).unwrap(), progress);
        assert_eq!(serde_json::to_string(&SnapshotProgress::over()).unwrap(), r#"{"done":true}"#);
    }
}
