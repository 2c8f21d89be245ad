//! Moments as people and programs write them.

use crate::calendar::date;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A moment in milliseconds since 1970, as ISO 8601 in UTC.
#[must_use]
pub fn iso8601(ms: i64) -> String {
    let (day, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date(day);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_760_783_445_123, "2025-10-18T10:30:45.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(iso8601(ms), text);
        }
    }
}
