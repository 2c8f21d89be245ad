//! The form of a segment: blocks, each with its length, the place in the log that it reaches and a checksum. Pure but for the
//! bytes that are read and written.
//!
//! Guarantee: what was not written whole, and what was changed since, is not taken for what was written.
//!
//! A block is, in little-endian order, the length of its payload (4 bytes), the place that it reaches (8), the XXH3 of the payload,
//! seeded with that of the twelve bytes before (8), and the payload. A place of 0: the block ends within a transaction.

use std::io::{self, ErrorKind, Read, Write};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::postgres::lsn::EndLsn;

/// Bytes before a block's payload.
pub(super) const HEAD_BYTES: usize = 20;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// Up to where everything that ended is whole with this block; zero within a transaction.
    pub(super) reach: EndLsn,
    checksum: u64,
}

impl Head {
    /// The head of `payload`; `None` for one of 4 GiB or more, which no message of the server is.
    fn of(payload: &[u8], reach: EndLsn) -> Option<Self> {
        let length = u32::try_from(payload.len()).ok()?;
        Some(Self { length, reach, checksum: checksum(length, reach, payload) })
    }

    /// Reads a head as it was written.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let (&length, rest) = bytes.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let (&reach, rest) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let checksum = rest.first_chunk::<8>().copied().unwrap_or_default();
        Self {
            length: u32::from_le_bytes(length),
            reach: EndLsn::new(u64::from_le_bytes(reach)),
            checksum: u64::from_le_bytes(checksum),
        }
    }

    /// Whether `payload` is what this head was written for.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && self.checksum == checksum(self.length, self.reach, payload)
    }

    /// Bytes of the whole block.
    pub(super) fn block_bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.length)
    }
}

fn checksum(length: u32, reach: EndLsn, payload: &[u8]) -> u64 {
    let mut before = [0; 12];
    before[..4].copy_from_slice(&length.to_le_bytes());
    before[4..].copy_from_slice(&reach.as_u64().to_le_bytes());
    xxh3_64_with_seed(payload, xxh3_64(&before))
}

/// Writes a block; returns how many bytes that were.
pub(super) fn write(to: &mut impl Write, payload: &[u8], reach: EndLsn) -> io::Result<u64> {
    let too_long = || io::Error::new(ErrorKind::InvalidInput, "a block cannot hold 4 GiB");
    let head = Head::of(payload, reach).ok_or_else(too_long)?;
    let mut bytes = [0; HEAD_BYTES];
    bytes[..4].copy_from_slice(&head.length.to_le_bytes());
    bytes[4..12].copy_from_slice(&head.reach.as_u64().to_le_bytes());
    bytes[12..].copy_from_slice(&head.checksum.to_le_bytes());
    to.write_all(&bytes)?;
    to.write_all(payload)?;
    Ok(head.block_bytes())
}

/// Reads the next block, of a file with `left` bytes from here on; `None` where there is none that is whole.
pub(super) fn read(from: &mut impl Read, left: u64) -> io::Result<Option<(Head, Vec<u8>)>> {
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head)?;
    let head = Head::read(&head);
    // A length that was not written must not make us ask for its memory.
    if head.block_bytes() > left {
        return Ok(None);
    }
    let mut payload = vec![0; head.length as usize];
    from.read_exact(&mut payload)?;
    Ok(head.fits(&payload).then_some((head, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks, and where the second begins.
    fn two() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let first = write(&mut bytes, b"begin insert commit", EndLsn::new(0x1_0000_0040)).unwrap();
        write(&mut bytes, b"begin", EndLsn::ZERO).unwrap();
        (bytes, usize::try_from(first).unwrap())
    }

    /// The blocks of `bytes` that are whole, one after the other.
    fn blocks(bytes: &[u8]) -> Vec<(EndLsn, Vec<u8>)> {
        let (mut from, mut found) = (bytes, Vec::new());
        loop {
            let left = from.len() as u64;
            let Some((head, payload)) = read(&mut from, left).unwrap() else { return found };
            found.push((head.reach, payload));
        }
    }

    #[test]
    fn blocks_read_back_as_written() {
        let (bytes, _) = two();
        let wanted = [(EndLsn::new(0x1_0000_0040), b"begin insert commit".to_vec()), (EndLsn::ZERO, b"begin".to_vec())];
        assert_eq!(blocks(&bytes), wanted);
        let mut empty = Vec::new();
        write(&mut empty, b"", EndLsn::new(7)).unwrap();
        assert_eq!(blocks(&empty), [(EndLsn::new(7), Vec::new())]);
    }

    #[test]
    fn a_block_that_is_cut_anywhere_is_none() {
        let (bytes, second) = two();
        for length in 0..bytes.len() {
            assert_eq!(blocks(&bytes[..length]).len(), usize::from(length >= second), "{length}");
        }
    }

    #[test]
    fn a_bit_that_was_changed_anywhere_ends_what_can_be_read() {
        let (bytes, second) = two();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let found = blocks(&changed);
            assert_eq!(found.len(), usize::from(bit / 8 >= second), "bit {bit}");
        }
    }
}
