//! The elements of a JSON array and the members of a JSON object, one after the other.

use crate::encode::native::misfit::What;
use crate::encode::native::value::{Text, Value};

/// Walks what stands between the brackets or braces of a valid JSON value.
pub(super) struct Fields<'f> {
    rest: &'f str,
}

impl<'f> Fields<'f> {
    /// Of an array or an object, with its brackets or braces.
    pub(super) fn of(json: &'f str) -> Self {
        Self { rest: json.get(1..json.len() - 1).unwrap_or_default().trim_ascii() }
    }

    /// The next element of an array.
    pub(super) fn element(&mut self) -> Result<Option<&'f str>, What> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let value = self.cut()?;
        self.comma()?;
        Ok(Some(value))
    }

    /// The next member of an object: its name, and its value.
    pub(super) fn member(&mut self) -> Result<Option<(Text<'f>, &'f str)>, What> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Value::Text(name) = Value::read(self.cut()?)? else { return Err(What::Malformed) };
        self.rest = self.rest.strip_prefix(':').ok_or(What::Malformed)?.trim_ascii_start();
        let value = self.cut()?;
        self.comma()?;
        Ok(Some((name, value)))
    }

    fn comma(&mut self) -> Result<(), What> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.rest = self.rest.strip_prefix(',').ok_or(What::Malformed)?.trim_ascii_start();
        if self.rest.is_empty() { Err(What::Malformed) } else { Ok(()) }
    }

    /// Takes the value that comes next.
    fn cut(&mut self) -> Result<&'f str, What> {
        let bytes = self.rest.as_bytes();
        let end = match bytes.first() {
            Some(b'"') => string_end(bytes, 0)?,
            Some(b'[' | b'{') => nested_end(bytes)?,
            Some(_) => bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b':' | b' ' | b'\t' | b'\n' | b'\r'))
                .unwrap_or(bytes.len()),
            None => return Err(What::Malformed),
        };
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest.trim_ascii_start();
        if value.is_empty() { Err(What::Malformed) } else { Ok(value) }
    }
}

/// Where the string that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> Result<usize, What> {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'"' => return Ok(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
    Err(What::Malformed)
}

fn nested_end(bytes: &[u8]) -> Result<usize, What> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(What::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elements(json: &str) -> Result<Vec<&str>, What> {
        let mut fields = Fields::of(json);
        let mut found = Vec::new();
        while let Some(element) = fields.element()? {
            found.push(element);
        }
        Ok(found)
    }

    #[test]
    fn elements_come_as_they_are_written() {
        let json = r#"[ 1 , "a,\"]" , [2, "]"], {"a": [ ], "}": null} ,null ]"#;
        let expected = vec!["1", r#""a,\"]""#, r#"[2, "]"]"#, r#"{"a": [ ], "}": null}"#, "null"];
        assert_eq!(elements(json), Ok(expected));
        assert_eq!(elements("[]"), Ok(vec![]));
        assert_eq!(elements("[1,]"), Err(What::Malformed));
        assert_eq!(elements("[1 2]"), Err(What::Malformed));
    }

    #[test]
    fn members_come_with_their_names() {
        let mut fields = Fields::of(r#"{ "a" : 1,"b\"":{"c":[1,2]} }"#);
        let (name, value) = fields.member().expect("valid").expect("one");
        assert_eq!((name.decoded().expect("text").as_ref(), value), ("a", "1"));
        let (name, value) = fields.member().expect("valid").expect("one");
        assert_eq!((name.decoded().expect("text").as_ref(), value), ("b\"", r#"{"c":[1,2]}"#));
        assert!(fields.member().expect("valid").is_none());
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_walked(found in any::<String>()) {
            let _ = elements(&format!("[{found}]"));
            let json = format!("{{{found}}}");
            let mut fields = Fields::of(&json);
            while let Ok(Some(_)) = fields.member() {}
        }
    }
}
