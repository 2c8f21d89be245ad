//! A JSON payload as JSON: without blanks, and without the members that the event router leaves out. Every other token stays as
//! Postgres printed it: no number is rounded, no array typed anew.

use serde::de::IgnoredAny;

/// Appends the object or array `payload` to `out`; false, and nothing appended, if it is none: then it stays a string.
pub(super) fn expand(payload: &[u8], (keep_nulls, keep_empty_arrays): (bool, bool), out: &mut Vec<u8>) -> bool {
    if !matches!(payload.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return false;
    }
    // Checked as a whole first; its nesting is bounded by that too.
    if serde_json::from_slice::<IgnoredAny>(payload).is_err() {
        return false;
    }
    let mut scan = Scan { rest: payload, keep_nulls, keep_empty_arrays, out };
    scan.value();
    true
}

/// Walks JSON that is known to be well formed.
struct Scan<'p, 'o> {
    rest: &'p [u8],
    keep_nulls: bool,
    keep_empty_arrays: bool,
    out: &'o mut Vec<u8>,
}

impl Scan<'_, '_> {
    fn value(&mut self) {
        match self.peek() {
            b'{' => self.members(b'}'),
            b'[' => self.members(b']'),
            b'"' => self.string(),
            _ => {
                let end =
                    self.rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
                self.take(end.unwrap_or(self.rest.len()));
            }
        }
    }

    /// An object or an array, which ends with `end`.
    fn members(&mut self, end: u8) {
        self.take(1);
        let mut first = true;
        while self.peek() != end {
            if self.peek() == b',' {
                self.rest = &self.rest[1..];
                self.peek();
            }
            let mark = self.out.len();
            if !first {
                self.out.push(b',');
            }
            if end == b'}' {
                self.string();
                self.peek();
                self.take(1);
            }
            let at = self.out.len();
            self.value();
            let dropped = match &self.out[at..] {
                b"null" => end == b'}' && !self.keep_nulls,
                b"[]" => end == b'}' && !self.keep_empty_arrays,
                _ => false,
            };
            if dropped {
                self.out.truncate(mark);
            } else {
                first = false;
            }
        }
        self.take(1);
    }

    fn string(&mut self) {
        let mut end = 1;
        while let Some(byte) = self.rest.get(end) {
            match byte {
                b'\\' => end += 2,
                b'"' => break,
                _ => end += 1,
            }
        }
        self.take(end + 1);
    }

    /// Skips blanks; the next byte, 0 at the end.
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied().unwrap_or_default()
    }

    fn take(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.out.extend_from_slice(taken);
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(payload: &str, keep: (bool, bool)) -> Option<String> {
        let mut out = b"before".to_vec();
        let done = expand(payload.as_bytes(), keep, &mut out);
        let text = String::from_utf8(out.split_off(6)).expect("text");
        assert_eq!(done, !text.is_empty(), "{payload}");
        done.then_some(text)
    }

    #[test]
    fn members_that_are_null_or_empty_arrays_are_left_out_unless_they_are_kept() {
        let payload =
            r#"{"a": null, "b": [], "c": [null, [], {"d": null}], "e": {"f": [ ]}, "g" : "n\"ull" , "h": 1.10}"#;
        let lean = r#"{"c":[null,[],{}],"e":{},"g":"n\"ull","h":1.10}"#;
        let whole = r#"{"a":null,"b":[],"c":[null,[],{"d":null}],"e":{"f":[]},"g":"n\"ull","h":1.10}"#;
        assert_eq!(expanded(payload, (false, false)).as_deref(), Some(lean));
        assert_eq!(expanded(payload, (true, true)).as_deref(), Some(whole));
    }

    #[test]
    fn what_is_no_object_or_array_stays_a_string() {
        for payload in ["", "  ", "5", "\"{}\"", "null", "true", "{", "{\"a\"}", "[1,]", "{} {}", &"[".repeat(200)] {
            assert_eq!(expanded(payload, (false, false)), None, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_blanks_is_lost_when_everything_is_kept(text in r#"[\[\]{}",:0-9a-z \\]{0,40}"#) {
            if let Some(found) = expanded(&text, (true, true)) {
                let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text);
                if let Ok(value) = parse(&text) {
                    prop_assert_eq!(parse(&found).expect("still JSON"), value);
                }
            }
        }
    }
}
