//! Debezium's lists of regular expressions as our lists of patterns, where they are plain enough: names, `.*`, and choices in
//! brackets.

/// Patterns that one expression becomes at most.
const PATTERNS_MAX: usize = 200;

/// The expressions of a list, each as patterns of names; why one cannot be one.
///
/// # Errors
/// A fragment that names the expression and what in it has no counterpart.
pub(super) fn patterns(list: &str) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for expression in split(list) {
        let plain = expand(expression).map_err(|what| {
            format!("{expression:?} has {what}: name what it means, `*` standing for any characters of a name")
        })?;
        patterns.extend(plain);
        if patterns.len() > PATTERNS_MAX {
            return Err(format!("it names more than {PATTERNS_MAX} patterns"));
        }
    }
    Ok(patterns)
}

/// The names of `parts` parts that a list of expressions means, as our lists write them.
///
/// # Errors
/// As [`patterns`]; and an expression whose dots do not tell where each name ends.
pub(super) fn names(list: &str, parts: usize) -> Result<Vec<String>, String> {
    let name = |pattern: &String| {
        let names: Vec<&str> = pattern.split('.').collect();
        match names.len() == parts && names.iter().all(|name| !name.is_empty()) {
            true => Ok(names.into_iter().map(quoted).collect::<Vec<_>>().join(".")),
            false => Err(format!(
                "{pattern:?} does not have {parts} names joined by dots; an expression such as public\\..* does"
            )),
        }
    };
    patterns(list)?.iter().map(name).collect()
}

/// The entries of a list; a comma within brackets does not end one.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let entries = list.split(move |letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth <= 0
    });
    entries.map(str::trim).filter(|entry| !entry.is_empty())
}

/// What an expression stands for: each choice in brackets makes as many patterns as it has branches.
fn expand(expression: &str) -> Result<Vec<String>, String> {
    let mut patterns = vec![String::new()];
    let mut rest = expression;
    while let Some(letter) = rest.chars().next() {
        let (taken, piece) = match letter {
            '(' => {
                let inside = rest[1..].find(')').map(|end| &rest[1..=end]).ok_or("a bracket that is not closed")?;
                let inside_plain = inside.strip_prefix("?:").unwrap_or(inside);
                let branches: Vec<String> =
                    inside_plain.split('|').map(expand).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
                (inside.len() + 2, branches)
            }
            '.' if rest.starts_with(".*") => (2, vec!["*".to_owned()]),
            // A bare dot is any character to Java; between names it is written for the dot itself.
            '.' => (1, vec![".".to_owned()]),
            '\\' => match rest[1..].chars().next() {
                Some(next) if !next.is_alphanumeric() && next != '*' => (1 + next.len_utf8(), vec![next.to_string()]),
                _ => return Err("an escape that is more than a character".to_owned()),
            },
            '*' | '+' | '?' | '[' | ']' | '{' | '}' | '|' | ')' | '^' | '$' => {
                return Err(format!("the sign `{letter}` of regular expressions"));
            }
            letter => (letter.len_utf8(), vec![letter.to_string()]),
        };
        rest = rest.get(taken..).unwrap_or_default();
        if patterns.len() * piece.len() > PATTERNS_MAX {
            return Err("too many choices".to_owned());
        }
        patterns = patterns.iter().flat_map(|start| piece.iter().map(move |end| format!("{start}{end}"))).collect();
    }
    Ok(patterns)
}

/// A name as our lists write it: in double quotes unless it is plain lower case.
pub(super) fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'*');
    if name.bytes().all(plain) && !name.starts_with(|letter: char| letter.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_list_of_expressions_becomes_patterns() {
        for (list, parts, expected) in [
            ("public.users", 2, "public.users"),
            ("public\\.users, public\\.order_.*", 2, "public.users public.order_*"),
            ("audit.*", 1, "audit*"),
            ("public\\.(users|Orders)", 2, "public.users public.\"Orders\""),
            ("(?:a|b)\\.(c|d.*)", 2, "a.c a.d* b.c b.d*"),
            ("public.users.email", 3, "public.users.email"),
            (".*\\..*\\.secret", 3, "*.*.secret"),
            ("", 2, ""),
        ] {
            let found = if parts == 1 { patterns(list) } else { names(list, parts) };
            assert_eq!(found.map(|names| names.join(" ")), Ok(expected.to_owned()), "{list}");
        }
    }

    #[test]
    fn what_only_an_expression_can_say_is_told() {
        for (list, says) in [
            ("public\\.user[s]", "the sign `[`"),
            ("public\\.\\w+", "an escape"),
            ("^public\\.users$", "the sign `^`"),
            ("public\\.(a", "a bracket that is not closed"),
            ("public\\.a|public\\.b", "the sign `|`"),
            ("users", "2 names joined by dots"),
            ("public.*", "2 names joined by dots"),
            ("a.b.c", "2 names joined by dots"),
        ] {
            let why = names(list, 2).expect_err(list);
            assert!(why.contains(says), "{list}: {why}");
        }
    }
}
