//! Postgres' text of a time becomes the milliseconds that a record carries.
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT>

use crate::calendar;

/// The milliseconds since 1970 of a `timestamp` (read as UTC) or a `timestamptz` in ISO form; `None` for `infinity`, a year
/// before our era, and what is no time.
pub(super) fn millis(text: &[u8]) -> Option<i64> {
    let text = str::from_utf8(text).ok()?;
    let (date, time) = text.split_once(' ')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let zone_at = time.find(['+', '-', ' ']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':').map(str::parse::<u8>).map(|part| part.map(i64::from));
    let seconds = time.next()?.ok()? * 3600 + time.next()?.ok()? * 60 + time.next()?.ok()?;
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let offset = offset_seconds(zone)?;
    let seconds = days(year, month, day)?.checked_mul(86_400)?.checked_add(seconds - offset)?;
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}

/// `+02`, `-03:30` or nothing.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.is_empty() {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let mut seconds = 0;
    for (part, weight) in zone.strip_prefix(['+', '-'])?.split(':').zip([3600, 60, 1]) {
        seconds += i64::from(part.parse::<u8>().ok()?) * weight;
    }
    Some(sign * seconds)
}

/// Days from 1970-01-01; `None` for what is no day of any year that Postgres has.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_day = (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=300_000).contains(&year);
    is_day.then(|| calendar::days(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgres_prints_them() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", Some(0)),
            ("2020-09-13 12:26:40.456789", Some(1_600_000_000_456)),
            ("2020-09-13 12:26:40.4", Some(1_600_000_000_400)),
            ("2020-09-13 14:26:40+02", Some(1_600_000_000_000)),
            ("2020-09-13 08:56:40-03:30", Some(1_600_000_000_000)),
            ("2000-02-29 00:00:00", Some(951_782_400_000)),
            ("1969-12-31 23:59:59", Some(-1000)),
            ("infinity", None),
            ("-infinity", None),
            ("0044-03-15 00:00:00 BC", None),
            ("2020-13-01 00:00:00", None),
            ("", None),
            ("x y", None),
            ("2020-09-13 9223372036854775807:26:40", None),
            ("2020-09-13 12:26:40+9223372036854775807", None),
        ] {
            assert_eq!(millis(text.as_bytes()), expected, "{text}");
        }
    }
}
