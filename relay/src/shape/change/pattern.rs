//! Patterns of names: `schema.table`, `schema.table.column`, in which `*` stands for any part of a name.

use crate::shape::change::options::CaptureError;

/// A name in which `*` stands for any part, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// Names of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TablePattern {
    schema: Glob,
    table: Glob,
}

impl TablePattern {
    /// Reads `schema.table`; the first dot parts them.
    pub(super) fn parse(text: &str) -> Result<Self, CaptureError> {
        match text.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self { schema: Glob::new(schema), table: Glob::new(table) })
            }
            _ => Err(CaptureError::Pattern { found: text.to_owned(), what: "table", form: "schema.table" }),
        }
    }

    pub(super) fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema.matches(schema) && self.table.matches(table)
    }
}

/// Names of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnPattern {
    table: TablePattern,
    column: Glob,
}

impl ColumnPattern {
    /// Reads `schema.table.column`; the first dot and the last one part them.
    pub(super) fn parse(text: &str) -> Result<Self, CaptureError> {
        let none = || CaptureError::Pattern { found: text.to_owned(), what: "column", form: "schema.table.column" };
        let (table, column) = text.rsplit_once('.').filter(|(_, column)| !column.is_empty()).ok_or_else(none)?;
        Ok(Self { table: TablePattern::parse(table).map_err(|_| none())?, column: Glob::new(column) })
    }

    pub(super) fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        self.table.matches(schema, table) && self.column.matches(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (glob, name, expected) in [
            ("users", "users", true),
            ("users", "users2", false),
            ("*", "", true),
            ("*", "users", true),
            ("user*", "users", true),
            ("*s", "users", true),
            ("u*s", "users", true),
            ("u*e*s", "users", true),
            ("u*s", "us", true),
            ("us*s", "us", false),
            ("a*a", "a", false),
            ("*a*", "bab", true),
            ("", "", true),
            ("", "a", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(Glob::new(glob).matches(name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn a_pattern_has_a_part_for_each_name() {
        let table = TablePattern::parse("public.order*").expect("valid");
        assert!(table.matches("public", "orders") && !table.matches("public2", "orders"));
        let column = ColumnPattern::parse("*.my.table.name").expect("valid");
        assert!(column.matches("public", "my.table", "name") && !column.matches("public", "my", "name"));
        for text in ["", "users", ".users", "public."] {
            assert!(TablePattern::parse(text).is_err(), "{text}");
            assert!(ColumnPattern::parse(text).is_err(), "{text}");
        }
        assert!(ColumnPattern::parse("public.users").is_err());
    }
}
