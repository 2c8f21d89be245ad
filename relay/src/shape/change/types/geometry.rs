//! Points, and the values of the extensions PostGIS and pgvector.

use crate::shape::change::types::bytes::pieces;
use crate::shape::change::types::float::{self, Width};
use crate::shape::change::types::misfit::Misfit;
use crate::shape::json;

/// The bit of a geometry's type that says that a reference system follows:
/// <https://postgis.net/docs/using_postgis_dbmanagement.html#EWKB_EWKT>.
const HAS_SRID: u32 = 0x2000_0000;

/// Dimensions of a sparse vector at most, in Debezium's type for them.
const DIMENSIONS_MAX: u32 = i16::MAX as u32;

/// Appends a `point`, `(1.5,-2)`, with its well-known binary form.
pub(super) fn write_point(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    let inner = text.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or(Misfit::NotOfType)?;
    let comma = inner.iter().position(|byte| *byte == b',').ok_or(Misfit::NotOfType)?;
    let (x, y) = (&inner[..comma], &inner[comma + 1..]);
    out.extend_from_slice(br#"{"x":"#);
    float::write(x, Width::Double, out)?;
    out.extend_from_slice(br#","y":"#);
    float::write(y, Width::Double, out)?;
    // Little-endian, and a point.
    let mut wkb = [0; 21];
    wkb[..5].copy_from_slice(&[1, 1, 0, 0, 0]);
    for (place, number) in [(5, x), (13, y)] {
        let number: f64 = str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or(Misfit::NotOfType)?;
        wkb[place..place + 8].copy_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(br#","wkb":""#);
    json::base64(&wkb, out);
    out.extend_from_slice(br#"","srid":null}"#);
    Ok(())
}

/// Appends a `geometry` or `geography`, which PostGIS prints as the hexadecimal digits of its extended well-known binary form.
pub(super) fn write_postgis(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.extend_from_slice(br#"{"wkb":""#);
    pieces(text, |piece| json::base64(piece, out))?;
    out.extend_from_slice(br#"","srid":"#);
    let mut head = [0; 9];
    pieces(text.get(..18).unwrap_or(text), |piece| head[..piece.len()].copy_from_slice(piece))?;
    let [order, head @ ..] = head;
    let (kind, srid) = (&head[..4], &head[4..]);
    let number = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        if order == 0 { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let has_srid = number(kind) & HAS_SRID != 0;
    if text.len() < if has_srid { 18 } else { 10 } || order > 1 {
        return Err(Misfit::NotOfType);
    }
    if has_srid {
        json::integer(i64::from(number(srid).cast_signed()), out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
    Ok(())
}

/// Appends a `vector` or `halfvec`, `[1,2.5]`: <https://github.com/pgvector/pgvector#vector-type>.
pub(super) fn write_vector(text: &[u8], width: Width, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let inner = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(Misfit::NotOfType)?;
    out.push(b'[');
    for (at, number) in inner.split(|byte| *byte == b',').enumerate() {
        if at > 0 {
            out.push(b',');
        }
        float::write(number, width, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Appends a `sparsevec`, `{1:1.5,3:-2}/5`: <https://github.com/pgvector/pgvector#sparsevec-type>.
pub(super) fn write_sparse(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    let slash = text.iter().rposition(|byte| *byte == b'/').ok_or(Misfit::NotOfType)?;
    let inner = text[..slash].strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).ok_or(Misfit::NotOfType)?;
    out.extend_from_slice(br#"{"dimensions":"#);
    let dimensions = number(&text[slash + 1..])?;
    json::integer(i64::from(dimensions), out);
    out.extend_from_slice(br#","vector":["#);
    let elements = inner.split(|byte| *byte == b',').filter(|_| !inner.is_empty());
    for (at, element) in elements.enumerate() {
        let colon = element.iter().position(|byte| *byte == b':').ok_or(Misfit::NotOfType)?;
        out.extend_from_slice(if at > 0 { b",[" } else { b"[" });
        json::integer(i64::from(number(&element[..colon])?), out);
        out.push(b',');
        float::write(&element[colon + 1..], Width::Double, out)?;
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
    if dimensions > DIMENSIONS_MAX { Err(Misfit::NoPlace) } else { Ok(()) }
}

fn number(digits: &[u8]) -> Result<u32, Misfit> {
    let is_number = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let sum = || digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    is_number.then(sum).ok_or(Misfit::NotOfType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in ["", "()", "(1)", "(1,2", "(1,2,3)", "(1, 2)", "(inf,1)"] {
            assert_eq!(write_point(wrong.as_bytes(), &mut Vec::new()), Err(Misfit::NotOfType), "{wrong}");
        }
        for wrong in ["", "01", "0101000", "0201000000", "0101000020E6", "01010000zz"] {
            assert_eq!(write_postgis(wrong.as_bytes(), &mut Vec::new()), Err(Misfit::NotOfType), "{wrong}");
        }
        for wrong in ["", "[]", "[1,]", "[a]", "1,2"] {
            assert_eq!(
                write_vector(wrong.as_bytes(), Width::Single, &mut Vec::new()),
                Err(Misfit::NotOfType),
                "{wrong}"
            );
        }
        for wrong in ["", "{}", "{}/", "{1}/2", "{1:}/2", "{:1}/2", "{1:1,}/2", "/2"] {
            assert_eq!(write_sparse(wrong.as_bytes(), &mut Vec::new()), Err(Misfit::NotOfType), "{wrong}");
        }
        assert_eq!(write_sparse(b"{}/40000", &mut Vec::new()), Err(Misfit::NoPlace));
    }
}
