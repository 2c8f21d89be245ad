//! Follows the messages of one session: where transactions end, and which relations were described. Pure.
//!
//! Guarantee: it finds the places that whoever cuts the same messages into batches comes to, and no others: see
//! [`cut`](crate::sources::wal::cut).

use std::collections::BTreeMap;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::chunk::{Frame, Frames};
use crate::postgres::lsn::EndLsn;
use crate::postgres::pgoutput::{self, Message};

/// One session so far.
pub(super) struct Follower {
    /// Whether the last message stands in a transaction.
    open: bool,
    reach: EndLsn,
    /// The newest description of each relation, as it was sent: a session sends each once.
    relations: BTreeMap<u32, Vec<u8>>,
}

impl Follower {
    /// A session that starts at `start`.
    pub(super) fn new(start: EndLsn) -> Self {
        Self { open: false, reach: start, relations: BTreeMap::new() }
    }

    /// Up to where everything that ended was seen.
    pub(super) fn reach(&self) -> EndLsn {
        self.reach
    }

    /// What describes the relations again.
    pub(super) fn relations(&self) -> Vec<u8> {
        self.relations.values().flatten().copied().collect()
    }

    /// Follows the complete messages in `bytes`; returns how many of the bytes come before the last place at which its reach
    /// moved. What stands between two transactions behind such a place, as a message outside a transaction does, belongs to the next.
    ///
    /// # Errors
    /// `Protocol` for what cannot be read.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut frames = Frames::new(bytes);
        let (mut begin, mut between) = (0, 0);
        while let Some(frame) = frames.next() {
            let (end, before) = (bytes.len() - frames.remaining(), self.reach);
            match frame {
                Frame::Keepalive { wal_end, .. } if !self.open => self.reach = before.max(wal_end),
                Frame::Keepalive { .. } => {}
                Frame::XLogData { data, .. } => self.message(data, &bytes[begin..end])?,
            }
            if self.reach > before {
                between = end;
            }
            begin = end;
        }
        Ok(between)
    }

    /// Rows are not looked at: only what begins, ends and describes.
    fn message(&mut self, data: &[u8], frame: &[u8]) -> Result<(), Error> {
        if !matches!(data.first(), Some(b'B' | b'C' | b'R')) {
            return Ok(());
        }
        let unreadable = |error| Error::new(End::Source, Kind::Protocol, "the stream cannot be read").because(error);
        match pgoutput::decode(data).map_err(unreadable)? {
            Message::Begin(_) => self.open = true,
            Message::Commit(commit) => {
                self.open = false;
                self.reach = self.reach.max(commit.end_lsn);
            }
            Message::Relation(relation) => drop(self.relations.insert(relation.oid, frame.to_vec())),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wal::cut::tests::{COLUMNS, OUTBOX, Stream};

    fn followed(stream: &mut Stream) -> (Follower, usize, usize) {
        let bytes = stream.take();
        let mut follower = Follower::new(EndLsn::new(0x10));
        let between = follower.follow(&bytes).expect("well formed");
        (follower, between, bytes.len())
    }

    #[test]
    fn it_reaches_the_end_of_each_transaction_and_of_what_was_sent_between_two() {
        let (follower, between, all) = followed(Stream::default().begin(0x80).commit(0x80, 0xa0).keepalive(0xc0));
        assert_eq!((follower.reach(), between), (EndLsn::new(0xc0), all));
        let (follower, between, _) = followed(Stream::default().begin(0x80).keepalive(0xc0));
        assert_eq!((follower.reach(), between), (EndLsn::new(0x10), 0), "the transaction is open");
    }

    #[test]
    fn what_follows_a_place_that_did_not_move_belongs_to_the_next() {
        let whole = Stream::default().begin(0x80).commit(0x80, 0xa0).take().len();
        let mut stream = Stream::default();
        let (follower, between, all) = followed(stream.begin(0x80).commit(0x80, 0xa0).keepalive(0xa0).begin(0xb0));
        assert_eq!((follower.reach(), between), (EndLsn::new(0xa0), whole));
        assert!(all > whole);
    }

    #[test]
    fn relations_are_known_as_they_were_described_last() {
        let mut follower = Follower::new(EndLsn::ZERO);
        for columns in [&COLUMNS[..2], &COLUMNS[..]] {
            let bytes = Stream::default().begin(0x80).relation(OUTBOX, "outbox_events", columns).take();
            follower.follow(&bytes).expect("well formed");
        }
        let last = Stream::default().relation(OUTBOX, "outbox_events", &COLUMNS).take();
        assert_eq!(follower.relations(), last.to_vec());
    }
}
