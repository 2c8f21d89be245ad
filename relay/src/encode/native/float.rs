//! Floating-point numbers: the nearest one to what is written, unless more than its last digit would be lost.

use crate::encode::native::misfit::What;

/// Digits that every `Float32` and `Float64` is told by: what has no more was printed from one, or means one.
const DIGITS_32: usize = 9;
const DIGITS_64: usize = 17;

/// Reads a `Float64`. An integer beyond its digits, and one that is too large or too small, is refused.
pub(super) fn double(text: &str) -> Result<f64, What> {
    let value = word(text).map_or_else(|| finite(text, text.parse::<f64>().ok()), Ok)?;
    if value.is_finite() && digits(text) > DIGITS_64 && !is_exactly(text, value) {
        return Err(What::Precision);
    }
    check_integer(text, value)?;
    if value == 0.0 && digits(text) > 0 { Err(What::Precision) } else { Ok(value) }
}

/// Reads a `Float32`. A number of more digits than it has is refused, unless it is one.
pub(super) fn single(text: &str) -> Result<f32, What> {
    let value = word(text).map_or_else(|| finite(text, text.parse::<f32>().ok().map(f64::from)), Ok)?;
    if value.is_finite() && digits(text) > DIGITS_32 && text.parse::<f64>() != Ok(value) {
        return Err(What::Precision);
    }
    check_integer(text, value)?;
    if value == 0.0 && digits(text) > 0 { Err(What::Precision) } else { Ok(value as f32) }
}

/// The words that Postgres, Java and ClickHouse have for what is not finite.
fn word(text: &str) -> Option<f64> {
    Some(match text {
        "NaN" | "nan" | "-nan" => f64::NAN,
        "Infinity" | "inf" | "+Infinity" => f64::INFINITY,
        "-Infinity" | "-inf" => f64::NEG_INFINITY,
        _ => return None,
    })
}

fn finite(text: &str, read: Option<f64>) -> Result<f64, What> {
    // Rust also reads words, and numbers that no JSON has.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E')) {
        return Err(What::Unreadable);
    }
    let value = read.ok_or(What::Unreadable)?;
    if value.is_finite() { Ok(value) } else { Err(What::Overflow) }
}

/// An integer has no digits to spare: it is that one or none.
fn check_integer(text: &str, value: f64) -> Result<(), What> {
    let is_integer = value.is_finite() && !text.contains(['.', 'e', 'E']);
    if !is_integer || value.abs() < 16_777_216.0 || is_exactly(text, value) { Ok(()) } else { Err(What::Precision) }
}

/// Whether the integer `text` is the float, which prints all its digits before the point.
fn is_exactly(text: &str, value: f64) -> bool {
    !text.contains(['.', 'e', 'E']) && text.trim_start_matches(['+', '-', '0']) == format!("{:.0}", value.abs())
}

/// How many digits count.
fn digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let (mut count, mut zeros) = (0, 0);
    for digit in digits {
        match digit {
            b'0' if count == 0 => {}
            b'0' => zeros += 1,
            _ => {
                count += 1 + zeros;
                zeros = 0;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_double_is_what_is_written() {
        for (text, value) in [
            ("0", 0.0),
            ("-0.0", -0.0),
            ("0.1", 0.1),
            ("1e308", 1e308),
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("5e-324", 5e-324),
            ("Infinity", f64::INFINITY),
        ] {
            assert_eq!(double(text), Ok(value), "{text}");
        }
        assert!(double("NaN").is_ok_and(f64::is_nan));
        for (text, what) in [
            ("9007199254740993", What::Precision),
            ("1234567890123456789000", What::Precision),
            ("0.1234567890123456789", What::Precision),
            ("1e400", What::Overflow),
            ("1e-400", What::Precision),
            ("", What::Unreadable),
            ("1,5", What::Unreadable),
            ("nought", What::Unreadable),
        ] {
            assert_eq!(double(text), Err(what), "{text}");
        }
    }

    #[test]
    fn a_single_is_not_a_double_cut_short() {
        assert_eq!(single("0.1"), Ok(0.1));
        assert_eq!(single("16777216"), Ok(16_777_216.0));
        assert_eq!(single("0.5000000000000"), Ok(0.5));
        for text in ["16777217", "0.1234567890123", "3.141592653589793", "1e-60"] {
            assert_eq!(single(text), Err(What::Precision), "{text}");
        }
        assert_eq!(single("1e39"), Err(What::Overflow));
    }

    proptest! {
        #[test]
        fn what_a_float_prints_reads_as_that_float(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(double(&format!("{value:e}")).map(f64::to_bits), Ok(bits));
                let single_value = f32::from_bits(bits as u32);
                if single_value.is_finite() {
                    prop_assert_eq!(single(&format!("{single_value:e}")).map(f32::to_bits), Ok(bits as u32));
                }
            }
        }
    }
}
