//! The name of a table, as `schema.table` is written in SQL.

use std::fmt;

use crate::config::postgres::is_name;

/// A table with its schema, each as the catalog spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl TableName {
    /// Reads `schema.table`. A plain name is lower case, as SQL folds it; any other stands in double quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (schema, rest) = take_identifier(text, false)?;
        let (name, rest) = take_identifier(rest.strip_prefix('.')?, false)?;
        (rest.is_empty() && is_name(&schema) && is_name(&name)).then_some(Self { schema, name })
    }
}

/// The identifier at the start of `text`, and what follows it; a plain one may hold `*` if `pattern`.
pub(in crate::config) fn take_identifier(text: &str, pattern: bool) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let plain = |(index, byte): (usize, u8)| {
            byte.is_ascii_lowercase()
                || byte == b'_'
                || (pattern && byte == b'*')
                || (index > 0 && (byte.is_ascii_digit() || byte == b'$'))
        };
        return (!name.is_empty() && name.bytes().enumerate().all(plain)).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            // Two quotes within quotes are one quote of the name.
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}
