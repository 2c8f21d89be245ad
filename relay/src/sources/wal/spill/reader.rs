//! Reads a spill, as long as there is one, while it may still be written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::EndLsn;
use crate::sources::wal::spill::Spill;
use crate::sources::wal::spill::block::{HEAD_BYTES, Head};

/// Whoever reads a spill from its beginning.
pub(in crate::sources::wal) struct SpillReader {
    spill: Arc<Spill>,
    changed: watch::Receiver<()>,
    cursor: Option<Cursor>,
    /// A block that is being read. A dropped call leaves it, and the next one waits for it.
    reading: Option<JoinHandle<Result<(Cursor, Bytes), Error>>>,
    wish: Wish,
}

/// When to want the slot back: the sink takes events again, and what is left is little.
#[derive(Debug, Clone, Copy)]
struct Wish {
    /// What was delivered when it began, or was told last.
    since: EndLsn,
    /// Where the spill ended when all of it had been read for the first time since.
    mark: Option<EndLsn>,
}

impl Wish {
    fn new(delivered: EndLsn) -> Self {
        Self { since: delivered, mark: None }
    }

    /// All is read up to `end`, and delivered up to `acknowledged`: is the slot wanted back? Once it was, more must be delivered
    /// until it is again, or an outage that begins while the last part is delivered would end every spill as soon as it begins.
    fn is_told(&mut self, end: EndLsn, acknowledged: EndLsn) -> bool {
        if end <= self.since {
            return false;
        }
        let mark = *self.mark.get_or_insert(end);
        let told = acknowledged >= mark && acknowledged > self.since;
        if told {
            *self = Self::new(acknowledged);
        }
        told
    }
}

/// A place in a segment.
#[derive(Debug, Clone)]
struct Cursor {
    number: u64,
    session: u64,
    path: PathBuf,
    /// Opened at the first block.
    file: Option<Arc<File>>,
    offset: u64,
}

/// What comes next.
enum Next {
    Block(Cursor),
    /// All that is durable was read.
    CaughtUp {
        end: EndLsn,
        held: bool,
    },
}

impl SpillReader {
    /// A reader of what was spilled, of which all that ended before `delivered` need not come.
    pub(in crate::sources::wal) fn new(spill: &Arc<Spill>, delivered: EndLsn) -> Self {
        let changed = spill.changed.subscribe();
        Self { spill: Arc::clone(spill), changed, cursor: None, reading: None, wish: Wish::new(delivered) }
    }

    /// The next messages, as the server sent them; `None` when all of them are delivered, up to `acknowledged`, and the slot is
    /// free. Waits while there is nothing to read and something to be delivered: to be asked again when more is. Cancel safe.
    ///
    /// # Errors
    /// `Gap` for what was changed on the disk; `Unavailable` for what cannot be read now.
    pub(in crate::sources::wal) async fn next(&mut self, acknowledged: EndLsn) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                let interrupted =
                    |error| Error::new(End::Source, Kind::Broken, "reading the spill was interrupted").because(error);
                let (cursor, payload) = read.map_err(interrupted)??;
                self.cursor = Some(cursor);
                if payload.is_empty() {
                    continue;
                }
                return Ok(Some(payload));
            }
            self.changed.mark_unchanged();
            match self.look() {
                Next::Block(cursor) => self.reading = Some(tokio::task::spawn_blocking(move || read(cursor))),
                Next::CaughtUp { end, held: false } if end <= acknowledged => {
                    self.spill.delivered(acknowledged);
                    return Ok(None);
                }
                Next::CaughtUp { end, held } => {
                    if held && self.wish.is_told(end, acknowledged) {
                        self.spill.want_slot_back();
                    }
                    if self.changed.changed().await.is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn look(&self) -> Next {
        let state = self.spill.state();
        let at = |number: u64| self.cursor.as_ref().is_none_or(|cursor| number >= cursor.number);
        for segment in state.segments.iter().filter(|segment| at(segment.number)) {
            let next = match &self.cursor {
                Some(cursor) if cursor.number == segment.number => cursor.clone(),
                cursor => Cursor {
                    number: segment.number,
                    session: segment.origin.session,
                    path: segment.path.clone(),
                    file: None,
                    // Whoever read the session so far knows its relations.
                    offset: match cursor.as_ref().is_some_and(|cursor| cursor.session == segment.origin.session) {
                        true => segment.read_at,
                        false => segment.relations_at,
                    },
                },
            };
            if next.offset < segment.whole {
                return Next::Block(next);
            }
        }
        let end = state.segments.back().map_or(EndLsn::ZERO, |last| last.end);
        Next::CaughtUp { end, held: state.held }
    }
}

/// Reads the block at a place that is known to be whole.
fn read(cursor: Cursor) -> Result<(Cursor, Bytes), Error> {
    let Cursor { ref path, offset, .. } = cursor;
    let failed = |error: std::io::Error| {
        Error::new(End::Source, Kind::Unavailable, format!("{path:?}, to which the slot was spilled, cannot be read"))
            .because(error)
    };
    let file = match &cursor.file {
        Some(file) => Arc::clone(file),
        None => Arc::new(File::open(path).map_err(failed)?),
    };
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, offset).map_err(failed)?;
    let head = Head::read(&head);
    let left = file.metadata().map_err(failed)?.len().saturating_sub(offset);
    let mut payload = vec![0; if head.block_bytes() <= left { head.length as usize } else { 0 }];
    file.read_exact_at(&mut payload, offset + HEAD_BYTES as u64).map_err(failed)?;
    if !head.fits(&payload) {
        let context = format!("{path:?}, to which the slot was spilled, was changed since at its byte {offset}");
        return Err(Error::new(End::Source, Kind::Gap, context).with_help(
            "What is in it, and in the files after it, cannot be read. Run `postrider slot recover`, which publishes from the outbox \
             table what is missing, and names what was captured.",
        ));
    }
    let cursor = Cursor { file: Some(file), offset: offset + head.block_bytes(), ..cursor };
    Ok((cursor, payload.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_wanted_back_when_what_was_there_is_delivered() {
        let mut wish = Wish::new(EndLsn::new(10));
        let mut is_told = |end: u64, acknowledged: u64| wish.is_told(EndLsn::new(end), EndLsn::new(acknowledged));
        // Nothing is spilled, nothing of it is delivered, not all of what was there first, all of that.
        assert!(!is_told(10, 10) && !is_told(20, 10) && !is_told(30, 15));
        assert!(is_told(40, 20));
        // The sink is away again: the next spill lasts until something is delivered.
        assert!(!is_told(40, 20) && !is_told(50, 20) && !is_told(60, 30));
        assert!(is_told(70, 40));
        // Nor does one end at once that begins after all was delivered.
        assert!(!is_told(70, 40) && !is_told(80, 60) && is_told(80, 70));
        assert!(is_told(80, 80) && !is_told(90, 80));
    }
}
