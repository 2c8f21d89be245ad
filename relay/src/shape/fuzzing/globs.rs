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

/// Letter by letter: the places in the key that may be reached so far.
fn by_definition(pattern: &[u8], key: &[u8]) -> bool {
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    let mut letters = pattern.iter();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            b'*' => {
                let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
                reached[first..].fill(true);
                continue;
            }
            b'\\' => match letters.next() {
                Some(literal) => literal,
                None => break,
            },
            letter => letter,
        };
        for at in (1..reached.len()).rev() {
            reached[at] = reached[at - 1] && key[at - 1] == *letter;
        }
        reached[0] = false;
    }
    reached[key.len()]
}
