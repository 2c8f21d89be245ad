//! The `source` block of a change, as far as it is of use here.

use std::borrow::Cow;

use crate::shape::record::Unreadable;
use crate::shape::record::row::{Raw, Row};

/// What of a change's `source` is of use here.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Source<'r> {
    /// A signed number, as Java has no other.
    pub(super) lsn: Option<i64>,
    pub(super) ts_ms: Option<i64>,
    pub(super) ts_us: Option<i64>,
    pub(super) schema: Option<Cow<'r, str>>,
    pub(super) table: Option<Cow<'r, str>>,
}

/// Its members in the order of the fields.
const NAMES: [&str; 5] = ["lsn", "ts_ms", "ts_us", "schema", "table"];

impl<'r> Source<'r> {
    /// Reads a block; there may be none.
    ///
    /// # Errors
    /// If it is something else, or a member of it is.
    pub(super) fn read(value: Option<Raw<'r>>) -> Result<Self, Unreadable> {
        let Some(value) = value else { return Ok(Self::default()) };
        if let Some(source) = Row::plain(value).and_then(|row| Self::of(&row)) {
            return Ok(source);
        }
        serde_json::from_str::<Option<Self>>(value.get())
            .map(Option::unwrap_or_default)
            .map_err(|_| Unreadable::Part { part: "source", expected: "a source block" })
    }

    /// Of a block in which nothing is out of the ordinary; what is – a member twice, an escape, another type – is left to a parser.
    fn of(row: &Row<'r>) -> Option<Self> {
        let mut found = [None; NAMES.len()];
        for (name, value) in row.iter() {
            if let Some(at) = NAMES.iter().position(|known| *known == name)
                && found[at].replace(value.get()).is_some()
            {
                return None;
            }
        }
        let [lsn, ts_ms, ts_us, schema, table] = found.map(|value| value.filter(|value| *value != "null"));
        let (lsn, ts_ms, ts_us) = (number(lsn)?, number(ts_ms)?, number(ts_us)?);
        Some(Self { lsn, ts_ms, ts_us, schema: text(schema)?, table: text(table)? })
    }
}

/// A number without a sign, if there is one at all; `None` for anything else.
#[expect(clippy::option_option, reason = "whether it is one, and whether it is there")]
fn number(value: Option<&str>) -> Option<Option<i64>> {
    let Some(digits) = value else { return Some(None) };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten().map(Some)
}

/// A text without escapes, if there is one at all; `None` for anything else.
#[expect(clippy::option_option, reason = "whether it is one, and whether it is there")]
fn text(value: Option<&str>) -> Option<Option<Cow<'_, str>>> {
    let Some(value) = value else { return Some(None) };
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(Some(Cow::Borrowed(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Option<i64>, Option<i64>, Option<String>)> {
        let source = Source::read(Some(Raw::new(text))).ok()?;
        Some((source.lsn, source.ts_us, source.table.map(Cow::into_owned)))
    }

    #[test]
    fn a_block_is_read_whether_it_is_ordinary_or_not() {
        let table = |name: &str| Some(name.to_owned());
        let ordinary = r#"{"db":"x","lsn":9,"table":"t","ts_us":5,"xmin":null}"#;
        assert_eq!(read(ordinary), Some((Some(9), Some(5), table("t"))));
        assert_eq!(read(r#"{"lsn":-9,"table":"t\u0062","ts_us":null}"#), Some((Some(-9), None, table("tb"))));
        assert_eq!(read("null"), Some((None, None, None)));
        assert_eq!(read("{}"), Some((None, None, None)));
        for wrong in ["7", "[]", r#"{"lsn":1.5}"#, r#"{"lsn":"9"}"#, r#"{"table":7}"#, r#"{"lsn":1,"lsn":2}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(r#"{"lsn":99999999999999999999}"#), None);
    }
}
