//! The position of an event in the log of its database: later events have greater positions.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Field};

/// Where an event stands: the epoch of the log, the commit of its transaction, its place in the transaction.
///
/// Positions of one database are ordered as its transactions committed, so "is this newer than what I hold?" is a comparison.
/// As text (the header `postrider-position`) a position is 32 lowercase hexadecimal digits, which sort in the same order.
///
/// ```
/// use postrider::Position;
///
/// # fn main() -> Result<(), postrider::Error> {
/// let position: Position = "000100000000016b3748000000000002".parse()?;
/// assert_eq!(position.epoch(), 1);
/// assert_eq!(position.commit_lsn(), 0x16b_3748);
/// assert_eq!(position.ordinal(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u128);

impl Position {
    /// The greatest ordinal: 48 bits.
    pub const ORDINAL_MAX: u64 = (1 << 48) - 1;

    /// A position of its parts, or `None` if the ordinal is above [`Position::ORDINAL_MAX`].
    #[must_use]
    pub fn new(epoch: u16, commit_lsn: u64, ordinal: u64) -> Option<Self> {
        (ordinal <= Self::ORDINAL_MAX)
            .then(|| Self(u128::from(epoch) << 112 | u128::from(commit_lsn) << 48 | u128::from(ordinal)))
    }

    /// The position that [`Position::to_u128`] gave.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The position as one number, in the same order.
    #[must_use]
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// Counts the logs of a database: it rises when log positions start anew, as after a restore or a lossy failover.
    #[must_use]
    pub fn epoch(self) -> u16 {
        (self.0 >> 112) as u16
    }

    /// The log position of the commit record.
    #[must_use]
    pub fn commit_lsn(self) -> u64 {
        (self.0 >> 48) as u64
    }

    /// The index of the row change in its transaction.
    #[must_use]
    pub fn ordinal(self) -> u64 {
        self.0 as u64 & Self::ORDINAL_MAX
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let value = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value
            .map(Self)
            .ok_or(Error::Refused { field: Field::Position, reason: "is not 32 lowercase hexadecimal digits" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_number_keep_parts_and_order(a: (u16, u64, u64), b: (u16, u64, u64)) {
            let make = |(epoch, lsn, ordinal): (u16, u64, u64)| {
                Position::new(epoch, lsn, ordinal & Position::ORDINAL_MAX).unwrap()
            };
            let (left, right) = (make(a), make(b));
            prop_assert_eq!((left.epoch(), left.commit_lsn(), left.ordinal()), (a.0, a.1, a.2 & Position::ORDINAL_MAX));
            prop_assert_eq!(left.to_string().parse::<Position>().unwrap(), left);
            prop_assert_eq!(Position::from_u128(left.to_u128()), left);
            let parts = |(epoch, lsn, ordinal): (u16, u64, u64)| (epoch, lsn, ordinal & Position::ORDINAL_MAX);
            prop_assert_eq!(left.cmp(&right), parts(a).cmp(&parts(b)));
            prop_assert_eq!(left.to_string().cmp(&right.to_string()), left.cmp(&right));
        }

        #[test]
        fn any_other_text_is_refused(text in "\\PC{0,40}") {
            prop_assume!(!text.bytes().all(|byte| byte.is_ascii_hexdigit()) || text.len() != 32);
            prop_assert!(text.parse::<Position>().is_err());
        }
    }

    #[test]
    fn uppercase_and_signs_are_refused() {
        let text = "000100000000016b3748000000000002";
        assert!(text.parse::<Position>().is_ok());
        assert!(text.to_uppercase().parse::<Position>().is_err());
        assert!(format!("+{}", &text[1..]).parse::<Position>().is_err());
        assert!(Position::new(0, 0, Position::ORDINAL_MAX + 1).is_none());
    }
}
