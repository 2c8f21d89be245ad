//! What topics should hold beside what they do: each row of an outbox against the records with its id. Pure.
//!
//! Of a record its id and digests of its key, value and headers are kept, [`ROW_BYTES`] for each row whatever its size.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::kafka::held::{Seen, number};
use crate::pipeline::MessageRef;

/// The header by which a record says that somebody published its event again on purpose, and in which run.
pub const REPLAY: &str = "postrider-replay";

/// Memory that a row takes, in bytes: here, and in lists of names beside it.
pub const ROW_BYTES: usize = 256;

/// Rows that are compared at once at most: 256 MiB.
pub const ROWS_MAX: usize = 1024 * 1024;

/// What a record is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    key: u64,
    value: u64,
    headers: u64,
}

/// A row, and what was seen of it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    topic: u32,
    parts: Parts,
    tally: Tally,
}

/// What was seen of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often it was delivered, up to 65535.
    pub delivered: u16,
    /// How often it was published again on purpose.
    pub replayed: u16,
    /// Whether it stands among what was given up.
    pub given_up: bool,
    /// A record has another key.
    pub key_differs: bool,
    /// A record has another value.
    pub value_differs: bool,
    /// A record has other headers.
    pub headers_differ: bool,
    /// A record stands in another topic.
    pub topic_differs: bool,
    /// A later event of its key was delivered before it.
    pub out_of_order: bool,
}

/// The last event of a key: of those with a position, and of those without.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    position: Option<u128>,
    place: Option<u32>,
}

/// Rows, and what was seen of them.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// By id; sorted before anything is looked up.
    index: Vec<(u128, u32)>,
    sorted: bool,
    topics: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    /// Where events that were given up go.
    given_up: Option<String>,
    /// The header that says where an event was written, which no row knows.
    position_header: Option<String>,
    /// Whether the rows' own order tells the order of those without a position.
    ordered: bool,
    order: HashMap<(u32, i32, u64), Last>,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(given_up: Option<String>, position_header: Option<String>, ordered: bool) -> Self {
        Self {
            entries: Vec::new(),
            index: Vec::new(),
            sorted: true,
            topics: Vec::new(),
            numbers: HashMap::new(),
            given_up,
            position_header,
            ordered,
            order: HashMap::new(),
        }
    }

    /// Adds the row of this id, which should be this message; its place among the rows, from 0 on. Rows come in their order.
    pub fn expect(&mut self, id: &str, message: &MessageRef<'_>) -> usize {
        let topic = match self.numbers.get(message.topic()) {
            Some(known) => *known,
            None => {
                let (name, next): (Arc<str>, u32) = (Arc::from(message.topic()), self.topics.len() as u32);
                self.topics.push(Arc::clone(&name));
                self.numbers.insert(name, next);
                next
            }
        };
        let parts = self.parts(message.key(), message.value(), message.headers());
        let place = self.entries.len();
        self.entries.push(Entry { topic, parts, tally: Tally::default() });
        self.index.push((number(id.as_bytes()), place as u32));
        self.sorted = false;
        place
    }

    /// The topics that rows belong to.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| &**topic)
    }

    /// The topic that a row belongs to.
    #[must_use]
    pub fn topic_of(&self, place: usize) -> &str {
        self.entries.get(place).map_or("", |entry| &self.topics[entry.topic as usize])
    }

    /// What was seen of a row.
    #[must_use]
    pub fn tally(&self, place: usize) -> Tally {
        self.entries.get(place).map(|entry| entry.tally).unwrap_or_default()
    }

    /// Notes a record. Those of each partition come in their order.
    pub fn note(&mut self, seen: &Seen<'_>) {
        if !self.sorted {
            self.index.sort_unstable();
            self.sorted = true;
        }
        let Some(id) = &seen.id else { return };
        let id = number(id.as_bytes());
        let Ok(found) = self.index.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let place = self.index[found].1;
        if self.given_up.as_deref() == Some(seen.topic) {
            self.entries[place as usize].tally.given_up = true;
            return;
        }
        let parts = self.parts(seen.key, seen.value, seen.headers.iter().copied());
        let again = seen.headers.iter().any(|(name, _)| *name == REPLAY);
        let topic = self.numbers.get(seen.topic).copied();
        let entry = &mut self.entries[place as usize];
        if again && topic != Some(entry.topic) {
            // Somebody wanted it there.
            return;
        }
        let (wanted, tally) = (entry.parts, &mut entry.tally);
        tally.topic_differs |= topic != Some(entry.topic);
        tally.key_differs |= parts.key != wanted.key;
        tally.value_differs |= parts.value != wanted.value;
        tally.headers_differ |= parts.headers != wanted.headers;
        if again {
            tally.replayed = tally.replayed.saturating_add(1);
            return;
        }
        tally.delivered = tally.delivered.saturating_add(1);
        if tally.delivered == 1 {
            self.put_in_order(place, topic.unwrap_or(u32::MAX), parts.key, seen);
        }
    }

    /// A first delivery: nothing later of its key may stand before it. Without a key there is no order.
    fn put_in_order(&mut self, place: u32, topic: u32, key: u64, seen: &Seen<'_>) {
        if seen.key.is_none() {
            return;
        }
        let last = self.order.entry((topic, seen.partition, key)).or_default();
        let is_late = match seen.position {
            Some(position) => {
                let late = last.position.is_some_and(|last| position < last);
                last.position = last.position.max(Some(position));
                late
            }
            None => {
                let late = self.ordered && last.place.is_some_and(|last| place < last);
                last.place = last.place.max(Some(place));
                late
            }
        };
        self.entries[place as usize].tally.out_of_order |= is_late;
    }

    fn parts<'h>(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Parts {
        let mut all = Sha256::new();
        for (name, value) in headers {
            if name == REPLAY || Some(name) == self.position_header.as_deref() {
                continue;
            }
            put(&mut all, Some(name.as_bytes()));
            put(&mut all, value);
        }
        Parts { key: digest(key), value: digest(value), headers: short(all) }
    }
}

/// Adds bytes, so that two texts never add up to a third one; none is not empty.
fn put(to: &mut Sha256, bytes: Option<&[u8]>) {
    let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
    to.update(len.to_be_bytes());
    to.update(bytes.unwrap_or_default());
}

fn digest(bytes: Option<&[u8]>) -> u64 {
    let mut of = Sha256::new();
    put(&mut of, bytes);
    short(of)
}

fn short(of: Sha256) -> u64 {
    of.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::pipeline::Messages;
    use crate::pipeline::message::{HeaderName, Message};

    const POSITION: &str = "postrider-position";

    /// A ledger of these rows, all of the key `k`, in the topic `t`.
    fn ledger(ids: &[&str]) -> Ledger {
        let mut ledger = Ledger::new(Some("dead".to_owned()), Some(POSITION.to_owned()), true);
        for id in ids {
            let mut messages = Messages::default();
            let (key, value, name) = (messages.keep(b"k"), messages.keep(id.as_bytes()), messages.keep(id.as_bytes()));
            messages.header(HeaderName::Static("id"), Some(name));
            let message = Message {
                topic: Arc::from("t"),
                key: Some(key),
                value: Some(value),
                headers: 0..1,
                timestamp_ms: 0,
                position: 0,
                route: 0,
            };
            messages.push(message);
            ledger.expect(id, &messages.at(0).expect("it was pushed"));
        }
        ledger
    }

    fn seen<'r>(topic: &'r str, id: &'r str, position: Option<u128>, more: &[(&'r str, &'r str)]) -> Seen<'r> {
        let more = more.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        Seen {
            topic,
            partition: 0,
            timestamp_ms: None,
            id: Some(Cow::Borrowed(id)),
            position,
            key: Some(b"k"),
            value: Some(id.as_bytes()),
            headers: [("id", Some(id.as_bytes())), (POSITION, Some(&b"0"[..]))].into_iter().chain(more).collect(),
        }
    }

    #[test]
    fn a_record_that_is_what_its_row_becomes_is_one_delivery_and_a_second_one_is_another() {
        let mut ledger = ledger(&["a", "b"]);
        ledger.note(&seen("t", "a", Some(1), &[]));
        ledger.note(&seen("t", "stranger", Some(1), &[]));
        assert_eq!(ledger.tally(0), Tally { delivered: 1, ..Tally::default() });
        assert_eq!(ledger.tally(1), Tally::default());
        ledger.note(&seen("t", "a", Some(1), &[]));
        assert_eq!(ledger.tally(0), Tally { delivered: 2, ..Tally::default() });
    }

    #[test]
    fn what_differs_is_told_by_its_part() {
        let mut ledger = ledger(&["a", "b", "c", "d"]);
        ledger.note(&Seen { value: Some(b"tampered"), ..seen("t", "a", None, &[]) });
        ledger.note(&seen("t", "b", None, &[("more", "")]));
        ledger.note(&Seen { key: None, ..seen("t", "c", None, &[]) });
        ledger.note(&seen("elsewhere", "d", None, &[]));
        let one = Tally { delivered: 1, ..Tally::default() };
        assert_eq!(ledger.tally(0), Tally { value_differs: true, ..one });
        assert_eq!(ledger.tally(1), Tally { headers_differ: true, ..one });
        assert_eq!(ledger.tally(2), Tally { key_differs: true, ..one });
        assert_eq!(ledger.tally(3), Tally { topic_differs: true, ..one });
    }

    #[test]
    fn order_is_that_of_positions_and_else_that_of_the_rows_and_late_repetitions_do_not_break_it() {
        let mut by_position = ledger(&["a", "b", "c"]);
        // Committed in another order than inserted.
        for (id, position) in [("b", 1), ("a", 2), ("b", 1), ("c", 0)] {
            by_position.note(&seen("t", id, Some(position), &[]));
        }
        let late = |ledger: &Ledger| [0, 1, 2].map(|place| ledger.tally(place).out_of_order);
        assert_eq!(late(&by_position), [false, false, true]);
        let mut by_place = ledger(&["a", "b", "c"]);
        for id in ["a", "c", "b"] {
            by_place.note(&seen("t", id, None, &[]));
        }
        assert_eq!(late(&by_place), [false, true, false]);
    }

    #[test]
    fn what_was_replayed_or_given_up_is_no_second_delivery() {
        let mut ledger = ledger(&["a"]);
        ledger.note(&seen("t", "a", Some(1), &[]));
        ledger.note(&seen("t", "a", None, &[(REPLAY, "run")]));
        ledger.note(&seen("other", "a", None, &[(REPLAY, "run")]));
        ledger.note(&seen("dead", "a", None, &[("reason", "too large")]));
        let expected = Tally { delivered: 1, replayed: 1, given_up: true, ..Tally::default() };
        assert_eq!(ledger.tally(0), expected);
    }
}
