//! The values that name a row, as one string of bytes.

use std::fmt;

/// Marks a null among the lengths of values.
const NULL: u32 = u32::MAX;

/// The values of a row's key in their output form. Two rows are the same if these are: an update from one form of a value
/// to another one, as from 1.0 to 1.00, is a change of the key in the stream, and names both.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct RowKey(Vec<u8>);

impl RowKey {
    /// The key of these values; `None` is null.
    pub(crate) fn of<'v>(values: impl IntoIterator<Item = Option<&'v [u8]>>) -> Self {
        let mut key = Self::default();
        for value in values {
            key.push(value);
        }
        key
    }

    /// Adds a value.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        // No value of Postgres is longer than a gigabyte.
        let length = value.map_or(NULL, |value| value.len() as u32);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value.unwrap_or_default());
    }

    /// Its values.
    pub(crate) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let value = match u32::from_be_bytes(*length) {
                NULL => None,
                length => Some(behind.get(..length as usize)?),
            };
            rest = &behind[value.map_or(0, <[u8]>::len)..];
            Some(value)
        })
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the content: it holds row values.
        write!(f, "RowKey({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_and_different_ones_differ() {
        let keys: [&[Option<&[u8]>]; 6] =
            [&[], &[None], &[Some(b"")], &[Some(b"ab"), Some(b"c")], &[Some(b"a"), Some(b"bc")], &[Some(b"abc"), None]];
        for values in keys {
            let key = RowKey::of(values.iter().copied());
            assert_eq!(key.values().collect::<Vec<_>>(), values);
            assert_eq!(keys.iter().filter(|other| RowKey::of(other.iter().copied()) == key).count(), 1);
        }
    }
}
