//! What is held together: one key of one topic, and the name under which logs and tables speak of it.

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes of a [`KeyHash`]: far too many for two keys to be taken for each other by chance.
const HASH_BYTES: usize = 16;

/// A key of a topic in the form in which it may be logged: the beginning of a SHA-256. Its text is hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; HASH_BYTES]);

impl KeyHash {
    /// The hash of `key` in `topic`.
    #[must_use]
    pub fn of(topic: &str, key: &[u8]) -> Self {
        let digest = Sha256::digest(joined(topic, key));
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&digest[..HASH_BYTES]);
        Self(hash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Topic and key in one, so that no two pairs look alike.
pub(super) fn joined(topic: &str, key: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    join(topic, key, &mut joined);
    joined
}

/// The same into a buffer that is used again.
pub(super) fn join(topic: &str, key: &[u8], joined: &mut Vec<u8>) {
    joined.clear();
    joined.extend_from_slice(&(topic.len() as u64).to_be_bytes());
    joined.extend_from_slice(topic.as_bytes());
    joined.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_read_the_same_when_run_together_differ() {
        assert_ne!(joined("ab", b"c"), joined("a", b"bc"));
        assert_ne!(KeyHash::of("ab", b"c"), KeyHash::of("a", b"bc"));
        assert_eq!(KeyHash::of("a", b"b"), KeyHash::of("a", b"b"));
        assert_eq!(KeyHash::of("a", b"b").to_string().len(), 2 * HASH_BYTES);
    }
}
