//! Dates and times of day in ISO 8601 form, as JSON carries them, and what ClickHouse and Postgres print.

use crate::calendar::{days, days_of_month};
use crate::encode::native::misfit::What;

/// Seconds of a day.
pub(super) const DAY_S: i64 = 86_400;

/// A point in time: seconds since 1970 in UTC, and billionths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// `2024-02-29`, `2024-02-29T12:34:56.789Z`, with a blank for the `T`, and any offset; without one it is UTC.
pub(super) fn instant(text: &str) -> Result<Instant, What> {
    let (days, rest) = date(text)?;
    let rest = match rest {
        [] | [b'Z' | b'z'] => return Ok(Instant { seconds: days * DAY_S, nanos: 0 }),
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return Err(What::Unreadable),
    };
    let (time, rest) = clock(rest)?;
    Ok(Instant { seconds: days * DAY_S + time.seconds - offset(rest)?, nanos: time.nanos })
}

/// `12:34:56.789`, with a `Z` or without; a sign, and hours beyond a day, as ClickHouse has them.
pub(super) fn time_of_day(text: &str) -> Result<(bool, Instant), What> {
    let (negative, text) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        text => (false, text),
    };
    let (time, rest) = clock(text)?;
    if offset(rest)? == 0 { Ok((negative, time)) } else { Err(What::Unreadable) }
}

/// Days since 1970 and what follows the date.
fn date(text: &str) -> Result<(i64, &[u8]), What> {
    let bytes = text.as_bytes();
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, ref rest @ ..] = bytes else {
        return Err(beyond(text));
    };
    let year = i64::from(two(y0, y1)?) * 100 + i64::from(two(y2, y3)?);
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    if rest.ends_with(b" BC") {
        return Err(What::OutOfRange);
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return Err(What::Unreadable);
    }
    Ok((days(year, i64::from(month), i64::from(day)), rest))
}

/// What is wrong with a text that is no date of four digits a year: it may be one that no column holds.
fn beyond(text: &str) -> What {
    let digits = text.trim_start_matches(['+', '-']);
    let year = digits.bytes().take_while(u8::is_ascii_digit).count();
    let is_far = year >= 4 && digits[year..].starts_with('-') && (year > 4 || digits.len() < text.len());
    if is_far || digits == "infinity" { What::OutOfRange } else { What::Unreadable }
}

/// `12:34:56.789` and what follows.
fn clock(text: &[u8]) -> Result<(Instant, &[u8]), What> {
    let hours_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(2..=3).contains(&hours_len) {
        return Err(What::Unreadable);
    }
    let hours = text[..hours_len].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let &[b':', m0, m1, ref rest @ ..] = &text[hours_len..] else { return Err(What::Unreadable) };
    let minute = two(m0, m1)?;
    let (second, rest) = match *rest {
        [b':', s0, s1, ref rest @ ..] => (two(s0, s1)?, rest),
        _ => (0, rest),
    };
    if minute > 59 || second > 59 {
        return Err(What::Unreadable);
    }
    let seconds = hours * 3600 + i64::from(minute) * 60 + i64::from(second);
    let (nanos, rest) = match rest {
        [b'.' | b',', rest @ ..] => fraction(rest)?,
        rest => (0, rest),
    };
    Ok((Instant { seconds, nanos }, rest))
}

/// Digits behind a second, in billionths.
fn fraction(text: &[u8]) -> Result<(u32, &[u8]), What> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    let (kept, lost) = digits.split_at(len.min(9));
    if kept.is_empty() {
        return Err(What::Unreadable);
    }
    if lost.iter().any(|digit| *digit != b'0') {
        return Err(What::Precision);
    }
    let sum = kept.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok((sum * 10_u32.pow(9 - kept.len() as u32), rest))
}

/// `Z`, `+02`, `-0330`, `+01:02:03` or nothing, in seconds.
fn offset(zone: &[u8]) -> Result<i64, What> {
    let (sign, mut rest) = match zone {
        [] | [b'Z' | b'z'] => return Ok(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Err(What::Unreadable),
    };
    let (mut sum, mut weight) = (0, 3600);
    while let [tens, ones, after @ ..] = rest {
        sum += i64::from(two(*tens, *ones)?) * weight;
        weight /= 60;
        rest = after.strip_prefix(b":").unwrap_or(after);
    }
    // At least the hours, at most the seconds.
    if rest.is_empty() && weight < 3600 && sum < DAY_S && zone.len() <= 9 {
        Ok(sign * sum)
    } else {
        Err(What::Unreadable)
    }
}

fn two(tens: u8, ones: u8) -> Result<u8, What> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok((tens - b'0') * 10 + (ones - b'0'))
    } else {
        Err(What::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_in_every_form_that_is_written() {
        for (text, seconds, nanos) in [
            ("1970-01-01", 0, 0),
            ("2024-02-29Z", 1_709_164_800, 0),
            ("2024-02-29T12:34:56.789Z", 1_709_210_096, 789_000_000),
            ("2024-02-29 12:34:56.789123", 1_709_210_096, 789_123_000),
            ("2024-02-29T12:34:56.000000Z", 1_709_210_096, 0),
            ("2024-02-29T14:34:56+02:00", 1_709_210_096, 0),
            ("2024-02-29T14:34:56+02", 1_709_210_096, 0),
            ("2024-02-29T09:04:56-0330", 1_709_210_096, 0),
            ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
            ("2024-02-29T12:34Z", 1_709_210_040, 0),
        ] {
            assert_eq!(instant(text), Ok(Instant { seconds, nanos }), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_says_why() {
        for (text, what) in [
            ("", What::Unreadable),
            ("2023-02-29", What::Unreadable),
            ("2024-13-01", What::Unreadable),
            ("2024-02-29T", What::Unreadable),
            ("2024-02-29T12:60:00Z", What::Unreadable),
            ("2024-02-29T12:34:56.Z", What::Unreadable),
            ("2024-02-29T12:34:56+2", What::Unreadable),
            ("2024-02-29T12:34:56+99:99:99:99", What::Unreadable),
            ("2024-02-29T12:34:56.1234567891Z", What::Precision),
            ("+12345-01-01T00:00:00Z", What::OutOfRange),
            ("12345-01-01", What::OutOfRange),
            ("-0044-03-15", What::OutOfRange),
            ("infinity", What::OutOfRange),
            ("-infinity", What::OutOfRange),
            ("tomorrow", What::Unreadable),
            ("é024-02-29", What::Unreadable),
        ] {
            assert_eq!(instant(text), Err(what), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_has_no_zone_but_that_of_greenwich() {
        let read = |text| time_of_day(text).map(|(negative, time)| (negative, time.seconds, time.nanos));
        assert_eq!(read("12:34:56.789Z"), Ok((false, 45_296, 789_000_000)));
        assert_eq!(read("24:00:00"), Ok((false, 86_400, 0)));
        assert_eq!(read("-123:00:01"), Ok((true, 442_801, 0)));
        assert_eq!(read("12:34:56+02"), Err(What::Unreadable));
    }
}
