//! What a message is known by when it comes again: its position, or a name of its own where that would be another then.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::pipeline::message::{MessageRef, Messages};

/// The bit that tells such a name from a position, whose greatest part is a small number.
const NAME: u128 = 1 << 126;

impl Messages {
    /// Names the message that was added last by what it is about, because it will have another position when its source reads it
    /// again: a row that is read from a table, and not from a log. Its key tells it from others; where it has none, `about` does,
    /// which does not change unless the message does.
    pub fn name_last(&mut self, about: impl Hash) {
        let Some(last) = self.list.last() else { return };
        let mut hasher = DefaultHasher::new();
        last.topic.hash(&mut hasher);
        match last.key {
            Some(key) => self.get(key).hash(&mut hasher),
            None => about.hash(&mut hasher),
        }
        self.names.resize(self.list.len() - 1, 0);
        self.names.push(NAME | u128::from(hasher.finish()));
    }
}

impl MessageRef<'_> {
    /// What it is known by, for as long as the process lives: its position, unless it was given a name.
    #[must_use]
    pub fn name(&self) -> u128 {
        let named = self.messages.names.get(self.index).copied().filter(|name| *name != 0);
        named.unwrap_or(self.message.position)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::Message;

    fn push(messages: &mut Messages, position: u128) {
        let topic = Arc::from("t");
        messages.push(Message { topic, key: None, value: None, headers: 0..0, timestamp_ms: 0, position, route: 0 });
    }

    #[test]
    fn a_named_message_is_known_again_at_another_position_and_others_by_theirs() {
        let names = |first: u128| {
            let mut messages = Messages::over(Bytes::new());
            push(&mut messages, first);
            for (position, row) in [(first + 1, "a"), (first + 2, "b"), (first + 3, "a")] {
                push(&mut messages, position);
                if position != first + 3 {
                    messages.name_last(row);
                }
            }
            messages
        };
        let known = |messages: &Messages| messages.iter().map(|message| message.name()).collect::<Vec<_>>();
        let (one, other) = (known(&names(10)), known(&names(90)));
        assert_eq!((one[0], one[3], other[0], other[3]), (10, 13, 90, 93));
        assert_eq!(one[1..3], other[1..3]);
        assert_ne!(one[1], one[2]);

        let mut messages = names(10);
        messages.remove(&[1]);
        assert_eq!(known(&messages), [10, one[2], 13]);
    }
}
