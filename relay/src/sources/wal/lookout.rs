//! What the stream notes for those who read tables beside it: which rows of one table it changes, and which transactions it
//! delivers. Nothing is noted while nobody reads; transactions always are, for they may become visible late.

use std::collections::HashSet;

use crate::postgres::pgoutput::{Column, Relation, ReplicaIdentity, Tuple};
use crate::sources::wal::captured::RowChange;
use crate::sources::wal::window::{Again, Fate, Recent, RowKey, Told, Visible, Window};

/// Rows that moved and must be read again, kept at most; with more the table has to be read from its beginning.
const MOVED_MAX: usize = 10_000;

/// What identifies the rows of a relation in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identified {
    oid: u32,
    whole: bool,
    /// The columns' names, and whether each identifies a row.
    columns: Vec<(String, bool)>,
}

impl Identified {
    pub(super) fn of(relation: &Relation<'_>) -> Self {
        Self {
            oid: relation.oid,
            whole: relation.replica_identity == ReplicaIdentity::Full,
            columns: relation.columns().map(|column| (column.name.to_owned(), column.key)).collect(),
        }
    }

    /// The same of a table that the catalog described.
    pub(super) fn new(oid: u32, whole: bool, columns: impl Iterator<Item = (String, bool)>) -> Self {
        Self { oid, whole, columns: columns.collect() }
    }

    /// The places of the columns of a key; `None` if the stream does not tell them of a row that was.
    fn places(&self, key: &[String]) -> Option<Vec<usize>> {
        let inserts_only = !self.columns.iter().any(|(_, identifies)| *identifies);
        let place = |name: &String| {
            let place = self.columns.iter().position(|(column, _)| column == name)?;
            (self.whole || inserts_only || self.columns[place].1).then_some(place)
        };
        key.iter().map(place).collect()
    }
}

/// The table that is being read.
#[derive(Debug)]
struct Watched {
    oid: u32,
    key: Vec<String>,
    /// Where tuples have the key; `None` until the stream describes the table, or if it does not tell it.
    places: Option<Vec<usize>>,
    window: Window,
    /// Rows that got another key while their large values were not told.
    moved: Vec<RowKey>,
    moved_too_many: bool,
}

/// What is noted.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    recent: Recent,
    watched: Option<Watched>,
}

impl Lookout {
    /// The stream begins again: whoever reads has to begin the chunk again.
    pub(super) fn restart(&mut self) {
        self.watched = None;
    }

    /// Begins to watch a table whose rows are told apart by `key`, and opens the window for its first chunk.
    pub(super) fn watch(&mut self, oid: u32, key: Vec<String>, described: Option<&Identified>, under_way: Option<u32>) {
        let places = described.and_then(|described| described.places(&key));
        let blind = described.is_some() && places.is_none();
        let watched = Watched { oid, key, places, window: Window::default(), moved: Vec::new(), moved_too_many: false };
        let watched = self.watched.insert(watched);
        if blind {
            watched.window.spoil(Again::Redescribed);
        }
        self.recent.open(under_way);
    }

    /// Opens the window for the next chunk of the same table; false if it is not watched.
    pub(super) fn open(&mut self, oid: u32, described: Option<&Identified>, under_way: Option<u32>) -> bool {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.oid == oid) else { return false };
        watched.window.open();
        if described.is_some_and(|described| described.places(&watched.key).is_none()) {
            watched.window.spoil(Again::Redescribed);
        }
        self.recent.open(under_way);
        true
    }

    /// Nobody reads any more.
    pub(super) fn look_away(&mut self) {
        self.watched = None;
    }

    pub(super) fn recent(&mut self) -> &mut Recent {
        &mut self.recent
    }

    /// The stream described a relation, perhaps anew.
    pub(super) fn described(&mut self, described: &Identified) {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.oid == described.oid) else { return };
        let places = described.places(&watched.key);
        let moved = watched.places.is_some() && watched.places != places;
        watched.places = places;
        if watched.places.is_none() || moved {
            watched.window.spoil(Again::Redescribed);
        }
    }

    /// A transaction changed a captured table.
    #[inline]
    pub(super) fn change(&mut self, relation: u32, xid: u32, change: &RowChange<'_>) {
        if let Some(watched) = self.watched.as_mut().filter(|watched| watched.oid == relation) {
            watched.change(xid, change);
        }
    }

    /// A transaction that changed captured tables was delivered.
    pub(super) fn committed(&mut self, xid: u32) {
        self.recent.deliver(xid);
    }

    /// A chunk was read: rows of these keys by this snapshot. `writers` had written the table just before, and the log ended at
    /// `mark` after it.
    ///
    /// # Errors
    /// It must be read again; `None`: nobody watches the table any more.
    pub(super) fn arrive(
        &mut self,
        oid: u32,
        (visible, mark): (Visible, u64),
        writers: &HashSet<u32>,
        keys: Vec<RowKey>,
    ) -> Result<(), Option<Again>> {
        let behind = self.recent.is_ahead_of(&visible, writers);
        self.recent.forget(&visible);
        let watched = self.watched.as_mut().filter(|watched| watched.oid == oid).ok_or(None)?;
        if behind {
            watched.window.spoil(Again::Behind);
        }
        watched.window.arrive(visible, mark, keys).map_err(Some)
    }

    /// Whether a table is watched.
    pub(super) fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// Whether a chunk can be published where the stream stands between two transactions.
    #[inline]
    pub(super) fn is_passed_at(&self, end: u64) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.window.is_passed_at(end))
    }

    /// What becomes of the chunk's rows; see [`Window::settle`].
    ///
    /// # Errors
    /// The chunk must be read again.
    pub(super) fn settle(&mut self) -> Result<Vec<Fate>, Again> {
        self.watched.as_mut().map_or(Err(Again::Redescribed), |watched| watched.window.settle())
    }

    /// The rows that moved since this was asked last; `None` if they were too many to be kept.
    pub(super) fn moved(&mut self) -> Option<Vec<RowKey>> {
        let Some(watched) = &mut self.watched else { return Some(Vec::new()) };
        let moved = std::mem::take(&mut watched.moved);
        (!std::mem::take(&mut watched.moved_too_many)).then_some(moved)
    }

    /// How many keys and transactions are noted.
    pub(super) fn noted(&self) -> (usize, usize) {
        (self.watched.as_ref().map_or(0, |watched| watched.window.len()), self.recent.len())
    }
}

impl Watched {
    fn change(&mut self, xid: u32, change: &RowChange<'_>) {
        let Some(places) = &self.places else {
            // Described by the stream, but not by this key.
            return self.window.spoil(Again::Redescribed);
        };
        let old = match change {
            RowChange::Update(Some(old), _) | RowChange::Delete(old) => Some(old.tuple()),
            RowChange::Insert(_) | RowChange::Update(None, _) | RowChange::Truncate => None,
        };
        let whole_old = matches!(change, RowChange::Update(Some(crate::postgres::pgoutput::OldTuple::Full(_)), _));
        let old_key = old.and_then(|old| key_of(places, old, None));
        match change {
            RowChange::Truncate => self.window.truncate(xid),
            RowChange::Delete(_) => match old_key {
                Some(key) => self.window.change(xid, key, Told::Whole),
                None => self.window.spoil(Again::Redescribed),
            },
            RowChange::Insert(new) | RowChange::Update(_, new) => {
                let Some(key) = key_of(places, *new, old) else { return self.window.spoil(Again::Redescribed) };
                let partly = !whole_old && new.columns().any(|column| column == Column::Unchanged);
                let told = if partly { Told::Partly } else { Told::Whole };
                if let Some(old_key) = old_key.filter(|old_key| *old_key != key) {
                    self.window.change(xid, old_key, Told::Whole);
                    if partly {
                        self.remember_moved(key.clone());
                    }
                }
                self.window.change(xid, key, told);
            }
        }
    }

    fn remember_moved(&mut self, key: RowKey) {
        if self.moved.len() < MOVED_MAX {
            self.moved.push(key);
        } else {
            self.moved_too_many = true;
        }
    }
}

/// The key in a tuple; a value of it that was not sent is that of the old row. `None` if that is not known either.
fn key_of(places: &[usize], tuple: Tuple<'_>, old: Option<Tuple<'_>>) -> Option<RowKey> {
    let value = |place: usize| {
        let column = tuple.columns().nth(place)?;
        let column = match column {
            Column::Unchanged => old?.columns().nth(place)?,
            known => known,
        };
        match column {
            Column::Null => Some(None),
            Column::Unchanged => None,
            Column::Text(text) | Column::Binary(text) => Some(Some(text)),
        }
    };
    let mut key = RowKey::default();
    for place in places {
        key.push(value(*place)?);
    }
    Some(key)
}
