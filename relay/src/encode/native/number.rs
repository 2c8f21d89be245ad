//! A decimal number, exactly: read from digits, from two's complement, and brought to a scale.

use crate::encode::native::base64;
use crate::encode::native::misfit::What;
use crate::encode::native::wide::{POWERS, Wide};

/// Exponents beyond this are nobody's number; whoever writes one shall not make us count to it.
const EXPONENT_MAX: i64 = 1_000_000;

/// Bytes of an unscaled number at most: those of 256 bits, and some that only say its sign.
const BYTES_MAX: usize = 48;

/// `± magnitude × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) negative: bool,
    pub(super) magnitude: Wide,
    pub(super) exponent: i64,
}

impl Number {
    /// Reads `-12.50`, `1e3`, as JSON and Postgres write numbers; the words for infinite ones are [`What::NotFinite`].
    pub(super) fn read(text: &str) -> Result<Self, What> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, bytes),
        };
        if matches!(bytes, b"NaN" | b"Infinity" | b"inf" | b"nan" | b"infinity") {
            return Err(What::NotFinite);
        }
        let e = bytes.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = match e {
            None => (bytes, 0),
            Some(at) => (&bytes[..at], exponent(&bytes[at + 1..])?),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            None => (mantissa, &[][..]),
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return Err(What::Unreadable);
        }
        // Only digits that count: zeros at either end may be as many as they like.
        let zeros = fraction.iter().rev().take_while(|digit| **digit == b'0').count();
        let fraction = &fraction[..fraction.len() - zeros];
        let leading = whole.iter().take_while(|digit| **digit == b'0').count();
        let whole = &whole[leading..];
        let magnitude = if whole.len() + fraction.len() < 20 {
            let digits = whole.iter().chain(fraction);
            Some(Wide::from_u64(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
        } else {
            Wide::from_digits(&[whole, fraction].concat())
        };
        let Some(magnitude) = magnitude else { return long(negative, whole, fraction, exponent) };
        Ok(Self { negative, magnitude, exponent: exponent - fraction.len() as i64 })
    }

    /// Reads bytes in two's complement, in Base64: an unscaled number, and its scale.
    pub(super) fn unscaled(text: &str, scale: i64) -> Result<Self, What> {
        let mut room = [0; BYTES_MAX];
        let bytes = base64::within(text, &mut room)?;
        if bytes.is_empty() {
            return Err(What::Unreadable);
        }
        let (negative, magnitude) = Wide::from_twos_complement(bytes).ok_or(What::Overflow)?;
        Ok(Self { negative, magnitude, exponent: scale.checked_neg().ok_or(What::Unreadable)? })
    }

    /// Its magnitude in units of `10^-scale`: exactly, or not at all.
    pub(super) fn scaled(self, scale: u32) -> Result<Wide, What> {
        let shift = self.exponent + i64::from(scale);
        if self.magnitude.is_zero() {
            return Ok(self.magnitude);
        }
        let places = u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX).min(1000);
        if shift >= 0 {
            self.magnitude.shifted(places).ok_or(What::Overflow)
        } else {
            self.magnitude.unshifted(places).ok_or(What::Precision)
        }
    }

    /// The same as [`scaled`](Self::scaled), with its sign, if 64 bits are enough on the way there, as they nearly always are.
    #[inline]
    pub(super) fn small(self, scale: u32) -> Option<i64> {
        let places = usize::try_from(self.exponent + i64::from(scale)).ok()?;
        let value = i64::try_from(self.magnitude.as_u64()?.checked_mul(*POWERS.get(places)?)?).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// Appends it in decimal digits, with as many behind the point as it has.
    pub(super) fn print(self, out: &mut Vec<u8>) -> Result<(), What> {
        if self.negative && !self.magnitude.is_zero() {
            out.push(b'-');
        }
        let places = usize::try_from(self.exponent.unsigned_abs()).map_err(|_| What::Overflow)?;
        if places as i64 > EXPONENT_MAX {
            return Err(What::Overflow);
        }
        let start = out.len();
        self.magnitude.print(out);
        if self.exponent >= 0 {
            let zeros = if self.magnitude.is_zero() { 0 } else { places };
            out.resize(out.len() + zeros, b'0');
            return Ok(());
        }
        let digits = out.len() - start;
        if digits <= places {
            out.splice(start..start, std::iter::repeat_n(b'0', places + 1 - digits));
        }
        out.insert(out.len() - places, b'.');
        Ok(())
    }
}

fn exponent(text: &[u8]) -> Result<i64, What> {
    let text = str::from_utf8(text).map_err(|_| What::Unreadable)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(What::Unreadable);
    }
    let exponent = text.parse::<i64>().ok().filter(|exponent| exponent.abs() <= EXPONENT_MAX);
    exponent.ok_or(What::Overflow)
}

/// A number of more digits than 256 bits hold: only one with zeros at its end can still be some column's.
fn long(negative: bool, whole: &[u8], fraction: &[u8], exponent: i64) -> Result<Number, What> {
    if !fraction.is_empty() {
        return Err(if whole.len() > 77 { What::Overflow } else { What::Precision });
    }
    let zeros = whole.iter().rev().take_while(|digit| **digit == b'0').count();
    let magnitude = Wide::from_digits(&whole[..whole.len() - zeros]).ok_or(What::Overflow)?;
    Ok(Number { negative, magnitude, exponent: exponent + zeros as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(number: Number) -> String {
        let mut out = Vec::new();
        number.print(&mut out).expect("printable");
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn a_number_prints_as_the_same_number() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("12.50", "12.5"),
            ("-0.05", "-0.05"),
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("25e-4", "0.0025"),
            ("000123", "123"),
            ("0.0000", "0"),
        ] {
            assert_eq!(Number::read(text).map(printed), Ok(expected.to_owned()), "{text}");
        }
        let long = format!("1{}", "0".repeat(200));
        assert_eq!(Number::read(&long).map(printed), Ok(long));
    }

    #[test]
    fn what_is_no_number_says_why() {
        for (text, what) in [
            ("", What::Unreadable),
            ("-", What::Unreadable),
            (".5", What::Unreadable),
            ("1e", What::Unreadable),
            ("1e999999999999", What::Overflow),
            ("1,5", What::Unreadable),
            ("NaN", What::NotFinite),
            ("-Infinity", What::NotFinite),
            ("0x10", What::Unreadable),
        ] {
            assert_eq!(Number::read(text), Err(what), "{text}");
        }
    }

    #[test]
    fn a_scale_is_reached_exactly_or_not_at_all() {
        let scaled = |text: &str, scale| Number::read(text).expect("a number").scaled(scale);
        assert_eq!(scaled("12.5", 2), Ok(Wide::from_u64(1250)));
        assert_eq!(scaled("12.50", 1), Ok(Wide::from_u64(125)));
        assert_eq!(scaled("12.55", 1), Err(What::Precision));
        assert_eq!(scaled("5.0", 0), Ok(Wide::from_u64(5)));
        assert_eq!(scaled("1e77", 0), Wide::power_of_ten(77).ok_or(What::Overflow));
        assert_eq!(scaled("1e78", 0), Err(What::Overflow));
        assert_eq!(scaled("1e-999999", 3), Err(What::Precision));
        assert_eq!(scaled("0e999999", 3), Ok(Wide::default()));
    }

    #[test]
    fn twos_complement_reads_with_its_scale() {
        assert_eq!(Number::unscaled("AJY=", 1).map(printed), Ok("15.0".to_owned()));
        assert_eq!(Number::unscaled("nA==", 2).map(printed), Ok("-1.00".to_owned()));
        assert_eq!(Number::unscaled("Dw==", -2).map(printed), Ok("1500".to_owned()));
        assert_eq!(Number::unscaled("", 0), Err(What::Unreadable));
        assert_eq!(Number::unscaled("12.5", 0), Err(What::Unreadable));
    }
}
