//! One JSON value, as far as it has to be looked at; <https://www.rfc-editor.org/rfc/rfc8259>.

use std::borrow::Cow;

use crate::encode::native::misfit::What;

/// A JSON value, by its first letter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'v str),
    Text(Text<'v>),
    /// With its brackets.
    Array(&'v str),
    /// With its braces.
    Object(&'v str),
}

impl<'v> Value<'v> {
    /// Reads a value that a JSON parser found to be one: only what decides its kind is looked at.
    #[inline]
    pub(super) fn read(json: &'v str) -> Result<Self, What> {
        let json = json.trim_ascii();
        match json.as_bytes() {
            [b'"', inner @ .., b'"'] => {
                let raw = &json[1..json.len() - 1];
                Ok(Self::Text(Text { raw, escaped: inner.contains(&b'\\') }))
            }
            [b'-' | b'0'..=b'9', ..] => Ok(Self::Number(json)),
            b"null" => Ok(Self::Null),
            b"true" => Ok(Self::Bool(true)),
            b"false" => Ok(Self::Bool(false)),
            [b'[', .., b']'] => Ok(Self::Array(json)),
            [b'{', .., b'}'] => Ok(Self::Object(json)),
            _ => Err(What::Malformed),
        }
    }
}

/// A JSON string, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'v> {
    raw: &'v str,
    escaped: bool,
}

impl<'v> Text<'v> {
    /// A text that has no escapes.
    pub(super) fn plain(raw: &'v str) -> Self {
        Self { raw, escaped: false }
    }

    /// What it says; digits, dates and Base64 may be escaped, too, as some writers do with `+` and `/`.
    #[inline]
    pub(super) fn decoded(self) -> Result<Cow<'v, str>, What> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut text = Vec::with_capacity(self.raw.len());
        self.append(&mut text)?;
        String::from_utf8(text).map(Cow::Owned).map_err(|_| What::Malformed)
    }

    /// What it says, if nothing in it is escaped.
    #[inline]
    pub(super) fn verbatim(self) -> Option<&'v str> {
        (!self.escaped).then_some(self.raw)
    }

    /// Appends what it says. After an error a part of it may be there.
    pub(super) fn append(self, out: &mut Vec<u8>) -> Result<(), What> {
        let mut rest = self.raw;
        while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            let (letter, after) = unescape(&rest[at + 1..])?;
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(())
    }
}

/// The letter that what follows a backslash stands for, and what comes after it.
fn unescape(rest: &str) -> Result<(char, &str), What> {
    let after = |len: usize| rest.get(len..).ok_or(What::Malformed);
    let letter = match rest.as_bytes().first() {
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return code_point(rest),
        _ => return Err(What::Malformed),
    };
    Ok((letter, after(1)?))
}

/// `uXXXX`, or two of them for what is beyond 16 bits.
fn code_point(rest: &str) -> Result<(char, &str), What> {
    let unit = |at: usize| rest.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = unit(1).ok_or(What::Malformed)?;
    let (code, len) = match (first, rest.get(5..7)) {
        (0xd800..=0xdbff, Some("\\u")) => {
            let second = unit(7).filter(|low| (0xdc00..=0xdfff).contains(low)).ok_or(What::Malformed)?;
            (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 11)
        }
        _ => (first, 5),
    };
    let letter = char::from_u32(code).ok_or(What::Malformed)?;
    Ok((letter, &rest[len..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> Result<String, What> {
        match Value::read(json)? {
            Value::Text(text) => text.decoded().map(Cow::into_owned),
            _ => Err(What::Kind),
        }
    }

    #[test]
    fn escapes_are_read_as_serde_reads_them() {
        for json in [r#""""#, r#""a\"b\\c\/d""#, r#""\b\f\n\r\t\u0000\u001F""#, r#""x\uD83D\uDC0Ey""#, r#""é\u00e9""#]
        {
            assert_eq!(text(json), Ok(serde_json::from_str::<String>(json).expect("JSON")), "{json}");
        }
    }

    #[test]
    fn half_a_pair_and_half_an_escape_are_malformed() {
        for json in [
            r#""\uD83D""#,
            r#""\uD83Dx""#,
            r#""\uD83D\u0041""#,
            r#""\uDC0E""#,
            r#""\u12""#,
            r#""\x""#,
            r#""\""#,
            "\"",
            "",
        ] {
            assert_eq!(text(json), Err(What::Malformed), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_string_reads_as_it_was(found in any::<String>()) {
            let json = serde_json::to_string(&found).expect("JSON");
            prop_assert_eq!(text(&json), Ok(found));
        }

        #[test]
        fn no_text_is_too_odd_to_be_looked_at(found in any::<String>()) {
            let quoted = format!("\"{found}\"");
            let _ = text(&found);
            let _ = text(&quoted);
        }
    }
}
