//! The name by which ClickHouse knows an insert again: `insert_deduplication_token`.
//!
//! Guarantee: the same records of the same cut, for the same table and with the same salt, always have the same token;
//! anything else has another. The records' bytes are part of it, because an offset alone does not name a record for ever:
//! a topic that was deleted and made again begins at 0, and a token used twice with other rows would lose them.
//!
//! Chance gives two batches the same token once in 2^128 pairs. Somebody who writes records could make two that share one – the
//! hash, [XXH3], is quick and no seal – and would win nothing: for the tokens to meet, the topic must be made anew within the
//! table's window, and what is lost then are records of his own.
//!
//! [XXH3]: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::pipeline::Messages;

/// What is hashed first: another version of this form must never meet a token of this one.
const FORM: &[u8] = b"postrider-load-3";

/// The part of a token that all tables of a batch share: what is sent, and from where.
#[derive(Clone)]
pub(super) struct Contents(Xxh3);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    /// Of no messages yet, which come to be sent under these salts.
    pub(super) fn new(salt: &str, replay: u128) -> Self {
        let mut hash = Xxh3::new();
        hash.update(FORM);
        part(&mut hash, Some(salt.as_bytes()));
        hash.update(&replay.to_le_bytes());
        Self(hash)
    }

    /// With these messages too, of which nobody has to know how many they are.
    pub(super) fn add(&mut self, messages: &Messages) {
        for message in messages.iter() {
            self.0.update(&message.position().to_le_bytes());
            part(&mut self.0, message.key());
            part(&mut self.0, message.value());
        }
    }

    /// Complete: the partition, and the offsets from which to which they were cut out of it.
    pub(super) fn close(&mut self, cut: Option<(&str, i32, i64, i64)>) {
        // No message has a position like this one.
        self.0.update(&u128::MAX.to_le_bytes());
        part(&mut self.0, cut.map(|(topic, ..)| topic.as_bytes()));
        if let Some((_, partition, first, last)) = cut {
            self.0.update(&partition.to_le_bytes());
            self.0.update(&first.to_le_bytes());
            self.0.update(&last.to_le_bytes());
        }
    }

    /// The token of these messages for `table`, which is named with its database.
    pub(super) fn token(&self, table: &str, feed: &str) -> String {
        let mut hash = self.0.clone();
        part(&mut hash, Some(table.as_bytes()));
        part(&mut hash, Some(feed.as_bytes()));
        format!("{:032x}", hash.digest128())
    }
}

/// Length first, so that no two lists of parts give the same bytes; what is absent has a length that nothing has.
fn part(hash: &mut Xxh3, bytes: Option<&[u8]>) {
    hash.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
    hash.update(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::{Cut, Message, Part};

    fn batch(first: i64, records: &[(Option<&str>, Option<&str>)]) -> Messages {
        let mut messages = Messages::default();
        let topic: Arc<str> = Arc::from("t");
        for (offset, (key, value)) in (first..).zip(records) {
            let key = key.map(|key| messages.keep(key.as_bytes()));
            let value = value.map(|value| messages.keep(value.as_bytes()));
            messages.push(Message {
                topic: Arc::clone(&topic),
                key,
                value,
                headers: 0..0,
                timestamp_ms: 0,
                position: offset as u128,
                route: 0,
            });
        }
        messages.set_cut(Cut {
            topic,
            partition: 0,
            first,
            last: first + records.len() as i64 - 1,
            part: Part::default(),
        });
        messages
    }

    #[test]
    fn the_same_records_of_the_same_cut_have_the_same_token_and_nothing_else_has() {
        let records = [(Some("k"), Some("v")), (None, Some("w"))];
        let token = |messages: &Messages, salt: &str, table: &str| {
            let mut contents = Contents::new(salt, messages.salt());
            contents.add(messages);
            contents.close(messages.cut().map(|cut| (&*cut.topic, cut.partition, cut.first, cut.last)));
            contents.token(table, "feed")
        };
        let one = token(&batch(7, &records), "", "db.a");
        assert_eq!(one, token(&batch(7, &records), "", "db.a"));
        let mut partition = batch(7, &records);
        partition.set_cut(Cut { topic: Arc::from("t"), partition: 1, first: 7, last: 8, part: Part::default() });
        let mut longer = batch(7, &records);
        longer.set_cut(Cut { topic: Arc::from("t"), partition: 0, first: 7, last: 9, part: Part::default() });
        let mut replayed = batch(7, &records);
        replayed.set_salt(1);
        let others = [
            token(&replayed, "", "db.a"),
            token(&batch(7, &records), "again", "db.a"),
            token(&batch(7, &records), "", "db.b"),
            token(&batch(8, &records), "", "db.a"),
            token(&partition, "", "db.a"),
            token(&longer, "", "db.a"),
            token(&batch(7, &[(Some("k"), Some("v")), (None, Some("x"))]), "", "db.a"),
            token(&batch(7, &[(Some("kv"), Some("")), (None, Some("w"))]), "", "db.a"),
            token(&batch(7, &[(Some("k"), Some("v")), (None, None)]), "", "db.a"),
            token(&batch(7, &[(Some("k"), Some("v")), (Some(""), Some("w"))]), "", "db.a"),
        ];
        let distinct: BTreeSet<&String> = others.iter().chain([&one]).collect();
        assert_eq!(distinct.len(), others.len() + 1);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
