//! Which tables and columns are meant: names as SQL writes them, in which `*` stands for any characters.

use std::fmt;

use crate::config::{
    outbox::{TableName, take_identifier},
    postgres::is_name,
};

/// What a pattern of tables may be.
pub(in crate::config) const TABLES: &str = "schema.table, or several of them, in which `*` stands for any characters of a name; double quotes stand around a name that is not plain lower case";

/// What a pattern of columns may be.
pub(super) const COLUMNS: &str = "schema.table.column, or several of them, in which `*` stands for any characters of a name; double quotes stand around a name that is not plain lower case";

/// Tables: `*` in either part stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TablePattern {
    /// The schema, as the catalog spells it.
    pub schema: String,
    /// The table, as the catalog spells it.
    pub table: String,
}

impl TablePattern {
    pub(in crate::config) fn parse(text: &str) -> Option<Self> {
        let [schema, table] = parts(text)?;
        Some(Self { schema, table })
    }

    /// Whether it stands for this table.
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        fits(&self.schema, schema) && fits(&self.table, table)
    }

    /// Whether it stands for one table only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.schema.contains('*') && !self.table.contains('*')
    }
}

impl From<&TableName> for TablePattern {
    fn from(table: &TableName) -> Self {
        Self { schema: table.schema.clone(), table: table.name.clone() }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// Columns: `*` in each part stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ColumnPattern {
    /// The tables.
    pub table: TablePattern,
    /// The column, as the catalog spells it.
    pub column: String,
}

impl ColumnPattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let [schema, table, column] = parts(text)?;
        Some(Self { table: TablePattern { schema, table }, column })
    }

    /// Whether it stands for this column.
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        self.table.matches(schema, table) && fits(&self.column, column)
    }
}

impl fmt::Display for ColumnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

/// The names of columns, as a list in one string.
pub(super) fn columns(text: &str) -> Option<Vec<String>> {
    let column = |entry: &String| parts(entry).map(|[column]| column).filter(|column| !column.contains('*'));
    let columns: Vec<String> = crate::config::settings::split(text).iter().map(column).collect::<Option<_>>()?;
    let twice = (1..columns.len()).any(|index| columns[..index].contains(&columns[index]));
    (!columns.is_empty() && !twice).then_some(columns)
}

/// Exactly `N` names joined by dots.
fn parts<const N: usize>(text: &str) -> Option<[String; N]> {
    let mut rest = text;
    let mut names: [String; N] = std::array::from_fn(|_| String::new());
    for (index, name) in names.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let (taken, after) = take_identifier(rest, true)?;
        *name = Some(taken).filter(|name| is_name(name))?;
        rest = after;
    }
    rest.is_empty().then_some(names)
}

/// Whether `name` is `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        // The first place that fits leaves the most for what follows.
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_as_sql_reads_names() {
        for (text, expected) in [
            ("public.users", Some(("public", "users"))),
            ("public.*", Some(("public", "*"))),
            ("*.*", Some(("*", "*"))),
            ("app_*.user_*_v2", Some(("app_*", "user_*_v2"))),
            ("\"My Schema\".\"Us.ers,\"\"x\"\"\"", Some(("My Schema", "Us.ers,\"x\""))),
            ("users", None),
            ("*", None),
            ("public.Users", None),
            ("public.users.id", None),
            ("public.", None),
            (".users", None),
            ("public.us ers", None),
            ("public.1a", None),
            ("public.\"a", None),
            ("", None),
        ] {
            let found = TablePattern::parse(text);
            let found = found.as_ref().map(|pattern| (pattern.schema.as_str(), pattern.table.as_str()));
            assert_eq!(found, expected, "{text}");
        }
        assert!(ColumnPattern::parse("public.users.email").is_some() && ColumnPattern::parse("public.users").is_none());
    }

    #[test]
    fn a_star_stands_for_any_characters_and_for_none() {
        for (pattern, name, matches) in [
            ("users", "users", true),
            ("users", "users2", false),
            ("*", "", true),
            ("user*", "user", true),
            ("*s", "users", true),
            ("*s", "user", false),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*é*", "caféteria", true),
        ] {
            assert_eq!(fits(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn the_columns_of_a_key_are_names_and_each_stands_once() {
        assert_eq!(columns("tenant, \"Order, Id\""), Some(vec!["tenant".to_owned(), "Order, Id".to_owned()]));
        for wrong in ["", "a,,b", "a,a", "a*", "A", "a.b"] {
            assert_eq!(columns(wrong), None, "{wrong}");
        }
    }
}
