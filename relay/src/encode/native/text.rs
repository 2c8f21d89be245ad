//! What a `String` column takes: any text as it is, bytes as bytes, and of the rest its JSON.

use crate::encode::native::base64;
use crate::encode::native::fields::Fields;
use crate::encode::native::misfit::What;
use crate::encode::native::number::Number;
use crate::encode::native::reading::Reading;
use crate::encode::native::value::{Text, Value};
use crate::encode::native::wkt;

/// Appends the text or the bytes that a value is. After an error a part of them may be there.
pub(super) fn append(value: Value<'_>, reading: &Reading, out: &mut Vec<u8>) -> Result<(), What> {
    match (value, reading) {
        (Value::Text(text), Reading::Bytes) => base64::append(&text.decoded()?, out),
        (Value::Text(text), Reading::Hex) => hex(&text.decoded()?, out),
        (Value::Text(text), Reading::Bits(length)) => bits(&text.decoded()?, *length, out),
        (Value::Text(text), Reading::Decimal { scale }) => {
            Number::unscaled(&text.decoded()?, i64::from(*scale))?.print(out)
        }
        (Value::Text(text), _) => text.append(out),
        (Value::Number(text), _) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        (Value::Bool(value), Reading::Bits(_)) => {
            out.push(b'0' + u8::from(value));
            Ok(())
        }
        (Value::Bool(value), _) => {
            out.extend_from_slice(if value { b"true" } else { b"false" });
            Ok(())
        }
        (Value::Object(json), Reading::Captured) => match scaled(json)? {
            Some(number) => number.print(out),
            None if wkt::append(json, out)? => Ok(()),
            None => {
                out.extend_from_slice(json.as_bytes());
                Ok(())
            }
        },
        (Value::Object(json) | Value::Array(json), _) => {
            out.extend_from_slice(json.as_bytes());
            Ok(())
        }
        (Value::Null, _) => Err(What::Null),
    }
}

/// Appends a JSON document: that of a text which is one, or the value itself. `JSON` takes objects only.
pub(super) fn document(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), What> {
    let start = out.len();
    match value {
        Value::Text(text) => text.append(out)?,
        Value::Object(json) => out.extend_from_slice(json.as_bytes()),
        Value::Null => return Err(What::Null),
        _ => return Err(What::Kind),
    }
    if out[start..].trim_ascii_start().first() == Some(&b'{') { Ok(()) } else { Err(What::Kind) }
}

/// The number that `{"scale":…,"value":…}` is, if it has just these members.
pub(super) fn scaled(json: &str) -> Result<Option<Number>, What> {
    let mut fields = Fields::of(json);
    let (mut scale, mut digits): (Option<i64>, Option<Text<'_>>) = (None, None);
    while let Some((name, value)) = fields.member()? {
        match (name.verbatim(), Value::read(value)?) {
            (Some("scale"), Value::Number(number)) => scale = number.parse().ok(),
            (Some("value"), Value::Text(text)) => digits = Some(text),
            _ => return Ok(None),
        }
    }
    match (scale, digits) {
        (Some(scale), Some(digits)) => Number::unscaled(&digits.decoded()?, scale).map(Some),
        _ => Ok(None),
    }
}

fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), What> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(What::Unreadable);
    }
    for [high, low] in pairs {
        out.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Ok(())
}

/// The value of a hexadecimal digit.
#[inline]
pub(super) fn nibble(digit: u8) -> Result<u8, What> {
    match NIBBLES[usize::from(digit)] {
        16 => Err(What::Unreadable),
        value => Ok(value),
    }
}

/// The value of each hexadecimal digit; 16 for what is none.
pub(super) const NIBBLES: [u8; 256] = {
    let mut values = [16; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Appends zeros and ones, the highest first, as Postgres prints a bit string.
fn bits(text: &str, length: Option<u32>, out: &mut Vec<u8>) -> Result<(), What> {
    let mut bytes = Vec::new();
    base64::append(text, &mut bytes)?;
    let is_set = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let known = bytes.len() * 8 - bytes.last().map_or(0, |last| last.leading_zeros() as usize);
    // A length of the greatest number there is says that the type has none.
    let length = length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length < i32::MAX as usize);
    let length = length.unwrap_or(known);
    if known > length {
        return Err(What::TooLong);
    }
    out.extend((0..length).rev().map(|at| b'0' + u8::from(is_set(at))));
    Ok(())
}
