//! The position of an event: where it stands among all events of a database, comparable across restarts.

use std::fmt;

/// The largest ordinal, in row changes: 48 bits.
pub const ORDINAL_MAX: u64 = (1 << 48) - 1;

/// (epoch, commit LSN, ordinal in the commit), ordered in that order.
///
/// Its text is 32 lower-case hexadecimal digits, so that texts compare as positions do: 4 of the epoch, 16 of the
/// commit LSN, 12 of the ordinal. Consumers use it to drop repetitions and to decide which of two versions is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPosition(u128);

impl EventPosition {
    /// The position of the row change `ordinal` (from 0, as received) of the transaction whose commit
    /// record starts at `commit_lsn`. An ordinal beyond [`ORDINAL_MAX`] stays there: a transaction of 2⁴⁸ rows cannot be
    /// stored.
    #[must_use]
    pub fn new(epoch: u16, commit_lsn: u64, ordinal: u64) -> Self {
        Self(u128::from(epoch) << 112 | u128::from(commit_lsn) << 48 | u128::from(ordinal.min(ORDINAL_MAX)))
    }

    /// The same position in a transaction whose messages are counted as its rows are. With or without them a number means
    /// another event, so the greatest bit of the ordinal tells the two countings apart.
    #[must_use]
    pub fn among_messages(self) -> Self {
        Self(self.0 | 1 << 47)
    }

    /// The position of a further record of the same change: an update can become three (a deletion, a tombstone and a
    /// creation), so that the next change of the transaction begins that many ordinals on.
    #[must_use]
    pub fn part(self, part: u8) -> Self {
        Self(self.0 + u128::from(part))
    }

    /// The position of this number, as [`EventPosition::as_u128`] gives it.
    #[must_use]
    pub fn of(number: u128) -> Self {
        Self(number)
    }

    /// It as a number, which compares as positions do.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// Its text.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_its_number_and_sorts_as_it_does() {
        let mut positions = Vec::new();
        for epoch in [0, 1, u16::MAX] {
            for lsn in [0, 0x16B_3748, u64::MAX] {
                for ordinal in [0, 1, 0xabc, ORDINAL_MAX] {
                    positions.push(EventPosition::new(epoch, lsn, ordinal));
                }
            }
        }
        assert!(positions.is_sorted());
        let texts: Vec<_> = positions.iter().map(|p| p.to_hex()).collect();
        assert!(texts.is_sorted());
        for (position, text) in positions.iter().zip(&texts) {
            assert_eq!(position.to_string().as_bytes(), text);
        }
        assert_eq!(EventPosition::new(1, 0x16B_3748, 2).to_string(), "000100000000016b3748000000000002");
        let among_messages = EventPosition::new(1, 0x16B_3748, 2).among_messages();
        assert_eq!(among_messages.to_string(), "000100000000016b3748800000000002");
    }
}
