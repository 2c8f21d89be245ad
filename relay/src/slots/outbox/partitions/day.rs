//! Days in UTC, by which the table is cut: numbers since 1970 that print as dates.

use std::fmt;

use crate::calendar::date;

/// Seconds of a day; UTC as Unix counts it has no others.
pub(super) const SECONDS: i64 = 86_400;

/// A day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

impl Day {
    /// The day that holds this many seconds since 1970.
    pub(super) fn of(seconds: i64) -> Self {
        Self(seconds.div_euclid(SECONDS))
    }

    /// So many days later.
    pub(super) fn plus(self, days: u32) -> Self {
        Self(self.0 + i64::from(days))
    }

    /// This day and those after it, up to but without `end`.
    pub(super) fn until(self, end: Self) -> impl Iterator<Item = Self> {
        (self.0..end.0).map(Self)
    }

    /// As it stands in a partition's name: `20261121`.
    pub(super) fn compact(self) -> String {
        let (year, month, day) = date(self.0);
        format!("{year:04}{month:02}{day:02}")
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_as_the_calendar_has_them() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_795_270_559, "2026-11-21"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Day::of(seconds).to_string(), date);
            assert_eq!(Day::of(seconds).compact(), date.replace('-', ""));
        }
        assert_eq!(Day::of(0).plus(31).to_string(), "1970-02-01");
    }
}
