//! Places in the write-ahead log, one type for each meaning, so that two meanings can never be compared with each other.
//!
//! Under load the next transaction's commit record often starts exactly where this one's ended: "skip what is at or below the
//! end" would lose that transaction. Hence no type here converts into, or compares with, another.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Text that is not a log sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a log sequence number; expected two hexadecimal halves, as in 16/B374D848")]
pub struct ParseLsnError {
    text: String,
}

macro_rules! lsn {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The invalid position: before anything.
            pub const ZERO: Self = Self(0);

            /// The byte position in the log.
            #[must_use]
            pub const fn new(position: u64) -> Self {
                Self(position)
            }

            /// The byte position in the log.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseLsnError;

            fn from_str(text: &str) -> Result<Self, ParseLsnError> {
                parse(text).map(Self)
            }
        }
    };
}

lsn! {
    /// Where a transaction's commit record starts: the transaction's identity in headers, progress and deduplication.
    ///
    /// It is `final_lsn` of Begin and `commit_lsn` of Commit.
    ///
    /// ```compile_fail
    /// use postrider_relay::postgres::lsn::{CommitLsn, EndLsn};
    /// assert!(CommitLsn::new(1) < EndLsn::new(2)); // the two are never compared
    /// ```
    CommitLsn
}

lsn! {
    /// A boundary between records, up to which everything is meant: what is confirmed to Postgres and what a stream starts at.
    ///
    /// It is `end_lsn` of Commit, the end of a keepalive, a slot's `confirmed_flush_lsn`, the switch point of a timeline.
    EndLsn
}

lsn! {
    /// Where some record starts: good for showing and for logs, never for confirming or skipping.
    RecordLsn
}

fn parse(text: &str) -> Result<u64, ParseLsnError> {
    let error = || ParseLsnError { text: text.to_owned() };
    let (high, low) = text.split_once('/').ok_or_else(error)?;
    let half = |digits: &str| -> Result<u64, ParseLsnError> {
        // `from_str_radix` would also take a sign.
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        u32::from_str_radix(digits, 16).map(u64::from).map_err(|_: ParseIntError| error())
    };
    Ok(half(high)? << 32 | half(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_prints_and_parses_as_postgres_does() {
        for (position, text) in [
            (0, "0/0"),
            (0x16_B374_D848, "16/B374D848"),
            (0xFFFF_FFFF, "0/FFFFFFFF"),
            (0x1_0000_0000, "1/0"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(EndLsn::new(position).to_string(), text);
            assert_eq!(text.parse(), Ok(EndLsn::new(position)));
        }
        assert_eq!("0/b374d848".parse(), Ok(CommitLsn::new(0xB374_D848)));
    }

    #[test]
    fn what_is_not_an_lsn_is_refused_by_name() {
        for text in ["", "/", "0", "0/", "/0", "g/0", "0/123456789", "+1/0", "0/-1", "0/0/0", " 0/0"] {
            let error = text.parse::<EndLsn>().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
