//! `interval` in the style that the relay's sessions have it printed in, `postgres`:
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-INTERVAL-OUTPUT>.

use crate::shape::change::types::calendar::DAY_US;
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Interval;
use crate::shape::json;

/// A month, as Debezium counts it: a twelfth of 365.25 days.
const MONTH_US: i128 = 2_629_800_000_000;

/// What an interval is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Parts { years: i64, months: i64, days: i64, micros: i64 },
    Forever,
    BackForever,
}

/// Appends what `interval_out` printed.
pub(super) fn write(text: &[u8], form: Interval, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let span = Span::read(text).ok_or(Misfit::NotOfType)?;
    match form {
        Interval::Numeric => json::integer(span.micros(), out),
        Interval::IsoString => span.print(out),
    }
    Ok(())
}

impl Span {
    /// `1 year 2 mons -3 days +04:05:06.789`, each part with its sign.
    fn read(text: &[u8]) -> Option<Self> {
        match text {
            b"infinity" => return Some(Self::Forever),
            b"-infinity" => return Some(Self::BackForever),
            _ => {}
        }
        let (mut years, mut months, mut days, mut micros) = (0, 0, 0, 0);
        let mut words = text.split(|byte| *byte == b' ');
        // How far down the parts have come: each stands once, in this order.
        let mut reached = 0;
        while let Some(word) = words.next() {
            let (place, part, value) = if word.contains(&b':') {
                (4, &mut micros, clock(word)?)
            } else {
                match words.next()? {
                    b"year" | b"years" => (1, &mut years, number(word)?),
                    b"mon" | b"mons" => (2, &mut months, number(word)?),
                    b"day" | b"days" => (3, &mut days, number(word)?),
                    _ => return None,
                }
            };
            if place <= reached {
                return None;
            }
            reached = place;
            *part = value;
        }
        Some(Self::Parts { years, months, days, micros })
    }

    /// Beyond what 64 bits hold it is the most that they do.
    fn micros(self) -> i64 {
        match self {
            Self::Parts { years, months, days, micros } => {
                let months = i128::from(years) * 12 + i128::from(months);
                let sum = months * MONTH_US + i128::from(days) * i128::from(DAY_US) + i128::from(micros);
                sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
            }
            Self::Forever => i64::MAX,
            Self::BackForever => i64::MIN,
        }
    }

    /// `P1Y2M3DT4H5M6.789S`.
    fn print(self, out: &mut Vec<u8>) {
        let Self::Parts { years, months, days, micros } = self else {
            out.extend_from_slice(if self == Self::Forever { br#""infinity""# } else { br#""-infinity""# });
            return;
        };
        let (hours, minutes) = (micros / 3_600_000_000, micros / 60_000_000 % 60);
        out.extend_from_slice(br#""P"#);
        for (part, unit) in [(years, &b"Y"[..]), (months, b"M"), (days, b"DT"), (hours, b"H"), (minutes, b"M")] {
            json::integer(part, out);
            out.extend_from_slice(unit);
        }
        let rest = micros % 60_000_000;
        if rest < 0 {
            out.push(b'-');
        }
        json::integer((rest / 1_000_000).abs(), out);
        let mut fraction = (rest % 1_000_000).abs();
        if fraction > 0 {
            out.push(b'.');
        }
        while fraction > 0 {
            out.push(b'0' + (fraction / 100_000) as u8);
            fraction = fraction % 100_000 * 10;
        }
        out.extend_from_slice(br#"S""#);
    }
}

/// `2`, `+2` or `-2`, of 32 bits.
fn number(text: &[u8]) -> Option<i64> {
    let (sign, digits) = signed(text);
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| sign * digits.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0')))
}

/// `04:05:06.789` with its sign, in microseconds; any number of hours.
fn clock(text: &[u8]) -> Option<i64> {
    let (sign, text) = signed(text);
    let colon = text.iter().position(|byte| *byte == b':').filter(|len| (2..=10).contains(len))?;
    let hours = text[..colon]
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))?;
    let mut rest = [b'0'; 16];
    let tail = &text[colon..];
    rest.get_mut(2..2 + tail.len())?.copy_from_slice(tail);
    let (micros, after) = crate::shape::change::types::calendar::time(&rest[..2 + tail.len()])?;
    let hours = hours.checked_mul(3_600_000_000)?;
    after.is_empty().then_some(sign * hours.checked_add(micros)?)
}

fn signed(text: &[u8]) -> (i64, &[u8]) {
    match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in [
            "",
            " ",
            "1",
            "1 year 1 year",
            "1 day 1 year",
            "04:05",
            "1:00:00",
            "04:60:00",
            "P1Y",
            "1 week",
            "-",
            "04:05:06 1 day",
            "99999999999 days",
            "9999999999:00:00",
            "04:05:06.1234567",
        ] {
            assert_eq!(Span::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_most_is_what_64_bits_hold() {
        for (text, micros) in [
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
            ("178000000 years", i64::MAX),
            ("-178000000 years", i64::MIN),
            ("2562047788:00:54.775807", i64::MAX),
        ] {
            assert_eq!(Span::read(text.as_bytes()).map(Span::micros), Some(micros), "{text}");
        }
    }
}
