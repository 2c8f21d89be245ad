//! Rust source without what is not code: comments and literals become blanks, test modules can be cut off.

/// `text` with comments, strings and character literals blanked out; lines and columns stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut blanked = Blanked { rest: text, out: String::with_capacity(text.len()) };
    while let Some(next) = blanked.rest.chars().next() {
        blanked.step(next);
    }
    blanked.out
}

/// The part of `code` (see [`code`]) that is not below `#[cfg(test)]`: an item with that attribute is cut out.
pub(crate) fn without_tests(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(ATTRIBUTE) {
        out.push_str(&rest[..at]);
        rest = &rest[at + ATTRIBUTE.len()..];
        let end = item_end(rest);
        // Lines keep their numbers.
        out.extend(rest[..end].chars().filter(|letter| *letter == '\n'));
        rest = &rest[end..];
    }
    out + rest
}

/// Where the item that begins `code` ends: after its braces, or after its semicolon if that comes first.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in code.char_indices() {
        match letter {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

struct Blanked<'t> {
    rest: &'t str,
    out: String,
}

impl Blanked<'_> {
    fn step(&mut self, next: char) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment(rest));
        } else if next == '"' {
            self.blank(string(rest, 1));
        } else if let Some(raw) = raw_string(rest).filter(|_| !self.inside_a_word()) {
            self.blank(raw);
        } else if let Some(character) = character(rest) {
            self.blank(character);
        } else {
            self.keep(next.len_utf8());
        }
    }

    fn inside_a_word(&self) -> bool {
        self.out.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
    }

    fn keep(&mut self, bytes: usize) {
        let (kept, rest) = self.rest.split_at(bytes);
        self.out.push_str(kept);
        self.rest = rest;
    }

    fn blank(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.out.extend(gone.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// Length of the block comment that begins `text`; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a string whose opening quote ends at `from`.
fn string(text: &str, from: usize) -> usize {
    let mut letters = text[from..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return from + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw, byte or C string that begins `text`, if one does.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let after = &text[prefix.len()..];
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    if !after[hashes..].starts_with('"') || (hashes > 0 && !prefix.contains('r')) {
        return None;
    }
    let from = prefix.len() + hashes + 1;
    if !prefix.contains('r') {
        return Some(string(text, from));
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[from..].find(&end).map_or(text.len(), |at| from + at + end.len()))
}

/// Length of the character literal that begins `text`, if one does; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let mut letters = text.strip_prefix('\'')?.char_indices();
    let (_, first) = letters.next()?;
    if first == '\\' {
        // Escapes hold no quote but `\'`, which is two letters.
        letters.next()?;
        return letters.find(|(_, letter)| *letter == '\'').map(|(at, _)| at + 2);
    }
    letters.next().filter(|(_, letter)| *letter == '\'').map(|(at, _)| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_code_is_blanked_and_columns_stay() {
        for (text, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", z)"#, r"f(      , z)"),
            (r##"r#"a"b"# c"##, "         c"),
            (r#"b"a" c"#, "     c"),
            (r"'a' b", "    b"),
            (r"'\'' b", "     b"),
            ("&'a str", "&'a str"),
            ("'static", "'static"),
            (r#"car"x""#, r"car   "),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn items_of_tests_are_cut_out_and_lines_keep_their_numbers() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}";
        let rest = without_tests(text);
        assert!(rest.contains("fn a") && rest.contains("fn c") && rest.contains("fn d"), "{rest}");
        assert!(!rest.contains("fn b") && !rest.contains("more"), "{rest}");
        assert_eq!(rest.lines().position(|line| line.contains("fn d")), Some(8));
    }
}
