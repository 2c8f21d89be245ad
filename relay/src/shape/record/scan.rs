//! Finds the members of a JSON object, quicker than a parser that may be asked for anything.
//!
//! Guarantee: what it takes for an object is one, to the letter of <https://www.rfc-editor.org/rfc/rfc8259>, with the members
//! that `serde_json` finds in it. What is out of the ordinary – an escape in a name, a nesting that is deep, anything wrong – it
//! leaves to `serde_json`, whose word then counts.

use std::borrow::Cow;

use crate::shape::record::row::{Members, Raw};

/// Lists and objects within each other that are followed.
const DEPTH_MAX: u32 = 32;

/// Finds the members of the object that `text` is; `None` where it is not sure.
pub(super) fn members(text: &str) -> Option<Members<'_>> {
    let mut scan = Scan { text, at: 0 };
    let mut members = Vec::with_capacity(16);
    scan.space();
    scan.is(b'{')?;
    scan.space();
    if scan.is(b'}').is_none() {
        loop {
            let name = scan.name()?;
            let start = scan.at;
            scan.value(DEPTH_MAX)?;
            members.push((Cow::Borrowed(name), Raw::new(text.get(start..scan.at)?)));
            scan.space();
            if scan.is(b',').is_none() {
                scan.is(b'}')?;
                break;
            }
            scan.space();
        }
    }
    scan.space();
    (scan.at == text.len()).then_some(members)
}

/// A text, and how far it was read.
struct Scan<'r> {
    text: &'r str,
    at: usize,
}

impl<'r> Scan<'r> {
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over this byte, if it is the next one.
    #[inline]
    fn is(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then(|| self.at += 1)
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Steps over a name and what stands between it and its value.
    #[inline]
    fn name(&mut self) -> Option<&'r str> {
        self.is(b'"')?;
        let start = self.at;
        self.plain();
        let name = self.text.get(start..self.at)?;
        self.is(b'"')?;
        self.space();
        self.is(b':')?;
        self.space();
        Some(name)
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.byte()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'{' => self.nested(depth.checked_sub(1)?, b'}'),
            b'[' => self.nested(depth.checked_sub(1)?, b']'),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    #[inline]
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.plain();
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Steps over the bytes of a string that stand for themselves, eight at a time.
    #[inline]
    fn plain(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(word) = bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let odd = odd(u64::from_le_bytes(*word));
            if odd != 0 {
                self.at += (odd.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while self.byte().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Option<()> {
        let bytes = &self.text.as_bytes()[self.at + 1..];
        let len = match bytes.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if bytes.get(1..5)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        self.at += len;
        Some(())
    }

    #[inline]
    fn number(&mut self) -> Option<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.is(b'0').is_none() {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    #[inline]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Steps over a list or an object.
    fn nested(&mut self, depth: u32, end: u8) -> Option<()> {
        self.at += 1;
        self.space();
        if self.is(end).is_some() {
            return Some(());
        }
        loop {
            if end == b'}' {
                self.string_name()?;
            }
            self.value(depth)?;
            self.space();
            if self.is(b',').is_none() {
                return self.is(end);
            }
            self.space();
        }
    }

    /// Steps over a name that nobody asks for.
    fn string_name(&mut self) -> Option<()> {
        if self.byte()? != b'"' {
            return None;
        }
        self.string()?;
        self.space();
        self.is(b':')?;
        self.space();
        Some(())
    }
}

/// Marks bytes that do not stand for themselves in a string: quotes, backslashes and those below the space. The lowest mark is
/// right; one above it may be for a byte that does.
#[inline]
fn odd(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * EACH;
    let zero = |word: u64| word.wrapping_sub(EACH) & !word;
    let below_space = word.wrapping_sub(EACH * 0x20) & !word;
    (zero(word ^ (EACH * 0x22)) | zero(word ^ (EACH * 0x5c)) | below_space) & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::shape::record::row::Row;

    fn found(text: &str) -> Option<Vec<(String, &str)>> {
        members(text).map(|found| found.into_iter().map(|(name, value)| (name.into_owned(), value.get())).collect())
    }

    fn by_parser(text: &str) -> Option<Vec<(String, &str)>> {
        let row: Row<'_> = serde_json::from_str(text).ok()?;
        Some(row.iter().map(|(name, value)| (name.to_owned(), value.get())).collect())
    }

    #[test]
    fn an_ordinary_object_is_scanned() {
        for text in [
            "{}",
            " { } ",
            r#"{"a":1}"#,
            r#"{"a":-0.5e+10,"b":"x","b":null , "c" : [1,{"d":"\u00e9\"\\"},[]],"e":true,"f":false}"#,
            r#"{"a name that is longer than eight":"a value, which is longer too, and äöü","":""}"#,
        ] {
            assert!(found(text).is_some(), "{text}");
            assert_eq!(found(text), by_parser(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_sure_is_left_to_the_parser() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}x",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":-}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":nul}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"x}"#,
            "{\"a\":\"\n\"}",
            "{\"a\n\":1}",
            r#"{"a":[1 2]}"#,
            r#"{"a":{1:2}}"#,
            r#"{"a":[}"#,
            r#"{"a":]}"#,
            r#"{"a\u0062":1}"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(found(&format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100))), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|of| Value::Object(of.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_parser_finds(
            of in prop::collection::vec(("[a-z_]{0,12}", json()), 0..6),
            damage in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\"\\{}[],:0-e. \nnxu".to_vec()))),
        ) {
            let mut text = Value::Object(of.into_iter().collect()).to_string();
            if let Some((at, letter)) = damage {
                let at = at.index(text.len());
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..=at, &char::from(letter).to_string());
                }
                // It may be sure of less, never of anything else.
                if let Some(found) = found(&text) {
                    prop_assert_eq!(Some(found), by_parser(&text));
                }
            } else {
                prop_assert_eq!(found(&text), by_parser(&text));
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_looked_at(text in any::<String>()) {
            if let Some(found) = found(&text) {
                prop_assert_eq!(Some(found), by_parser(&text));
            }
        }
    }
}
