//! Patterns, matched here rather than in Redis: one sweep over the keys then serves all that are pending.

/// A pattern with `*` for anything and `\` before what stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// What must come in this order: the first at the start, the last at the end.
    literals: Vec<Vec<u8>>,
}

impl Glob {
    /// Reads what a pattern's template made.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let (mut literals, mut literal) = (Vec::new(), Vec::new());
        let mut letters = pattern.bytes();
        while let Some(letter) = letters.next() {
            match letter {
                b'*' => literals.push(std::mem::take(&mut literal)),
                b'\\' => literal.extend(letters.next()),
                _ => literal.push(letter),
            }
        }
        literals.push(literal);
        Self { literals }
    }

    /// What every key that it matches begins with.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        self.literals.first().map_or(&[], Vec::as_slice)
    }

    /// Whether `key` is one of those meant.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        let [first, middle @ .., last] = &self.literals[..] else {
            return self.literals.first().is_some_and(|only| only == key);
        };
        let Some(mut rest) = key.strip_prefix(first.as_slice()).and_then(|rest| rest.strip_suffix(last.as_slice()))
        else {
            return false;
        };
        // The leftmost place is the best one: whatever follows has the most room.
        for literal in middle.iter().filter(|literal| !literal.is_empty()) {
            match rest.windows(literal.len()).position(|window| window == literal.as_slice()) {
                Some(at) => rest = &rest[at + literal.len()..],
                None => return false,
            }
        }
        true
    }
}

/// The longest text that all of them begin with.
#[must_use]
pub fn common_prefix<'a>(globs: impl IntoIterator<Item = &'a Glob>) -> Vec<u8> {
    let mut globs = globs.into_iter();
    let Some(mut common) = globs.next().map(Glob::prefix) else { return Vec::new() };
    for glob in globs {
        let same = common.iter().zip(glob.prefix()).take_while(|(a, b)| a == b).count();
        common = &common[..same];
    }
    common.to_vec()
}
