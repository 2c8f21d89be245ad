//! A snapshot that is being taken: what was read of it and what comes next.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::sources::capture::incremental::chunk::Chunk;
use crate::sources::capture::incremental::table::{Readable, Which};
use crate::sources::snapshot::requests::{Counts, Mark, Reached, Request};
use crate::sources::wal::window::{Fate, RowKey};

/// Rows that are read again by their keys in one piece, at most.
const KEYS_MAX: usize = 500;

/// One table on its way.
pub(super) struct Work {
    pub(super) request: Request,
    /// `None` until it was described.
    pub(super) table: Option<Arc<Readable>>,
    /// A chunk that waits for the stream to pass its mark.
    pub(super) held: Option<Chunk>,
    /// Nothing is read before.
    pub(super) not_before: Instant,
    /// How often this chunk was read in vain.
    pub(super) tries: u32,
    /// The key up to which rows were read.
    position: Option<Vec<String>>,
    /// A transaction older than all that were not over when the snapshot was begun.
    since: u32,
    /// What a relay before this one had read, and how far it was looked through for rows that changed meanwhile. What that relay
    /// noted of rows that moved is lost, and so is what moved while none was running.
    before: Option<Before>,
    /// Whether the last row was read.
    scanned: bool,
    /// Rows to be read again by their keys.
    rereads: Vec<RowKey>,
    /// Those of them that the chunk under way reads.
    rereading: Vec<RowKey>,
    counts: Counts,
    rows_max: u32,
    rows_next: u32,
}

/// Rows that another relay had read.
struct Before {
    up_to: Vec<String>,
    looked_at: Option<Vec<String>>,
}

impl Work {
    /// The rest of what a request asks for, in chunks of so many rows. `since` is the oldest transaction that is not over.
    pub(super) fn new(request: Request, since: u32, rows_max: u32) -> Self {
        let reached = request.reached.clone();
        Self {
            position: reached.as_ref().map(|reached| reached.key.clone()),
            since: reached.as_ref().map_or(since, |reached| reached.since),
            before: reached.map(|reached| Before { up_to: reached.key, looked_at: None }),
            counts: request.counts,
            request,
            table: None,
            held: None,
            not_before: Instant::now(),
            tries: 0,
            scanned: false,
            rereads: Vec::new(),
            rereading: Vec::new(),
            rows_max: rows_max.max(1),
            rows_next: rows_max.max(1),
        }
    }

    /// Whether something can be read.
    pub(super) fn is_free(&self) -> bool {
        self.held.is_none()
    }

    /// What to read next: rows that must be read again come first, those that changed unseen last. Where every change tells all
    /// of its row, there are none.
    pub(super) fn which(&mut self, is_told_partly: bool) -> Which {
        if !is_told_partly {
            self.before = None;
        }
        if self.rereading.is_empty() {
            let rest = self.rereads.len().saturating_sub(KEYS_MAX);
            self.rereading = self.rereads.split_off(rest);
        }
        if !self.rereading.is_empty() {
            return Which::Keys(self.rereading.clone());
        }
        match &self.before {
            Some(before) if self.scanned => Which::Changed {
                behind: before.looked_at.clone(),
                up_to: before.up_to.clone(),
                since: self.since,
                rows: self.rows_next,
            },
            _ => Which::Behind(self.position.clone(), self.rows_next),
        }
    }

    /// The table is described anew before anything else is read of it.
    pub(super) fn redescribe(&mut self) {
        self.table = None;
    }

    /// The chunk is read again.
    pub(super) fn reread(&mut self) {
        self.tries += 1;
        self.counts.rereads += 1;
    }

    /// Nothing is read for so long.
    pub(super) fn wait(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// Waits as long as so many rows take at most so many a second.
    pub(super) fn throttle(&mut self, rows: usize, rows_per_second: Option<NonZeroU64>) {
        if let Some(rate) = rows_per_second {
            self.wait(Duration::from_secs_f64(rows as f64 / rate.get() as f64));
        }
    }

    /// A chunk was published as `fates` say, so many rows of it and of all; returns how far the snapshot came with it. `moved`
    /// are the rows that got other keys meanwhile: `None` if they were too many, so that all is read from the beginning.
    pub(super) fn advance(
        &mut self,
        chunk: &Chunk,
        fates: &[Fate],
        moved: Option<Vec<RowKey>>,
        (published, sent): (u64, u64),
    ) -> Mark {
        self.tries = 0;
        let again = |fate: &Fate| *fate == Fate::Reread;
        self.rereads.extend(chunk.keys.iter().zip(fates).filter(|(_, fate)| again(fate)).map(|(key, _)| key.clone()));
        if self.rereading.is_empty() {
            match &mut self.before {
                Some(before) if self.scanned => {
                    before.looked_at.clone_from(&chunk.last);
                    if chunk.complete {
                        self.before = None;
                    }
                }
                _ => {
                    self.scanned = chunk.complete;
                    if chunk.last.is_some() {
                        self.position.clone_from(&chunk.last);
                    }
                }
            }
            // Rows that are large are read in smaller numbers, and in greater ones again when they are not.
            let read = u32::try_from(chunk.rows.len()).unwrap_or(u32::MAX);
            self.rows_next =
                if chunk.is_cut { read.max(1) } else { self.rows_next.saturating_mul(2).min(self.rows_max) };
        }
        self.rereading.clear();
        match moved {
            Some(keys) => self.rereads.extend(keys),
            // Behind what the chunk says: the rows that moved may stand before it.
            None => (self.position, self.before, self.scanned) = (None, None, false),
        }
        self.counts.rows += published;
        self.counts.chunks += 1;
        self.counts.sent = sent;
        Mark {
            id: self.request.id,
            reached: self.position.clone().map(|key| Reached { key, since: self.since }),
            counts: self.counts,
            done: self.scanned && self.before.is_none() && self.rereads.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sources::capture::incremental::chunk::Rows;
    use crate::sources::wal::window::Visible;

    fn work() -> Work {
        let (schema, name) = ("public".to_owned(), "users".to_owned());
        let (condition, reached, counts) = (None, None, Counts::default());
        Work::new(Request { id: 1, schema, name, condition, paused: false, reached, counts }, 5, 10)
    }

    /// The last chunk of the table.
    fn chunk() -> Chunk {
        Chunk {
            visible: Visible::parse("5:5:").unwrap(),
            mark: 0,
            writers: HashSet::new(),
            rows: Rows::default(),
            keys: Vec::new(),
            last: Some(vec!["20".to_owned()]),
            complete: true,
            is_cut: false,
        }
    }

    #[test]
    fn rows_that_got_other_keys_are_read_before_the_end_and_too_many_of_them_from_the_beginning() {
        let key = RowKey::of([Some(&b"7"[..])]);
        let reached = |key: &str| Some(vec![key.to_owned()]);
        for (moved, position, done) in
            [(Some(Vec::new()), reached("20"), true), (Some(vec![key]), reached("20"), false), (None, None, false)]
        {
            let mut work = work();
            let is_reset = moved.is_none();
            let mark = work.advance(&chunk(), &[], moved, (0, 0));
            assert_eq!((mark.reached.map(|reached| reached.key), mark.done), (position, done));
            if is_reset {
                assert!(matches!(work.which(true), Which::Behind(None, _)), "from the first row");
            }
        }
    }
}
