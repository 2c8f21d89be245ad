//! Base64, read: as Kafka Connect's JSON converter writes bytes; <https://www.rfc-editor.org/rfc/rfc4648#section-4>.

use crate::encode::native::misfit::What;

/// The six bits of each letter of either alphabet; 64 for what is none.
const BITS: [u8; 256] = {
    let mut bits = [64; 256];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut at = 0;
    while at < 64 {
        bits[letters[at] as usize] = at as u8;
        at += 1;
    }
    bits[b'-' as usize] = 62;
    bits[b'_' as usize] = 63;
    bits
};

/// Appends the bytes that `text` stands for. After an error a part of them may be there.
pub(super) fn append(text: &str, out: &mut Vec<u8>) -> Result<(), What> {
    out.reserve(text.len() / 4 * 3 + 2);
    decode(text, |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })
}

/// The bytes that `text` stands for, in `room`; more than it holds are too large.
#[inline]
pub(super) fn within<'r>(text: &str, room: &'r mut [u8]) -> Result<&'r [u8], What> {
    let mut len = 0;
    decode(text, |bytes| {
        let place = room.get_mut(len..len + bytes.len()).ok_or(What::Overflow)?;
        place.copy_from_slice(bytes);
        len += bytes.len();
        Ok(())
    })?;
    Ok(&room[..len])
}

#[inline]
fn decode(text: &str, mut take: impl FnMut(&[u8]) -> Result<(), What>) -> Result<(), What> {
    let text = text.trim_end_matches('=').as_bytes();
    let (groups, rest) = text.as_chunks::<4>();
    for group in groups {
        let bits = gathered(group)?;
        take(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8])?;
    }
    let bits = gathered(rest)?;
    match rest.len() {
        0 => Ok(()),
        2 if bits & 0xf == 0 => take(&[(bits >> 4) as u8]),
        3 if bits & 0x3 == 0 => take(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        // A lone letter, or bits that no byte takes: nothing that was ever written.
        _ => Err(What::Unreadable),
    }
}

#[inline]
fn gathered(letters: &[u8]) -> Result<u32, What> {
    letters.iter().try_fold(0, |sum, letter| match BITS[usize::from(*letter)] {
        64 => Err(What::Unreadable),
        bits => Ok(sum << 6 | u32::from(bits)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_not_is_refused() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            let mut out = Vec::new();
            assert_eq!(append(text, &mut out), Ok(()), "{text}");
            assert_eq!(out, bytes.as_bytes());
        }
        for text in ["Z", "Zh==", "Zm9=", "Z g=", "12.5", "-1,0", "é==="] {
            assert_eq!(append(text, &mut Vec::new()), Err(What::Unreadable), "{text}");
        }
    }
}
