//! Names and texts written into replication commands, so that no name can end its quotes.

/// An SQL identifier: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes. The grammar of replication commands knows no backslash escapes, and SQL knows none in this form
/// since `standard_conforming_strings` is on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The list that pgoutput's option `publication_names` takes: identifiers, separated by commas, all in one text. Unquoted, a
/// name with capitals would fold and one with a comma would split.
pub(crate) fn publication_names(names: &[String]) -> String {
    let identifiers: Vec<String> = names.iter().map(|name| identifier(name)).collect();
    literal(&identifiers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_end_its_quotes() {
        for (name, quoted_identifier, quoted_literal) in [
            ("plain", "\"plain\"", "'plain'"),
            ("Mixed", "\"Mixed\"", "'Mixed'"),
            ("a\"b", "\"a\"\"b\"", "'a\"b'"),
            ("a'b", "\"a'b\"", "'a''b'"),
            ("a\\'b", "\"a\\'b\"", "'a\\''b'"),
            ("", "\"\"", "''"),
        ] {
            assert_eq!(identifier(name), quoted_identifier);
            assert_eq!(literal(name), quoted_literal);
        }
    }

    #[test]
    fn publications_are_quoted_as_identifiers_and_again_as_one_text() {
        let names = ["outbox", "My,Pub", "it's \"x\""].map(String::from);
        assert_eq!(publication_names(&names), r#"'"outbox","My,Pub","it''s ""x"""'"#);
    }
}
