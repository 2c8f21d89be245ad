//! Floating-point numbers: the digits that Postgres prints, laid out as Java lays them out.
//!
//! Both print the fewest digits that name the number (Java since 19, Postgres since 12), so nothing is computed: a value is
//! its own digits with the point elsewhere. <https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT>,
//! <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/lang/Double.html#toString(double)>

use std::fmt::Write;

use crate::shape::change::types::misfit::Misfit;

/// Digits of a number at most: 17 of a `double precision`, and zeros that Postgres prints rather than an exponent.
const DIGITS_MAX: usize = 24;

/// As many digits as any decimal number may have and still be the shortest name of the double nearest to it.
const EXACT_DIGITS: usize = 15;

/// A number that is written as it would be with this many bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// `real`.
    Single,
    /// `double precision`.
    Double,
}

/// Appends what `float4out` or `float8out` printed.
#[inline]
pub(super) fn write(text: &[u8], width: Width, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if is_laid_out(text) {
        out.extend_from_slice(text);
        return Ok(());
    }
    lay_out(text, width, out)
}

/// Whether Java lays a number out as Postgres does: with a point, without an exponent, and neither too large nor too small.
#[inline]
fn is_laid_out(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    let whole = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(fraction) = number[whole..].strip_prefix(b".") else { return false };
    let is_whole = match number[..whole] {
        [b'0'] => !fraction.starts_with(b"000"),
        [first, ..] => first != b'0' && whole <= 7,
        [] => false,
    };
    is_whole
        && number.len() <= DIGITS_MAX
        && fraction.last().is_some_and(|last| *last != b'0')
        && fraction.iter().all(u8::is_ascii_digit)
}

fn lay_out(text: &[u8], width: Width, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if special(text, out) {
        return Ok(());
    }
    let digits = Digits::read(text).ok_or(Misfit::NotOfType)?;
    let most = match width {
        Width::Single => 39,
        Width::Double => 309,
    };
    // What no reader of JSON could hold is no number of that type either.
    if digits.exponent >= most && is_beyond(text, width) {
        return Err(Misfit::NotOfType);
    }
    // Java prints two digits at least, and rounds to them where one would do: of the smallest numbers the second is no zero.
    let least = match width {
        Width::Single => -40,
        Width::Double => -300,
    };
    if digits.len == 1 && digits.exponent < least {
        let text = str::from_utf8(text).map_err(|_| Misfit::NotOfType)?;
        let two = match width {
            Width::Single => printed(format_args!("{:.1e}", text.parse::<f32>().map_err(|_| Misfit::NotOfType)?)),
            Width::Double => printed(format_args!("{:.1e}", text.parse::<f64>().map_err(|_| Misfit::NotOfType)?)),
        };
        return two.ok_or(Misfit::NotOfType).map(|digits| digits.layout(out));
    }
    digits.layout(out);
    Ok(())
}

/// Whether the nearest number of that width is an infinite one.
fn is_beyond(text: &[u8], width: Width) -> bool {
    let Ok(text) = str::from_utf8(text) else { return true };
    match width {
        Width::Single => text.parse::<f32>().is_ok_and(f32::is_infinite),
        Width::Double => text.parse::<f64>().is_ok_and(f64::is_infinite),
    }
}

/// Appends the double nearest to a decimal number of any length, in plain digits or with an exponent.
pub(super) fn nearest(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    if special(text, out) {
        return Ok(());
    }
    match Digits::read(text) {
        Some(digits) if digits.len <= EXACT_DIGITS && digits.exponent.abs() < 300 => digits.layout(out),
        _ => {
            let number = text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e'));
            let text = str::from_utf8(text).ok().filter(|_| number).ok_or(Misfit::NotOfType)?;
            value(text.parse().map_err(|_| Misfit::NotOfType)?, out);
        }
    }
    Ok(())
}

/// Appends a double.
pub(super) fn value(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        match printed(format_args!("{value:e}")) {
            Some(digits) => digits.layout(out),
            None => out.extend_from_slice(b"0.0"),
        }
    } else {
        let name: &[u8] = match (value.is_nan(), value > 0.0) {
            (true, _) => b"NaN",
            (_, true) => b"Infinity",
            _ => b"-Infinity",
        };
        special(name, out);
    }
}

/// What is no number JSON has, as the string that Jackson makes of it; false if it is one.
fn special(text: &[u8], out: &mut Vec<u8>) -> bool {
    let special = matches!(text, b"NaN" | b"Infinity" | b"-Infinity");
    if special {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
    special
}

/// A number that was printed into a place of its own.
fn printed(number: std::fmt::Arguments<'_>) -> Option<Digits> {
    struct Place {
        bytes: [u8; 32],
        len: usize,
    }
    impl Write for Place {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let end = self.len + text.len();
            self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
            self.len = end;
            Ok(())
        }
    }
    let mut place = Place { bytes: [0; 32], len: 0 };
    place.write_fmt(number).ok()?;
    Digits::read(&place.bytes[..place.len])
}

/// `0.d₁d₂…dₙ × 10^exponent`, without zeros at either end; zero has no digits.
struct Digits {
    negative: bool,
    digits: [u8; DIGITS_MAX],
    len: usize,
    exponent: i32,
}

impl Digits {
    /// `None` if the text is no number, or has more digits than a float has.
    fn read(text: &[u8]) -> Option<Self> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (number, power) = match rest.iter().position(|byte| *byte == b'e') {
            Some(at) => (&rest[..at], power(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let mut digits = Self { negative, digits: [0; DIGITS_MAX], len: 0, exponent: 0 };
        let (mut zeros, mut point, mut any) = (0, false, false);
        for byte in number {
            match byte {
                b'.' if !point && any => point = true,
                b'0'..=b'9' => {
                    any = true;
                    match (*byte, digits.len) {
                        (b'0', 0) => digits.exponent -= i32::from(point),
                        (b'0', _) => {
                            zeros += 1;
                            digits.exponent += i32::from(!point);
                        }
                        _ => {
                            let end = digits.len + zeros;
                            digits.digits.get_mut(digits.len..end)?.fill(b'0');
                            *digits.digits.get_mut(end)? = *byte;
                            digits.len = end + 1;
                            zeros = 0;
                            digits.exponent += i32::from(!point);
                        }
                    }
                }
                _ => return None,
            }
        }
        digits.exponent = digits.exponent.checked_add(power)?;
        (any && number.last() != Some(&b'.')).then_some(digits)
    }

    /// Between a thousandth and ten millions in plain digits, else with an exponent; always with a digit behind the point.
    fn layout(&self, out: &mut Vec<u8>) {
        const ZEROS: &[u8] = b"0000000";
        if self.negative {
            out.push(b'-');
        }
        let digits = &self.digits[..self.len];
        let Some((first, rest)) = digits.split_first() else {
            out.extend_from_slice(b"0.0");
            return;
        };
        match usize::try_from(self.exponent) {
            Ok(whole @ 1..=7) => {
                let (before, after) = digits.split_at(whole.min(self.len));
                out.extend_from_slice(before);
                out.extend_from_slice(&ZEROS[..whole - before.len()]);
                out.push(b'.');
                out.extend_from_slice(if after.is_empty() { b"0" } else { after });
            }
            _ if (-2..=0).contains(&self.exponent) => {
                out.extend_from_slice(b"0.");
                out.extend_from_slice(&ZEROS[..self.exponent.unsigned_abs() as usize]);
                out.extend_from_slice(digits);
            }
            _ => {
                out.extend_from_slice(&[*first, b'.']);
                out.extend_from_slice(if rest.is_empty() { b"0" } else { rest });
                out.push(b'E');
                crate::shape::json::integer(i64::from(self.exponent) - 1, out);
            }
        }
    }
}

/// `+20`, `-05`.
fn power(text: &[u8]) -> Option<i32> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if !(1..=4).contains(&digits.len()) {
        return None;
    }
    let power = digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i32::from(byte - b'0')));
    power.map(|power| sign * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("a number");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_double_of_any_size_is_the_nearest_one() {
        for (decimal, expected) in [
            ("0", "0.0"),
            ("0.000", "0.0"),
            ("-12.50", "-12.5"),
            ("1000000", "1000000.0"),
            ("10000000", "1.0E7"),
            ("0.00100", "0.001"),
            ("0.000999", "9.99E-4"),
            ("9007199254740993", "9.007199254740992E15"),
            ("123456789012345678901234567890.123456789", "1.2345678901234568E29"),
        ] {
            assert_eq!(text(|out| nearest(decimal.as_bytes(), out)), expected, "{decimal}");
        }
        let large = format!("1{}", "0".repeat(400));
        assert_eq!(text(|out| nearest(large.as_bytes(), out)), r#""Infinity""#);
        for wrong in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "1.2.3",
            "1e",
            "1e+",
            "0x10",
            "inf",
            "nan",
            "1 ",
            "--1",
            "1e99999",
            "7e777",
            "-1.8e308",
            "1e00000000000000000001",
        ] {
            assert_eq!(write(wrong.as_bytes(), Width::Double, &mut Vec::new()), Err(Misfit::NotOfType), "{wrong}");
        }
    }

    #[test]
    fn the_largest_numbers_of_a_width_are_numbers_and_larger_ones_are_not() {
        let is_number = |text: &str, width| write(text.as_bytes(), width, &mut Vec::new()).is_ok();
        assert!(is_number("1.7976931348623157e+308", Width::Double) && is_number("-3.4028235e+38", Width::Single));
        assert!(!is_number("1.8e+308", Width::Double) && !is_number("3.5e+38", Width::Single));
    }

    #[test]
    fn what_is_laid_out_as_java_does_is_only_copied() {
        for number in [
            "0.001",
            "0.0012",
            "0.00012",
            "0.1",
            "1.5",
            "-1.5",
            "1.50",
            "1234567.5",
            "12345678.5",
            "0.0",
            "-0.0",
            "01.5",
            "1.",
            ".5",
            "1.5e3",
            "0",
            "-",
            "",
            "1.5.5",
            "0.00100",
        ] {
            let (mut copied, mut laid_out) = (Vec::new(), Vec::new());
            let results = [
                write(number.as_bytes(), Width::Double, &mut copied),
                lay_out(number.as_bytes(), Width::Double, &mut laid_out),
            ];
            if is_laid_out(number.as_bytes()) || results[1].is_ok() {
                assert_eq!((results[0], &copied), (results[1], &laid_out), "{number}");
            }
        }
    }

    #[test]
    fn every_double_reads_back() {
        for bits in (0..u64::from(u16::MAX)).map(|step| step * 0x0001_0001_0001_0101) {
            let number = f64::from_bits(bits);
            if !number.is_finite() {
                continue;
            }
            let written = text(|out| {
                value(number, out);
                Ok(())
            });
            assert_eq!(written.parse(), Ok(number), "{written}");
            let laid_out = text(|out| write(format!("{number:e}").as_bytes(), Width::Double, out));
            assert_eq!(laid_out.parse(), Ok(number), "{laid_out}");
        }
    }
}
