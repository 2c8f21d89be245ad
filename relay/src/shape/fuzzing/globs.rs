//! Patterns of keys: what one matches decides which keys of a cache go.

use arbitrary::{Arbitrary, Unstructured};

use crate::shape::rules::glob::Glob;
use crate::shape::rules::template::escape;

#[derive(Debug, Arbitrary)]
struct Case<'c> {
    pattern: &'c str,
    key: &'c str,
}

/// A pattern matches as it does by the definition; a text that is escaped matches itself alone.
///
/// # Panics
/// If not.
pub fn match_globs(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let (pattern, key) = (case.pattern, case.key);
    if pattern.len() > 40 || key.len() > 40 {
        return;
    }
    let glob = Glob::new(pattern);
    let matches = glob.matches(key.as_bytes());
    assert_eq!(matches, by_definition(pattern.as_bytes(), key.as_bytes()), "{pattern:?} {key:?}");
    assert!(!matches || key.as_bytes().starts_with(glob.prefix()));
    let mut escaped = String::new();
    escape(&mut escaped, pattern);
    let itself = Glob::new(&escaped);
    assert!(itself.matches(pattern.as_bytes()));
    assert_eq!(itself.matches(key.as_bytes()), key == pattern);
}

fn by_definition(pattern: &[u8], key: &[u8]) -> bool {
    match pattern {
        [] => key.is_empty(),
        [b'*', rest @ ..] => (0..=key.len()).any(|at| by_definition(rest, &key[at..])),
        [b'\\'] => key.is_empty(),
        [b'\\', letter, rest @ ..] | [letter, rest @ ..] => {
            key.first() == Some(letter) && by_definition(rest, &key[1..])
        }
    }
}
