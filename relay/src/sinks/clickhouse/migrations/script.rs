//! A file of SQL, cut into its statements: ClickHouse takes one at a time.
//!
//! Guarantee: a statement ends at a semicolon that stands in no literal, quoted name, comment or heredoc
//! (<https://clickhouse.com/docs/sql-reference/syntax>), and nowhere else.

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without the semicolon and without comments before it.
    pub text: String,
    /// The line on which it begins; the first is 1.
    pub line: usize,
}

/// Why a file cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} that begins on line {line} does not end")]
pub struct Unended {
    what: &'static str,
    line: usize,
}

/// A piece that is read as a whole: what it is, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    is_comment: bool,
    end: usize,
}

/// The statements of a file, in order.
///
/// # Errors
/// If something is opened and not closed.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, Unended> {
    let mut found = Vec::new();
    let (mut at, mut start) = (0, None);
    while let Some(letter) = text[at..].chars().next() {
        let piece = piece(text, at)?;
        let after = piece.map_or(at + letter.len_utf8(), |piece| piece.end);
        if letter == ';' {
            found.extend(start.take().map(|start| statement(text, start, at)));
        } else if !letter.is_whitespace() && piece.is_none_or(|piece| !piece.is_comment) {
            start.get_or_insert(at);
        }
        at = after;
    }
    found.extend(start.map(|start| statement(text, start, text.len())));
    Ok(found)
}

/// The words of a statement in capitals, without literals, quoted names and comments; each bracket is a word.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut at, mut word) = (0, String::new());
    while let Some(letter) = text[at..].chars().next() {
        // What does not end is the rest of the text: the statement was cut out of a file that ends well.
        let piece = piece(text, at).unwrap_or(Some(Piece { is_comment: true, end: text.len() }));
        at = piece.map_or(at + letter.len_utf8(), |piece| piece.end);
        if piece.is_none() && (letter.is_alphanumeric() || letter == '_') {
            word.extend(letter.to_uppercase());
            continue;
        }
        words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        if piece.is_none() && (letter == '(' || letter == ')') {
            words.push(letter.to_string());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn statement(text: &str, start: usize, end: usize) -> Statement {
    Statement { text: text[start..end].trim_end().to_owned(), line: line_of(text, start) }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// What begins at `at` and is read as a whole.
fn piece(text: &str, at: usize) -> Result<Option<Piece>, Unended> {
    let rest = &text[at..];
    let unended = |what| Unended { what, line: line_of(text, at) };
    let piece = |is_comment, length: usize| Some(Piece { is_comment, end: at + length });
    if rest.starts_with("--") || rest.starts_with("# ") || rest.starts_with("#!") {
        return Ok(piece(true, rest.find('\n').unwrap_or(rest.len())));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        let length = comment.find("*/").ok_or_else(|| unended("a comment"))?;
        return Ok(piece(true, length + 4));
    }
    match rest.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => {
            let length = quoted(rest, quote).ok_or_else(|| unended("a quoted text"))?;
            Ok(piece(false, length))
        }
        // In the middle of a word a dollar is a letter of it.
        Some('$') if !text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_') => {
            let Some(tag) = tag(rest) else { return Ok(None) };
            let length = rest[tag.len()..].find(tag).ok_or_else(|| unended("a heredoc"))?;
            Ok(piece(false, length + 2 * tag.len()))
        }
        _ => Ok(None),
    }
}

/// The length of a quoted text with its quotes. A doubled quote is two texts side by side, which cuts the same.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            letter if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `$name$` or `$$` at the beginning of `text`.
fn tag(text: &str) -> Option<&str> {
    let name = text[1..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')?;
    text[1 + name..].starts_with('$').then(|| &text[..name + 2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        statements(text).expect("everything ends").into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_statement_ends_at_a_semicolon_that_is_nothing_elses() {
        for (text, expected) in [
            ("", vec![]),
            (" ; ;\n-- only a comment; \n", vec![]),
            ("select 1; select 2", vec!["select 1", "select 2"]),
            ("-- first; a note\nselect 1 -- why; so\n;", vec!["select 1 -- why; so"]),
            ("select ';', 'it''s; \\'so\\';'; select 2", vec!["select ';', 'it''s; \\'so\\';'", "select 2"]),
            ("select `a;b`, \"c;d\";", vec!["select `a;b`, \"c;d\""]),
            ("/* a; b */ select /* c; */ 1;", vec!["select /* c; */ 1"]),
            ("select $$a;'$$, $tag$ b; $$ $tag$; select a$b", vec!["select $$a;'$$, $tag$ b; $$ $tag$", "select a$b"]),
            ("#! a shell; 1\n# more;\nselect 1", vec!["select 1"]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_knows_its_line() {
        let found = statements("-- a note\n\nselect\n1;\n\n select 2").expect("everything ends");
        assert_eq!(found.iter().map(|statement| statement.line).collect::<Vec<_>>(), [3, 6]);
    }

    #[test]
    fn what_does_not_end_is_named_with_its_line() {
        for (text, message) in [
            ("select 1;\nselect 'a;", "a quoted text that begins on line 2 does not end"),
            ("/* a", "a comment that begins on line 1 does not end"),
            ("\n\nselect $a$ b", "a heredoc that begins on line 3 does not end"),
        ] {
            assert_eq!(statements(text).expect_err("open").to_string(), message);
        }
    }

    #[test]
    fn words_are_without_what_is_quoted() {
        assert_eq!(words("create /* or */ View `if`.v (a 'x') -- z"), ["CREATE", "VIEW", "V", "(", "A", ")"]);
    }

    proptest! {
        #[test]
        fn no_text_is_lost_and_none_panics(text in "[a;'\"`$\\\\/*\\-# \nä]{0,60}") {
            if let Ok(found) = statements(&text) {
                let mut rest = text.as_str();
                for statement in found {
                    let at = rest.find(&statement.text);
                    prop_assert!(at.is_some(), "{:?} is not in {:?}", statement.text, rest);
                    rest = &rest[at.unwrap_or_default() + statement.text.len()..];
                    let _ = words(&statement.text);
                }
            }
        }
    }
}
