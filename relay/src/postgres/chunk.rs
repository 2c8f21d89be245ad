//! What the reader hands on: one buffer holding many complete frames, given back to be filled again when it is dropped.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::postgres::lsn::{EndLsn, RecordLsn};

/// The size of one read buffer. A Unix socket holds about 75 KiB of 450-byte messages and a TCP socket some MiB: 256 KiB
/// empties the first in one read and keeps the reads of the second few, at a memory cost that does not matter.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// Below this much data a chunk gets memory of its own size: a consumer that holds it back does not hold a whole buffer.
const COPY_BYTES_MAX: usize = BUFFER_BYTES / 4;

/// Buffers kept for reuse: as many as wait for the consumer at most, one being filled, one being read.
const IDLE_BUFFERS_MAX: usize = 10;

/// Microseconds from 1970-01-01 to 2000-01-01, where Postgres' clock starts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Bytes before a frame's body: its tag and its length.
pub(crate) const HEADER_BYTES: usize = 5;

/// Many complete frames, in the order they arrived. Dropping it returns its buffer to the reader.
pub struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
    pool: Option<Arc<Pool>>,
    read_at: Instant,
}

impl Chunk {
    /// The replication messages in it.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(self)
    }

    /// The same memory, shared and sliced without copying; [`Frames::new`] and `Bytes::slice_ref` find the messages in it again.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// The same memory, to be changed where it lies.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.filled]
    }

    /// When the first of it was read.
    #[must_use]
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The same, its first part read at `moment`.
    pub(crate) fn since(self, moment: Instant) -> Self {
        let mut chunk = self;
        chunk.read_at = moment;
        chunk
    }

    /// How much memory it holds, which is more than its length.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the content: it holds row values.
        write!(f, "Chunk({} bytes)", self.filled)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give(std::mem::take(&mut self.buffer));
        }
    }
}

/// One replication message: <https://www.postgresql.org/docs/current/protocol-replication.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message of the output plugin.
    XLogData {
        /// Where its record starts. The end that the server names beside it is left out: it is not safe to confirm.
        wal_start: RecordLsn,
        /// When the server sent it, in microseconds since 1970-01-01 UTC by the server's clock.
        sent_at_us: i64,
        /// The message.
        data: &'a [u8],
    },
    /// The server has sent everything up to here.
    Keepalive {
        /// The end of what was sent: between transactions, safe to confirm once everything before it is durable.
        wal_end: EndLsn,
        /// When the server sent it, in microseconds since 1970-01-01 UTC by the server's clock.
        sent_at_us: i64,
    },
}

/// The replication messages in a chunk's bytes, in order.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Those in `bytes`, which is all of a [`Chunk`]; iteration ends at the first byte that is not a complete frame.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left behind the last frame that was returned.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        loop {
            let (&[tag, a, b, c, d], rest) = self.rest.split_first_chunk::<HEADER_BYTES>()?;
            let body = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(HEADER_BYTES - 1)?;
            let (body, rest) = rest.split_at_checked(body)?;
            self.rest = rest;
            // Between the copied data stand notices and parameter reports, which the reader has judged already.
            if tag == b'd' {
                return frame(body);
            }
        }
    }
}

#[inline]
fn frame(body: &[u8]) -> Option<Frame<'_>> {
    let (kind, body) = body.split_first()?;
    let (first, body) = body.split_first_chunk()?;
    let first = u64::from_be_bytes(*first);
    if *kind == b'w' {
        let (_wal_end, body) = body.split_first_chunk::<8>()?;
        let (sent_at, data) = body.split_first_chunk()?;
        return Some(Frame::XLogData { wal_start: RecordLsn::new(first), sent_at_us: unix_us(*sent_at), data });
    }
    let (sent_at, _reply_requested) = body.split_first_chunk()?;
    Some(Frame::Keepalive { wal_end: EndLsn::new(first), sent_at_us: unix_us(*sent_at) })
}

fn unix_us(postgres_us: [u8; 8]) -> i64 {
    i64::from_be_bytes(postgres_us).saturating_add(POSTGRES_EPOCH_US)
}

/// Read buffers between two uses.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// A buffer whose length is what may be read into it: at least `bytes`, usually [`BUFFER_BYTES`]. What it held is still
    /// there, so that no buffer is zero-filled twice.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes > BUFFER_BYTES {
            return vec![0; bytes];
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == BUFFER_BYTES && idle.len() < IDLE_BUFFERS_MAX {
            idle.push(buffer);
        }
    }
}

/// The buffer being read into: frames collect in it until they are handed over, a frame's beginning stays.
#[derive(Debug)]
pub(crate) struct Intake {
    pool: Arc<Pool>,
    buffer: Vec<u8>,
    /// Bytes read.
    filled: usize,
    /// Bytes of complete frames among them.
    complete: usize,
}

impl Intake {
    /// An intake that has already read `carried`.
    pub(crate) fn new(carried: &[u8]) -> Self {
        let pool = Arc::new(Pool::default());
        let mut buffer = pool.take(carried.len());
        buffer[..carried.len()].copy_from_slice(carried);
        Self { pool, buffer, filled: carried.len(), complete: 0 }
    }

    /// What has been read and not been found complete yet; it starts with a frame.
    pub(crate) fn unscanned(&self) -> &[u8] {
        &self.buffer[self.complete..self.filled]
    }

    /// Where to read into. It is empty if and only if frames must be handed over first.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// `bytes` were read into [`Intake::space`].
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// The next `bytes` of [`Intake::unscanned`] are complete frames.
    pub(crate) fn mark_complete(&mut self, bytes: usize) {
        self.complete += bytes;
    }

    /// How much could be handed over.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    /// Whether the frame that has begun to arrive, of `frame` bytes in all, can be completed where it lies.
    pub(crate) fn fits(&self, frame: usize) -> bool {
        self.complete + frame.max(HEADER_BYTES) <= self.buffer.len()
    }

    /// Takes the complete frames out and makes room for a frame of `next_frame` bytes, whose beginning stays.
    pub(crate) fn hand_over(&mut self, next_frame: usize) -> Option<Chunk> {
        let complete = std::mem::take(&mut self.complete);
        let tail = complete..self.filled;
        self.filled = tail.len();
        if complete < COPY_BYTES_MAX && next_frame <= self.buffer.len() {
            let frames = self.buffer[..complete].to_vec();
            self.buffer.copy_within(tail, 0);
            let read_at = Instant::now();
            return (complete > 0).then_some(Chunk { buffer: frames, filled: complete, pool: None, read_at });
        }
        let mut buffer = self.pool.take(next_frame);
        buffer[..tail.len()].copy_from_slice(&self.buffer[tail]);
        let full = std::mem::replace(&mut self.buffer, buffer);
        let pool = Some(Arc::clone(&self.pool));
        let chunk = Chunk { buffer: full, filled: complete, pool, read_at: Instant::now() };
        (complete > 0).then_some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One frame with a body of `bytes` bytes, all of them its first one's value.
    fn frame(tag: u8, fill: u8, bytes: usize) -> Vec<u8> {
        let mut frame = vec![tag];
        frame.extend((bytes as u32 + 4).to_be_bytes());
        frame.extend(vec![fill; bytes]);
        frame
    }

    fn read(intake: &mut Intake, bytes: &[u8]) {
        intake.space()[..bytes.len()].copy_from_slice(bytes);
        intake.advance(bytes.len());
    }

    #[test]
    fn replication_messages_are_found_between_notices() {
        let mut bytes = frame(b'N', 0, 3);
        bytes.extend(b"d\0\0\0\x1fw\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01hi");
        bytes.extend(frame(b'S', 0, 4));
        bytes.extend(b"d\0\0\0\x16k\0\0\0\0\0\0\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        let found: Vec<_> = Frames::new(&bytes).collect();
        let wanted = [
            Frame::XLogData { wal_start: RecordLsn::new(7), sent_at_us: POSTGRES_EPOCH_US + 1, data: b"hi" },
            Frame::Keepalive { wal_end: EndLsn::new(10), sent_at_us: POSTGRES_EPOCH_US - 1 },
        ];
        assert_eq!(found, wanted);
        for length in 0..bytes.len() {
            assert!(Frames::new(&bytes[..length]).count() < 2, "a frame that is cut does not count");
        }
    }

    #[test]
    fn a_little_data_is_copied_and_much_is_lent_without_copying() {
        let mut intake = Intake::new(b"");
        let small = frame(b'd', 1, 100);
        read(&mut intake, &small);
        intake.mark_complete(small.len());
        let chunk = intake.hand_over(0).unwrap();
        assert_eq!((&chunk[..], chunk.memory()), (&small[..], small.len()));

        let large = frame(b'd', 2, COPY_BYTES_MAX);
        read(&mut intake, &large);
        intake.mark_complete(large.len());
        let chunk = intake.hand_over(0).unwrap();
        assert_eq!((&chunk[..], chunk.memory()), (&large[..], BUFFER_BYTES));
        assert!(intake.pool.idle.lock().unwrap().is_empty());
        drop(chunk.into_bytes().slice(3..9));
        assert_eq!(intake.pool.idle.lock().unwrap().len(), 1, "the last slice returned the buffer");
    }

    #[test]
    fn a_frame_cut_by_a_read_continues_in_the_next_chunk_wherever_it_is_cut() {
        let frames = [frame(b'd', 1, 50), frame(b'd', 2, COPY_BYTES_MAX), frame(b'd', 3, 50)];
        let stream = frames.concat();
        for cut in (1..stream.len()).step_by(7) {
            let mut intake = Intake::new(&stream[..1]);
            read(&mut intake, &stream[1..cut]);
            let complete: usize = frames
                .iter()
                .scan(0, |end, frame| {
                    Some({
                        *end += frame.len();
                        *end
                    })
                })
                .filter(|end| *end <= cut)
                .max()
                .unwrap_or(0);
            intake.mark_complete(complete);
            let first = intake.hand_over(0);
            assert_eq!(first.as_deref().unwrap_or(b""), &stream[..complete]);
            assert_eq!(intake.unscanned(), &stream[complete..cut]);
            read(&mut intake, &stream[cut..]);
            intake.mark_complete(stream.len() - complete);
            let second = intake.hand_over(0).unwrap();
            assert_eq!(&second[..], &stream[complete..]);
        }
    }

    #[test]
    fn a_frame_larger_than_a_buffer_gets_memory_of_exactly_its_size() {
        let mut intake = Intake::new(b"");
        let large = frame(b'd', 9, 2 * BUFFER_BYTES);
        let before = frame(b'd', 1, 10);
        let stream = [before.clone(), large.clone()].concat();
        let (head, tail) = stream.split_at(BUFFER_BYTES);
        read(&mut intake, head);
        assert!(intake.space().is_empty());
        intake.mark_complete(before.len());
        assert!(!intake.fits(large.len()));
        assert_eq!(intake.hand_over(large.len()).as_deref(), Some(&before[..]));
        assert_eq!(intake.space().len(), tail.len(), "it ends where the frame does");
        read(&mut intake, tail);
        intake.mark_complete(large.len());
        let chunk = intake.hand_over(0).unwrap();
        assert_eq!((&chunk[..], chunk.memory()), (&large[..], large.len()));
        drop(chunk);
        assert!(intake.pool.idle.lock().unwrap().iter().all(|idle| idle.len() == BUFFER_BYTES));
        assert_eq!(intake.space().len(), BUFFER_BYTES);
    }

    #[test]
    fn a_chunk_never_shows_what_it_holds() {
        let mut intake = Intake::new(b"secret");
        intake.mark_complete(6);
        assert_eq!(format!("{:?}", intake.hand_over(0).unwrap()), "Chunk(6 bytes)");
    }
}
