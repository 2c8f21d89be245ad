//! What Postgres's `jsonb` makes of a JSON text: whether it takes it, and how many bytes it will print.
//!
//! A text that passes here is not refused by the server, so a bad payload is an error with a name before the transaction is
//! touched, instead of a broken transaction. The rules are those of
//! <https://www.postgresql.org/docs/current/datatype-json.html> and <https://www.postgresql.org/docs/current/datatype-numeric.html>.

use crate::error::{Error, Field};
use crate::limits::PAYLOAD_DEPTH_MAX;

/// Digits that `numeric` holds before the decimal point.
const INTEGER_DIGITS_MAX: i64 = 131_072;
/// Digits that `numeric` holds after the decimal point.
const FRACTION_DIGITS_MAX: i64 = 16_383;
/// PostgreSQL 15 refuses larger exponents before it looks at the digits, even those of a zero; later majors take the zero.
const EXPONENT_MAX: i64 = 1_073_741_822;

/// The bytes that Postgres will print for `json`, which must be grammatically correct JSON.
///
/// Exact, unless an object repeats a key: `jsonb` keeps the last one only, and this counts all.
pub(crate) fn printed_bytes(json: &str) -> Result<usize, Error> {
    let bytes = json.as_bytes();
    let (mut at, mut printed, mut depth) = (0, 0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let (read, wrote) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => (1, 0),
            b',' | b':' => (1, 2),
            b'[' | b'{' => {
                depth += 1;
                check_depth(depth)?;
                (1, 1)
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                (1, 1)
            }
            b'"' => string(&bytes[at..])?,
            b'-' | b'0'..=b'9' => number(&bytes[at..])?,
            _ => (1, 1), // A letter of `true`, `false` or `null`.
        };
        at += read;
        printed += wrote;
    }
    Ok(printed)
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > PAYLOAD_DEPTH_MAX {
        return Err(Error::TooLarge { field: Field::Payload, size: depth, limit: PAYLOAD_DEPTH_MAX, unit: "levels" });
    }
    Ok(())
}

fn refused<T>(reason: &'static str) -> Result<T, Error> {
    Err(Error::Refused { field: Field::Payload, reason })
}

/// The bytes read and printed of the string that `bytes` opens with, its quotes included.
fn string(bytes: &[u8]) -> Result<(usize, usize), Error> {
    let (mut at, mut printed) = (1, 2);
    loop {
        let (read, wrote) = match bytes.get(at) {
            None => return refused("ends inside a string"),
            Some(b'"') => return Ok((at + 1, printed)),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => unicode_escape(&bytes[at..])?,
            Some(b'\\') if bytes.get(at + 1) == Some(&b'/') => (2, 1),
            Some(b'\\') => (2, 2),
            Some(_) => (1, 1),
        };
        at += read;
        printed += wrote;
    }
}

/// The bytes read and printed of the `\uXXXX`, or the pair of them, that `bytes` opens with.
fn unicode_escape(bytes: &[u8]) -> Result<(usize, usize), Error> {
    match code_unit(bytes) {
        Some(0) => refused("holds \\u0000, which jsonb cannot store; send it as bytes, or without that character"),
        Some(0xd800..=0xdbff) => match code_unit(bytes.get(6..).unwrap_or_default()) {
            Some(0xdc00..=0xdfff) => Ok((12, 4)),
            _ => refused("holds the first half of a surrogate pair without its second"),
        },
        Some(0xdc00..=0xdfff) => refused("holds the second half of a surrogate pair without its first"),
        Some(unit) => Ok((6, printed_escape(unit))),
        None => refused("holds a \\u that four hexadecimal digits do not follow"),
    }
}

/// The code unit of the `\uXXXX` that `bytes` opens with.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The bytes that Postgres prints for a character that was written as an escape.
fn printed_escape(unit: u16) -> usize {
    match unit {
        0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x22 | 0x5c => 2, // Printed as \b \t \n \f \r \" \\.
        0x00..=0x1f => 6,
        0x20..=0x7f => 1,
        0x80..=0x7ff => 2,
        _ => 3,
    }
}

/// The bytes read and printed of the number that `bytes` opens with. `jsonb` holds it as a `numeric`, printed without exponent.
fn number(bytes: &[u8]) -> Result<(usize, usize), Error> {
    let read = bytes
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .unwrap_or(bytes.len());
    let negative = bytes[0] == b'-';
    let text = &bytes[usize::from(negative)..read];
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent_value(&text[at + 1..])),
        None => (text, 0),
    };
    let (integer, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };

    // What is written after the point, less what the exponent moves before it, is kept: 1.50e1 is printed as 15.0.
    let fraction_digits = (length(fraction) - exponent).max(0);
    let zeros = integer.iter().chain(fraction).take_while(|byte| **byte == b'0').count() as i64;
    let is_zero = zeros == length(integer) + length(fraction);
    let integer_digits = if is_zero { 0 } else { length(integer) + exponent - zeros };
    if exponent.abs() > EXPONENT_MAX || fraction_digits > FRACTION_DIGITS_MAX || integer_digits > INTEGER_DIGITS_MAX {
        return refused("holds a number beyond the range of jsonb: 131072 digits before the point, 16383 after it");
    }
    let sign = i64::from(negative && !is_zero);
    let point = i64::from(fraction_digits > 0);
    let printed = sign + integer_digits.max(1) + point + fraction_digits;
    Ok((read, usize::try_from(printed).expect("the sum of lengths is not negative")))
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).expect("a slice is never longer than i64::MAX")
}

/// The value of an exponent's digits, cut off far beyond what is allowed.
fn exponent_value(digits: &[u8]) -> i64 {
    let (sign, digits) = match digits.split_first() {
        Some((b'-', rest)) => (-1, rest),
        Some((b'+', rest)) => (1, rest),
        _ => (1, digits),
    };
    let value = digits.iter().fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX + 1));
    sign * value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, printed: &str) {
        assert_eq!(printed_bytes(json).unwrap(), printed.len(), "{json}");
    }

    /// Each line was printed by Postgres: `select '…'::jsonb::text`. The tests of the package `end-to-end` ask the server again.
    #[test]
    fn counts_the_bytes_that_postgres_prints() {
        check("{}", "{}");
        check("{\"a\":1,\"b\":[1,2]}", "{\"a\": 1, \"b\": [1, 2]}");
        check(" [ true ,\tfalse,\r\nnull ] ", "[true, false, null]");
        check(r#""a\/b\u0041\u00e9\ud83d\ude00""#, "\"a/bAé😀\"");
        check(r#""\b\f\n\r\t\"\\\u0008\u0001\u001f""#, r#""\b\f\n\r\t\"\\\b\u0001\u001f""#);
        check("1e2", "100");
        check("1.50e1", "15.0");
        check("-1.5E+3", "-1500");
        check("12345e-3", "12.345");
        check("0.00012e2", "0.012");
        check("-0", "0");
        check("-0.0", "0.0");
        check("0e-5", "0.00000");
        check("0e999999", "0");
        check("0.0e5", "0");
        check("-0.5", "-0.5");
        assert_eq!(printed_bytes("1e131071").unwrap(), 131_072);
        assert_eq!(printed_bytes("1e-16383").unwrap(), 16_385);
    }

    #[test]
    fn refuses_what_jsonb_refuses() {
        for json in [
            r#""\u0000""#,
            r#"{"\u0000":1}"#,
            r#""\ud800""#,
            r#""\ud800x""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "1e131072",
            "0.1e131073",
            "1e-16384",
            "1.5e-16383",
            "0e99999999999",
            "1e-99999999999999999999999999",
        ] {
            assert!(matches!(printed_bytes(json), Err(Error::Refused { field: Field::Payload, .. })), "{json}");
        }
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_not_an_escape() {
        check(r#""\\u0000""#, r#""\\u0000""#);
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(printed_bytes(&nested(PAYLOAD_DEPTH_MAX)).unwrap(), 2 * PAYLOAD_DEPTH_MAX);
        assert!(matches!(printed_bytes(&nested(PAYLOAD_DEPTH_MAX + 1)), Err(Error::TooLarge { unit: "levels", .. })));
    }
}
