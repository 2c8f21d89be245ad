//! Values of as many bytes each: numbers, dates and times, UUIDs, addresses, labels.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::encode::native::float;
use crate::encode::native::misfit::What;
use crate::encode::native::number::Number;
use crate::encode::native::reading::Reading;
use crate::encode::native::shape::Shape;
use crate::encode::native::temporal;
use crate::encode::native::text;
use crate::encode::native::value::{Text, Value};
use crate::encode::native::wide::{POWERS, Wide};

/// Appends the bytes of a value of that shape. After an error nothing is appended, unless it is a text.
#[inline]
pub(super) fn push(
    shape: &Shape,
    value: Value<'_>,
    reading: &Reading,
    round: bool,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    match shape {
        Shape::Integer { width, signed } => integer(*width, *signed, value, reading, out),
        Shape::Uuid => {
            let Value::Text(text) = value else { return Err(What::Kind) };
            out.extend_from_slice(&uuid(&text.decoded()?)?);
            Ok(())
        }
        Shape::DateTime64(digits, _) => put(temporal::ticks(value, reading, *digits, round)?.to_le_bytes(), out),
        Shape::Float64 => put(float::double(&digits(value)?)?.to_le_bytes(), out),
        Shape::Float32 => put(float::single(&digits(value)?)?.to_le_bytes(), out),
        Shape::Bool => put([u8::from(boolean(value)?)], out),
        Shape::Decimal { precision, scale } => decimal(*precision, *scale, value, reading, out),
        Shape::Date32 => put(temporal::days(value, reading, round)?.to_le_bytes(), out),
        Shape::Date => {
            let days = u16::try_from(temporal::days(value, reading, round)?).map_err(|_| What::OutOfRange)?;
            put(days.to_le_bytes(), out)
        }
        Shape::DateTime(_) => put(temporal::seconds(value, reading, round)?.to_le_bytes(), out),
        Shape::Time64(digits) => put(temporal::time(value, reading, *digits, round)?.to_le_bytes(), out),
        Shape::Time => {
            let seconds = i32::try_from(temporal::time(value, reading, 0, round)?).map_err(|_| What::OutOfRange)?;
            put(seconds.to_le_bytes(), out)
        }
        Shape::Enum { wide, labels } => label(*wide, labels, value, out),
        Shape::Ipv4 => match address(value)? {
            IpAddr::V4(address) => put(u32::from(address).to_le_bytes(), out),
            IpAddr::V6(_) => Err(What::Unreadable),
        },
        Shape::Ipv6 => match address(value)? {
            IpAddr::V4(address) => put(address.to_ipv6_mapped().octets(), out),
            IpAddr::V6(address) => put(address.octets(), out),
        },
        Shape::FixedString(width) => padded(*width, value, reading, out),
        _ => Err(What::Kind),
    }
}

#[inline]
fn put<const N: usize>(bytes: [u8; N], out: &mut Vec<u8>) -> Result<(), What> {
    out.extend_from_slice(&bytes);
    Ok(())
}

#[inline]
fn integer(width: usize, signed: bool, value: Value<'_>, reading: &Reading, out: &mut Vec<u8>) -> Result<(), What> {
    if let Value::Number(text) = value
        && let Some(value) = small(text)
        && width <= 8
    {
        return push_integer(width, signed, value, out);
    }
    if let (Value::Bool(value), 1) = (value, width) {
        out.push(u8::from(value));
        return Ok(());
    }
    let number = number(value, reading, None)?;
    let magnitude = number.scaled(0)?;
    let bytes = magnitude.bytes(number.negative, signed, width).ok_or(What::Overflow)?;
    out.extend_from_slice(&bytes[..width]);
    Ok(())
}

/// Appends an integer of at most eight bytes.
#[inline]
pub(super) fn push_integer(width: usize, signed: bool, value: i64, out: &mut Vec<u8>) -> Result<(), What> {
    let bits = width as u32 * 8;
    let fits = match (signed, bits) {
        (true, 64) => true,
        (false, 64) => value >= 0,
        (true, bits) => (value >> (bits - 1)) == 0 || (value >> (bits - 1)) == -1,
        (false, bits) => value >> bits == 0,
    };
    if !fits {
        return Err(What::Overflow);
    }
    out.extend_from_slice(&value.to_le_bytes()[..width]);
    Ok(())
}

/// An integer of at most 18 digits, as nearly all are.
#[inline]
fn small(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut sum = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum * 10 + i64::from(digit);
    }
    Some(if negative { -sum } else { sum })
}

/// The number that a value is, exactly. `scale` is that of the column, where it is all that tells of unscaled bytes.
fn number(value: Value<'_>, reading: &Reading, scale: Option<u32>) -> Result<Number, What> {
    match value {
        Value::Number(text) => Number::read(text),
        Value::Text(text) => match (reading, scale) {
            (Reading::Decimal { scale }, _) => Number::unscaled(&text.decoded()?, i64::from(*scale)),
            (Reading::Captured, Some(scale)) if !is_word(text) => Number::unscaled(&text.decoded()?, i64::from(scale)),
            (Reading::Lsn, _) => lsn(&text.decoded()?),
            _ => Number::read(&text.decoded()?),
        },
        Value::Object(json) => text::scaled(json)?.ok_or(What::Kind),
        _ => Err(What::Kind),
    }
}

/// Whether it is one of the words for what is not finite, as decimals that are written as text have them.
fn is_word(text: Text<'_>) -> bool {
    matches!(text.verbatim(), Some("NaN" | "Infinity" | "-Infinity"))
}

fn decimal(precision: u32, scale: u32, value: Value<'_>, reading: &Reading, out: &mut Vec<u8>) -> Result<(), What> {
    let number = number(value, reading, Some(scale))?;
    let width = Shape::Decimal { precision, scale }.width().ok_or(What::Kind)?;
    if let Some(small) = number.small(scale) {
        // Nineteen digits hold any number of 64 bits.
        if POWERS.get(precision as usize).is_some_and(|limit| small.unsigned_abs() >= *limit) {
            return Err(What::Overflow);
        }
        let (low, high) = (small.to_le_bytes(), [if small < 0 { 0xff } else { 0 }; 24]);
        out.extend_from_slice(&low[..width.min(8)]);
        out.extend_from_slice(&high[..width.saturating_sub(8)]);
        return Ok(());
    }
    let magnitude = number.scaled(scale)?;
    let limit = Wide::power_of_ten(precision).ok_or(What::Overflow)?;
    if !magnitude.is_below(limit) {
        return Err(What::Overflow);
    }
    let bytes = magnitude.bytes(number.negative, true, width).ok_or(What::Overflow)?;
    out.extend_from_slice(&bytes[..width]);
    Ok(())
}

/// `16/B374D848`: <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>.
fn lsn(text: &str) -> Result<Number, What> {
    let (high, low) = text.split_once('/').ok_or(What::Unreadable)?;
    let part = |digits: &str| {
        let value = u32::from_str_radix(digits, 16).map_err(|_| What::Unreadable)?;
        if digits.starts_with('+') { Err(What::Unreadable) } else { Ok(u64::from(value)) }
    };
    Ok(Number { negative: false, magnitude: Wide::from_u64(part(high)? << 32 | part(low)?), exponent: 0 })
}

/// A number as it is written, with quotes or without.
#[inline]
fn digits<'v>(value: Value<'v>) -> Result<Cow<'v, str>, What> {
    match value {
        Value::Number(text) => Ok(Cow::Borrowed(text)),
        Value::Text(text) => text.decoded(),
        _ => Err(What::Kind),
    }
}

fn boolean(value: Value<'_>) -> Result<bool, What> {
    match value {
        Value::Bool(value) => Ok(value),
        Value::Number("0") => Ok(false),
        Value::Number("1") => Ok(true),
        Value::Text(text) => match &*text.decoded()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(What::Unreadable),
        },
        _ => Err(What::Kind),
    }
}

/// The bytes that ClickHouse keeps of a UUID: its two halves as numbers, each with the lowest byte first.
#[inline]
pub(super) fn uuid(text: &str) -> Result<[u8; 16], What> {
    let mut digits = [0; 32];
    match text.as_bytes() {
        [a @ .., b'-', b, c, d, e, b'-', f, g, h, i, b'-', j, k, l, m, b'-', _, _, _, _, _, _, _, _, _, _, _, _]
            if a.len() == 8 =>
        {
            digits[..8].copy_from_slice(a);
            digits[8..20].copy_from_slice(&[*b, *c, *d, *e, *f, *g, *h, *i, *j, *k, *l, *m]);
            digits[20..].copy_from_slice(&text.as_bytes()[24..]);
        }
        bare if bare.len() == 32 => digits.copy_from_slice(bare),
        _ => return Err(What::Unreadable),
    }
    let mut bytes = [0; 16];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (text::NIBBLES[usize::from(*high)], text::NIBBLES[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    if seen > 0xf {
        return Err(What::Unreadable);
    }
    bytes[..8].reverse();
    bytes[8..].reverse();
    Ok(bytes)
}

fn label(wide: bool, labels: &[(String, i16)], value: Value<'_>, out: &mut Vec<u8>) -> Result<(), What> {
    let Value::Text(text) = value else { return Err(What::Kind) };
    let text = text.decoded()?;
    let (_, number) = labels.iter().find(|(label, _)| *label == *text).ok_or(What::Label)?;
    let bytes = number.to_le_bytes();
    out.extend_from_slice(&bytes[..1 + usize::from(wide)]);
    Ok(())
}

/// An address. A network of one address is that address; one of more has a length that would be lost.
fn address(value: Value<'_>) -> Result<IpAddr, What> {
    let Value::Text(text) = value else { return Err(What::Kind) };
    let text: &str = &text.decoded()?;
    let (address, whole) = match text.split_once('/') {
        None => (text, true),
        Some((address, length)) => (address, length == if address.contains(':') { "128" } else { "32" }),
    };
    let read = address.parse::<Ipv4Addr>().map(IpAddr::V4).or_else(|_| address.parse::<Ipv6Addr>().map(IpAddr::V6));
    match read {
        Ok(_) if !whole => Err(What::Precision),
        Ok(address) => Ok(address),
        Err(_) => Err(What::Unreadable),
    }
}

/// A text with zeros behind it up to the width, as ClickHouse fills one up.
fn padded(width: usize, value: Value<'_>, reading: &Reading, out: &mut Vec<u8>) -> Result<(), What> {
    let start = out.len();
    text::append(value, reading, out)?;
    if out.len() - start > width {
        return Err(What::TooLong);
    }
    out.resize(start + width, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_hyphens_in_their_places_or_none() {
        let bytes = [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
        for text in ["01234567-89ab-cdef-fedc-ba9876543210", "01234567-89AB-CDEF-fedc-BA9876543210"] {
            assert_eq!(uuid(text), Ok(bytes), "{text}");
            assert_eq!(uuid(&text.replace('-', "")), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "01234567-89ab-cdef-fedc-ba987654321",
            "01234567-89ab-cdef-fedc-ba98765432100",
            "0123456-789ab-cdef-fedc-ba9876543210",
            "01234567-89ab-cdef-fedcba-9876543210",
            "01234567-89ab-cdef-fedc-ba987654321g",
            "0123456789abcdef-fedcba9876543210",
            "01234567-89ab-cdef-fedc-ba98765432ä",
        ] {
            assert_eq!(uuid(text), Err(What::Unreadable), "{text}");
        }
    }
}
