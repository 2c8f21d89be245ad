//! Dates and times in ISO form, as the relay's sessions have them printed:
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT>.

use crate::calendar;

/// Microseconds of a day.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// A date, or one of the two ends of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point<T> {
    /// A date or a time.
    At(T),
    /// `infinity`.
    Future,
    /// `-infinity`.
    Past,
}

/// Reads what may be without end.
pub(super) fn point<T>(text: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<Point<T>> {
    match text {
        b"infinity" => Some(Point::Future),
        b"-infinity" => Some(Point::Past),
        text => read(text).map(Point::At),
    }
}

/// A day of the proleptic Gregorian calendar; the year before 1 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    pub(super) month: u8,
    pub(super) day: u8,
}

impl Date {
    /// `2024-02-29`, `0044-03-15 BC`.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (text, before) = era(text);
        let (date, rest) = Self::lead(text, before)?;
        rest.is_empty().then_some(date)
    }

    /// The date that a text begins with, and what follows.
    fn lead(text: &[u8], before_christ: bool) -> Option<(Self, &[u8])> {
        let len = text.iter().position(|byte| *byte == b'-').filter(|len| (4..=7).contains(len))?;
        let year = text[..len].iter().try_fold(0, |sum, byte| Some(sum * 10 + i64::from(digit(*byte)?)))?;
        let (month, rest) = two(text.get(len + 1..)?)?;
        let (day, rest) = two(rest.strip_prefix(b"-")?)?;
        let year = if before_christ { 1 - year } else { year };
        (1..=calendar::days_of_month(year, month)).contains(&day).then_some((Self { year, month, day }, rest))
    }

    /// Days from 1970-01-01.
    pub(super) fn days(self) -> i64 {
        calendar::days(self.year, i64::from(self.month), i64::from(self.day))
    }

    /// The way back.
    pub(super) fn from_days(days: i64) -> Self {
        let (year, month, day) = calendar::date(days);
        Self { year, month, day }
    }

    /// `2024-02-29`; a year of more than four digits, or before 1, has its sign.
    pub(super) fn print(self, out: &mut Vec<u8>) {
        if self.year < 0 {
            out.push(b'-');
        } else if self.year > 9999 {
            out.push(b'+');
        }
        let year = self.year.unsigned_abs();
        for place in [1000, 100, 10] {
            if year < place {
                out.push(b'0');
            }
        }
        crate::shape::json::integer(year.cast_signed(), out);
        out.push(b'-');
        print_two(self.month, out);
        out.push(b'-');
        print_two(self.day, out);
    }
}

/// `2024-02-29 12:34:56.789`, with or without a zone: a day, and the microseconds of it in UTC.
pub(super) fn timestamp(text: &[u8]) -> Option<(Date, i64)> {
    let (text, before) = era(text);
    let (date, rest) = Date::lead(text, before)?;
    let (of_day, zone) = time(rest.strip_prefix(b" ")?)?;
    let of_day = of_day - offset(zone)?;
    Some(if (0..DAY_US).contains(&of_day) {
        (date, of_day)
    } else {
        (Date::from_days(date.days() + of_day.div_euclid(DAY_US)), of_day.rem_euclid(DAY_US))
    })
}

/// `12:34:56.789+02`: the microseconds of a day in UTC; a whole day if the clock shows 24 there.
pub(super) fn zoned_time(text: &[u8]) -> Option<i64> {
    let (of_day, zone) = time(text)?;
    match offset(zone)? {
        0 => Some(of_day),
        offset => Some((of_day - offset).rem_euclid(DAY_US)),
    }
}

/// The time that a text begins with, in microseconds, and what follows; 24:00 is one.
pub(super) fn time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, rest) = two(text)?;
    let (minute, rest) = two(rest.strip_prefix(b":")?)?;
    let (second, mut rest) = two(rest.strip_prefix(b":")?)?;
    let mut micros = (i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second)) * 1_000_000;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=6).contains(&len) {
            return None;
        }
        let digits = fraction[..len].iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
        micros += digits * 10_i64.pow(6 - len as u32);
        rest = &fraction[len..];
    }
    (minute < 60 && second < 60 && micros <= DAY_US).then_some((micros, rest))
}

/// `12:34:56.789`, with `digits` behind the point, or as many as are needed.
pub(super) fn print_time(micros: i64, digits: Option<u8>, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    print_two((seconds / 3600) as u8, out);
    out.push(b':');
    print_two((seconds / 60 % 60) as u8, out);
    out.push(b':');
    print_two((seconds % 60) as u8, out);
    let needed = || (1..=6).rev().find(|digits| fraction % 10_i64.pow(7 - digits) != 0).unwrap_or(0);
    let digits = digits.map_or_else(needed, u32::from);
    if digits > 0 {
        out.push(b'.');
        out.extend((0..digits).map(|place| b'0' + (fraction / 10_i64.pow(5 - place) % 10) as u8));
    }
}

/// `+02`, `-03:30`, `+01:02:03` or nothing, in microseconds.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, rest) = match zone {
        [] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, mut rest) = two(rest)?;
    let mut seconds = i64::from(hours) * 3600;
    for weight in [60, 1] {
        if let Some(more) = rest.strip_prefix(b":") {
            let (part, after) = two(more)?;
            seconds += i64::from(part) * weight;
            rest = after;
        }
    }
    rest.is_empty().then_some(sign * seconds * 1_000_000)
}

/// Without the mark of a year before Christ, and whether there was one.
fn era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn two(text: &[u8]) -> Option<(u8, &[u8])> {
    let [tens, ones, rest @ ..] = text else { return None };
    Some((digit(*tens)? * 10 + digit(*ones)?, rest))
}

fn print_two(value: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_name_each_other() {
        for days in (-2_500_000..=2_200_000_000_i64).step_by(99_991) {
            let date = Date::from_days(days);
            assert_eq!(date.days(), days, "{date:?}");
        }
        assert_eq!(Date::read(b"1970-01-01").map(Date::days), Some(0));
        assert_eq!(Date::read(b"5874897-12-31").map(Date::days), Some(2_145_042_905));
        assert_eq!(Date::read(b"4713-01-01 BC").map(Date::days), Some(-2_440_550));
    }

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in ["", "2024-02-30", "2023-02-29", "2024-13-01", "2024-1-1", "24-01-01", "2024-01-01 ", "x024-01-01"]
        {
            assert_eq!(Date::read(wrong.as_bytes()), None, "{wrong}");
        }
        for wrong in ["", "1:00:00", "12:60:00", "12:00:60", "24:00:01", "12:00", "12:00:00.", "12:00:00.1234567"] {
            assert_eq!(time(wrong.as_bytes()).filter(|(_, rest)| rest.is_empty()), None, "{wrong}");
        }
        for wrong in ["2024-01-01", "2024-01-01T00:00:00", "2024-01-01 00:00:00 02", "2024-01-01 00:00:00+2"] {
            assert_eq!(timestamp(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_zone_carries_over_midnight() {
        let of =
            |text: &str| timestamp(text.as_bytes()).map(|(date, micros)| (date.year, date.month, date.day, micros));
        assert_eq!(of("2024-03-01 00:30:00+01"), Some((2024, 2, 29, DAY_US - 1_800_000_000)));
        assert_eq!(of("2023-12-31 23:30:00-00:30:30"), Some((2024, 1, 1, 30_000_000)));
        assert_eq!(zoned_time(b"24:00:00-01"), Some(3_600_000_000));
        assert_eq!(zoned_time(b"24:00:00+00"), Some(DAY_US));
    }
}
