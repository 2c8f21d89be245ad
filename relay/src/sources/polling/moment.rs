//! A moment of the database, as Postgres writes a snapshot: which transactions it shows.
//! <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS>

use std::fmt;

/// Which transactions had committed, by their numbers of 64 bits; those of subtransactions are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    xmin: u64,
    xmax: u64,
    open: Vec<u64>,
}

impl Moment {
    /// Reads `xmin:xmax:xid,xid`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next()?.parse().ok();
        let (xmin, xmax) = (number()?, number()?);
        let open = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(|xid| xid.parse().ok());
        Some(Self { xmin, xmax, open: open.collect::<Option<_>>()? })
    }

    /// The moment that shows every transaction below `xid` and no other.
    pub(super) fn below(xid: u64) -> Self {
        Self { xmin: xid, xmax: xid, open: Vec::new() }
    }

    /// The first transaction that had not begun.
    pub(super) fn xmax(&self) -> u64 {
        self.xmax
    }

    /// The oldest transaction that had not ended.
    pub(super) fn xmin(&self) -> u64 {
        self.xmin
    }

    /// The transactions that had begun and not ended.
    pub(super) fn open(&self) -> &[u64] {
        &self.open
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.open.iter().enumerate() {
            write!(f, "{}{xid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        for text in ["10:20:", "10:20:10,14,15", "3:3:"] {
            assert_eq!(Moment::parse(text).map(|moment| moment.to_string()).as_deref(), Some(text));
        }
        for text in ["", "10", "10:20", "a:b:", "10:20:x"] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        assert_eq!(Moment::below(7).to_string(), "7:7:");
    }
}
