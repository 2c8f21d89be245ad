//! A chunk of a table is read beside the stream: which of its rows may be published, and when. Pure: no I/O.
//!
//! Guarantee: published where [`Window::settle`] says, a row never takes back what the stream has delivered, and what the
//! stream delivers later is newer than it. So a reader that folds rows and changes in their order ends with the table.
//!
//! The way of a chunk:
//! 1. The window is open: what the stream changes in the table is noted, with its transaction.
//! 2. The chunk is read by one snapshot, and the end of the log after that snapshot is its mark: everything that the
//!    snapshot sees stands before it.
//! 3. If the snapshot does not see a transaction that was delivered before the window was opened, the chunk is older than
//!    what readers have: it is read again ([`Recent::is_ahead_of`]).
//! 4. When the stream has passed the mark, between two transactions, the rows are published, but those that were changed
//!    by a transaction in the window that the snapshot does not see: what the stream said of them is newer.
//!
//! A change that leaves a large value as it was does not tell it. If such a change is all that is newer than a row, the row is
//! left out like others, and read again by its key: nobody else tells that value.

mod key;
mod visible;

use std::collections::HashMap;

pub(crate) use key::RowKey;
pub(crate) use visible::{Recent, Visible};

/// Keys noted at most while a chunk is being read, in bytes; with more the chunk is read again.
const NOTED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a map's entry costs beside the key, in bytes.
const ENTRY_BYTES: usize = 64;

/// How much a change tells of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// All of it, or that it is gone.
    Whole,
    /// All but large values that stay as they were.
    Partly,
}

/// Why a chunk has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Its snapshot does not see a transaction that readers have already.
    Behind,
    /// The table was changed in a way by which rows cannot be told apart any more.
    Redescribed,
    /// Too much was changed meanwhile.
    Overflow,
}

/// A change of a row in the window.
#[derive(Debug, Clone, Copy)]
struct Noted {
    xid: u32,
    told: Told,
}

/// What becomes of a row of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is published.
    Publish,
    /// The stream has told what it is now.
    Drop,
    /// It is read again by its key.
    Reread,
}

/// A chunk that waits for the stream to pass its mark.
#[derive(Debug)]
struct Chunk {
    visible: Visible,
    mark: u64,
    rows: HashMap<RowKey, usize>,
    fates: Vec<Fate>,
}

/// What is noted of one table while chunks of it are read.
#[derive(Debug, Default)]
pub(crate) struct Window {
    noted: HashMap<RowKey, Vec<Noted>>,
    noted_bytes: usize,
    truncated: Vec<u32>,
    again: Option<Again>,
    /// Whether the chunk was read.
    arrived: bool,
    chunk: Option<Chunk>,
}

impl Window {
    /// Opens it for the next chunk. From now on the stream's changes are noted.
    pub(crate) fn open(&mut self) {
        *self = Self::default();
    }

    /// A transaction changed the row of this key.
    pub(crate) fn change(&mut self, xid: u32, key: RowKey, told: Told) {
        if let Some(chunk) = &mut self.chunk {
            if !chunk.visible.sees(xid)
                && let Some(row) = chunk.rows.get(&key)
            {
                chunk.fates[*row] = chunk.fates[*row].after(told);
            }
            return;
        }
        if self.again.is_some() {
            return;
        }
        let bytes = key.bytes() + ENTRY_BYTES;
        let noted = self.noted.entry(key).or_default();
        // One transaction often changes a row more than once, and a whole row is told whatever comes after.
        match noted.last_mut().filter(|last| last.xid == xid) {
            Some(last) if last.told == Told::Partly => last.told = told,
            Some(_) => {}
            None => {
                noted.push(Noted { xid, told });
                self.noted_bytes += bytes;
            }
        }
        if self.noted_bytes > NOTED_BYTES_MAX {
            self.spoil(Again::Overflow);
        }
    }

    /// A transaction emptied the table.
    pub(crate) fn truncate(&mut self, xid: u32) {
        match &mut self.chunk {
            Some(chunk) if !chunk.visible.sees(xid) => chunk.fates.fill(Fate::Drop),
            Some(_) => {}
            None => self.truncated.push(xid),
        }
    }

    /// The chunk cannot be used, whatever it is.
    pub(crate) fn spoil(&mut self, why: Again) {
        self.noted = HashMap::new();
        self.noted_bytes = 0;
        self.chunk = None;
        self.again = Some(why);
    }

    /// The chunk was read: rows of these keys, by this snapshot, when the log ended at `mark`.
    ///
    /// # Errors
    /// It has to be read again, with the window opened anew.
    pub(crate) fn arrive(&mut self, visible: Visible, mark: u64, keys: Vec<RowKey>) -> Result<(), Again> {
        if let Some(why) = self.again {
            return Err(why);
        }
        let truncated = self.truncated.iter().any(|xid| !visible.sees(*xid));
        let noted = std::mem::take(&mut self.noted);
        self.noted_bytes = 0;
        let fate = |key: &RowKey| {
            let unseen = noted.get(key).into_iter().flatten().filter(|noted| !visible.sees(noted.xid));
            let fate = unseen.fold(Fate::Publish, |fate, noted| fate.after(noted.told));
            if truncated { Fate::Drop } else { fate }
        };
        let fates = keys.iter().map(fate).collect();
        let rows = keys.into_iter().enumerate().map(|(row, key)| (key, row)).collect();
        self.chunk = Some(Chunk { visible, mark, rows, fates });
        self.arrived = true;
        Ok(())
    }

    /// Whether the chunk was read and can be published, or is spoiled, where the stream stands at `end` between two transactions.
    pub(crate) fn is_passed_at(&self, end: u64) -> bool {
        self.arrived && self.chunk.as_ref().is_none_or(|chunk| end >= chunk.mark)
    }

    /// What becomes of the chunk's rows, in their order, and opens the window for the next one. To be called between two
    /// transactions, where [`Window::is_passed_at`] says so.
    ///
    /// # Errors
    /// It has to be read again.
    pub(crate) fn settle(&mut self) -> Result<Vec<Fate>, Again> {
        let this = std::mem::take(self);
        match (this.chunk, this.again) {
            (Some(chunk), _) => Ok(chunk.fates),
            (None, Some(why)) => Err(why),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// How many keys are noted.
    pub(crate) fn len(&self) -> usize {
        self.noted.len()
    }
}

impl Fate {
    /// What becomes of a row after a change that its snapshot does not see. Once all of it was told, nothing is missing.
    fn after(self, told: Told) -> Self {
        match (self, told) {
            (Self::Drop, _) | (_, Told::Whole) => Self::Drop,
            (Self::Publish | Self::Reread, Told::Partly) => Self::Reread,
        }
    }
}

/// The place that the stream must have reached so that everything before the log's end `insert` was sent.
///
/// Just behind the header of a page there is nothing yet: the end of what can be sent is then the page's start, and an idle
/// server would never send more. <https://www.postgresql.org/docs/current/wal-internals.html>
pub(crate) fn mark(insert: u64, page_bytes: u64) -> u64 {
    // The headers of a page and of a segment's first page.
    const HEADERS: [u64; 2] = [24, 40];
    match insert.checked_rem(page_bytes) {
        Some(within) if HEADERS.contains(&within) => insert - within,
        _ => insert,
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
