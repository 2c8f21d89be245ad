//! `bytea` and bit strings.
//!
//! <https://www.postgresql.org/docs/current/datatype-binary.html>, <https://www.postgresql.org/docs/current/datatype-bit.html>

use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Binary;
use crate::shape::json;

/// Bytes that are read before they are written: a multiple of three, so that Base64 of the pieces is that of the whole.
const PIECE: usize = 192;

/// Appends what `byteaout` printed, in hexadecimal digits.
pub(super) fn write(text: &[u8], form: Binary, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let hex = text.strip_prefix(br"\x").ok_or(Misfit::NotOfType)?;
    out.push(b'"');
    match form {
        Binary::Bytes | Binary::Base64 => pieces(hex, |piece| json::base64(piece, out))?,
        Binary::Base64UrlSafe => pieces(hex, |piece| json::base64_url(piece, out))?,
        Binary::Hex => {
            pieces(hex, |_| ())?;
            out.extend_from_slice(hex);
        }
    }
    out.push(b'"');
    Ok(())
}

/// Hands over the bytes of hexadecimal digits, piece by piece.
pub(super) fn pieces(hex: &[u8], mut write: impl FnMut(&[u8])) -> Result<(), Misfit> {
    let mut place = [0; PIECE];
    for digits in hex.chunks(2 * PIECE) {
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut wrong = !rest.is_empty();
        for (byte, [high, low]) in place.iter_mut().zip(pairs) {
            let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
            wrong |= high | low > 15;
            *byte = high << 4 | low & 15;
        }
        if wrong {
            return Err(Misfit::NotOfType);
        }
        write(&place[..pairs.len()]);
    }
    Ok(())
}

/// The value of each hexadecimal digit, as the server or PostGIS writes it; of all else a byte that is none.
const NIBBLES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Appends a bit string as bytes, the last bit being the lowest of the first byte, without the zeros above the highest bit that
/// is set.
pub(super) fn write_bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    are_bits(text)?;
    let highest = text.iter().position(|bit| *bit == b'1').unwrap_or(text.len());
    out.push(b'"');
    for group in text[highest..].rchunks(24) {
        let mut bytes = [0; 3];
        for (byte, bits) in bytes.iter_mut().zip(group.rchunks(8)) {
            *byte = bits.iter().fold(0, |byte, bit| byte << 1 | (bit & 1));
        }
        json::base64(&bytes[..group.len().div_ceil(8)], out);
    }
    out.push(b'"');
    Ok(())
}

/// Appends the only bit of a bit string; a string without any has no place.
pub(super) fn write_bit(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    are_bits(text)?;
    match text {
        b"1" => out.extend_from_slice(b"true"),
        b"0" => out.extend_from_slice(b"false"),
        _ => return Err(Misfit::NoPlace),
    }
    Ok(())
}

fn are_bits(text: &[u8]) -> Result<(), Misfit> {
    if text.iter().all(|bit| matches!(bit, b'0' | b'1')) { Ok(()) } else { Err(Misfit::NotOfType) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_as_one_piece() {
        for len in [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 2] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let text = bytes.iter().fold(r"\x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
            let mut whole = Vec::new();
            json::base64(&bytes, &mut whole);
            let mut out = Vec::new();
            assert_eq!(write(text.as_bytes(), Binary::Bytes, &mut out), Ok(()));
            assert_eq!(out[1..out.len() - 1], whole, "{len}");
        }
    }

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in ["", "00", r"\x0", r"\x0g", r"\000", r"\xZZ", "\\x0\u{e9}"] {
            for form in [Binary::Bytes, Binary::Hex] {
                assert_eq!(write(wrong.as_bytes(), form, &mut Vec::new()), Err(Misfit::NotOfType), "{wrong}");
            }
        }
        assert_eq!(write_bits(b"012", &mut Vec::new()), Err(Misfit::NotOfType));
        assert_eq!(write_bit(b"", &mut Vec::new()), Err(Misfit::NoPlace));
    }
}
