//! What a batch was cut out of, and which part of it a batch is that comes in several.

use std::sync::Arc;

/// What a batch was cut out of, where that is a log that can be read again: offsets of one partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the first record.
    pub first: i64,
    /// The offset of the last record. Between the two may be offsets that no record has.
    pub last: i64,
    /// Whether it is the whole of what becomes durable as one.
    pub part: Part,
}

/// Where a part stands in its batch. A large batch may come in parts, each as soon as it is read, so that nobody has to hold all of
/// it as it came; it becomes durable as one, with its last part.
///
/// Parts of one partition come in order and without another batch of it between them; parts of other partitions may. After a
/// rewind a batch comes again from its first part, though perhaps in other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Messages of the batch that came before.
    pub before: usize,
    /// Key and value bytes of these.
    pub bytes_before: usize,
    /// Whether further parts follow.
    pub more: bool,
}

impl Part {
    /// Whether the batch begins here.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.before == 0
    }

    /// Whether the batch is no more than this.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.begins() && !self.more
    }
}
