//! JSON as Jackson writes it: strings, Base64, integers.

/// A string as Jackson writes it: control characters escaped, in capital digits, and what is beyond the 16-bit plane as surrogates.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// What stands between the quotes of [`quote`].
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    loop {
        let at = plain + plain_len(&bytes[plain..]);
        out.extend_from_slice(&bytes[plain..at]);
        let Some(&byte) = bytes.get(at) else { return };
        plain = at + if byte < 0x80 { 1 } else { 4 };
        special(&text[at..plain], out);
    }
}

/// How many bytes at the beginning stand for themselves.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| !holds_special(u64::from_ne_bytes(**word))).count();
    let tail = words.get(plain).map_or(rest, |word| &word[..]);
    8 * plain + tail.iter().take_while(|byte| !is_special(**byte)).count()
}

/// Whether any of eight bytes is special, all asked at once: <https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>.
#[inline]
fn holds_special(word: u64) -> bool {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    const fn zero(word: u64) -> u64 {
        word.wrapping_sub(each(1)) & !word & each(0x80)
    }
    let control = word.wrapping_sub(each(b' ')) & !word & each(0x80);
    let long = zero(word & each(0xf0) ^ each(0xf0));
    control | zero(word ^ each(b'"')) | zero(word ^ each(b'\\')) | long != 0
}

/// Whether a byte begins a letter that does not stand for itself: 0xf0 and above begin those of four bytes.
#[inline]
fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\' || byte >= 0xf0
}

#[cold]
fn special(letter: &str, out: &mut Vec<u8>) {
    match letter {
        "\"" => out.extend_from_slice(br#"\""#),
        "\\" => out.extend_from_slice(br"\\"),
        "\u{8}" => out.extend_from_slice(br"\b"),
        "\u{c}" => out.extend_from_slice(br"\f"),
        "\n" => out.extend_from_slice(br"\n"),
        "\r" => out.extend_from_slice(br"\r"),
        "\t" => out.extend_from_slice(br"\t"),
        letter => {
            for unit in letter.encode_utf16() {
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(b"0123456789ABCDEF"[usize::from(unit >> shift & 15)]);
                }
            }
        }
    }
}

/// Base64 with padding: <https://www.rfc-editor.org/rfc/rfc4648#section-4>.
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    base64_in(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", bytes, out);
}

/// The same in letters that a URL can hold: <https://www.rfc-editor.org/rfc/rfc4648#section-5>.
pub fn base64_url(bytes: &[u8], out: &mut Vec<u8>) {
    base64_in(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", bytes, out);
}

fn base64_in(letters: &[u8; 64], bytes: &[u8], out: &mut Vec<u8>) {
    let letter = |bits: u32, place: u32| letters[(bits >> (18 - 6 * place) & 63) as usize];
    let (groups, rest) = bytes.as_chunks::<3>();
    out.reserve(4 * groups.len() + 4);
    for [a, b, c] in groups {
        let bits = u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c);
        out.extend_from_slice(&[letter(bits, 0), letter(bits, 1), letter(bits, 2), letter(bits, 3)]);
    }
    match *rest {
        [a] => {
            let bits = u32::from(a) << 16;
            out.extend_from_slice(&[letter(bits, 0), letter(bits, 1), b'=', b'=']);
        }
        [a, b] => {
            let bits = u32::from(a) << 16 | u32::from(b) << 8;
            out.extend_from_slice(&[letter(bits, 0), letter(bits, 1), letter(bits, 2), b'=']);
        }
        _ => {}
    }
}

/// Pairs of hexadecimal digits.
pub fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// An integer in decimal digits.
#[inline]
pub fn integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut rest, mut at) = (value.unsigned_abs(), digits.len());
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    let [tens, ones] = PAIRS[rest as usize];
    at -= 1;
    digits[at] = ones;
    if rest >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        for (bytes, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(text(|out| base64(bytes.as_bytes(), out)), expected);
        }
    }

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        for (found, expected) in [
            ("", r#""""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{0}\u{1f}\u{7f}\u{80}", "\"\\u0000\\u001F\u{7f}\u{80}\""),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("é\u{2028}\u{ffff}", "\"é\u{2028}\u{ffff}\""),
            ("x🐎y", r#""x\uD83D\uDC0Ey""#),
        ] {
            assert_eq!(text(|out| quote(found, out)), expected);
        }
    }

    proptest! {
        #[test]
        fn any_string_reads_back(found in any::<String>()) {
            let quoted = text(|out| quote(&found, out));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).expect("JSON"), found);
        }

        #[test]
        fn any_integer_reads_back(found in any::<i64>()) {
            prop_assert_eq!(text(|out| integer(found, out)), found.to_string());
        }
    }

    #[test]
    fn each_byte_is_found_wherever_it_stands_in_a_word() {
        for byte in 0..=0x7f_u8 {
            for place in 0..17 {
                let mut bytes = [b'a'; 17];
                bytes[place] = byte;
                let found = str::from_utf8(&bytes).expect("ASCII");
                assert_eq!(serde_json::from_str::<String>(&text(|out| quote(found, out))).expect("JSON"), found);
            }
        }
    }

    #[test]
    fn the_outermost_integers_have_all_their_digits() {
        for value in [i64::MIN, i64::MAX, 0, -1, 9, 10, 99, 100, 101, 999, 1000, 12345] {
            assert_eq!(text(|out| integer(value, out)), value.to_string());
        }
    }
}
