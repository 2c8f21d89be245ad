//! A condition that somebody wrote, to be put between parentheses: nothing in it may reach beyond them.

use thiserror::Error;

/// Why a text cannot be a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCondition {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// A parenthesis too many.
    #[error("closes a parenthesis that it did not open")]
    Closes,
    /// A parenthesis or a quote too few.
    #[error("leaves a parenthesis or a quote open")]
    Open,
    /// What could end or hide a statement.
    #[error(
        "has a semicolon, a comment, a dollar sign or a backslash outside of a plain text in quotes, which a condition cannot have here"
    )]
    Forbidden,
}

/// Checks that `text` stays within the parentheses that will be put around it.
///
/// # Errors
/// Why not. Texts with escapes (`E'…'`) and in dollar quotes are not taken, since where they end is hard to tell.
pub fn check(text: &str) -> Result<(), BadCondition> {
    if text.trim().is_empty() {
        return Err(BadCondition::Empty);
    }
    let mut depth = 0_usize;
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                // E'…' knows backslashes.
                if letter == '\'' && matches!(before, 'e' | 'E') {
                    return Err(BadCondition::Forbidden);
                }
                // A quote in a text is doubled, which looks like one text behind another.
                letters.find(|inner| *inner == letter).ok_or(BadCondition::Open)?;
            }
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or(BadCondition::Closes)?,
            ';' | '$' | '\\' | '\0' => return Err(BadCondition::Forbidden),
            '-' if letters.peek() == Some(&'-') => return Err(BadCondition::Forbidden),
            '/' if letters.peek() == Some(&'*') => return Err(BadCondition::Forbidden),
            _ => {}
        }
        before = letter;
    }
    if depth == 0 { Ok(()) } else { Err(BadCondition::Open) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_stays_within_its_parentheses() {
        for text in [
            "total > 5",
            "(a = 1) or (b = 2)",
            "name = 'it''s; -- fine )'",
            "\"Odd ; name\" is null",
            "created_at > now() - interval '1 day'",
            "a - -1 > 0",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, why) in [
            ("", BadCondition::Empty),
            (" \n", BadCondition::Empty),
            ("true) or (true", BadCondition::Closes),
            ("(true", BadCondition::Open),
            ("name = 'open", BadCondition::Open),
            ("true; drop table x", BadCondition::Forbidden),
            ("true -- rest", BadCondition::Forbidden),
            ("true /* rest", BadCondition::Forbidden),
            ("a = $$;$$", BadCondition::Forbidden),
            (r"a = E'\'; drop table x; --'", BadCondition::Forbidden),
        ] {
            assert_eq!(check(text), Err(why), "{text}");
        }
    }
}
