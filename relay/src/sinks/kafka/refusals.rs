//! What brokers refused, remembered until it is sent again: then it is reported before it enters the producer, so that
//! whoever decides about refused messages has one way to decide.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sinks::kafka::refusal::Refusal;

/// Refusals remembered at most. Of more, the broker is asked again.
const REFUSALS_MAX: usize = 1024;

/// When a message was accepted: the number of its batch, and its place in it.
pub(super) type Turn = (u64, u32);

/// A message that a broker refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusing {
    pub(super) refusal: Refusal,
    /// A later message of its key was taken all the same.
    pub(super) overtaken: bool,
    topic: Box<str>,
    key: Option<Box<[u8]>>,
    turn: Turn,
}

/// What brokers refused, by position.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    by_position: HashMap<u128, Refusing>,
    /// Topics for which the relay lacks a right: not one message is meant, but all of theirs.
    forbidden: Vec<(Box<str>, Refusal)>,
}

impl Refusals {
    /// A broker refused a message. Position 0 names none, so that it could not be known again.
    pub(super) fn remember(&self, position: u128, (topic, key): (&str, Option<&[u8]>), turn: Turn, refusal: Refusal) {
        let mut memory = self.lock();
        if position != 0 && memory.by_position.len() < REFUSALS_MAX {
            let (topic, key) = (topic.into(), key.map(Into::into));
            memory.by_position.insert(position, Refusing { refusal, overtaken: false, topic, key, turn });
        }
    }

    /// A broker refused all messages for a topic.
    pub(super) fn forbid(&self, topic: &str, refusal: Refusal) {
        let mut memory = self.lock();
        if !memory.forbidden.iter().any(|(known, _)| **known == *topic) && memory.forbidden.len() < REFUSALS_MAX {
            memory.forbidden.push((topic.into(), refusal));
        }
    }

    /// A broker took a message although it had refused another one.
    pub(super) fn taken(&self, (topic, key): (&str, Option<&[u8]>), turn: Turn) {
        for refusing in self.lock().by_position.values_mut() {
            // Without a key there is no order that could be broken.
            if turn > refusing.turn && *refusing.topic == *topic && key.is_some() && refusing.key.as_deref() == key {
                refusing.overtaken = true;
            }
        }
    }

    /// What was refused of these positions, which is forgotten here: sent again, they are for the broker to judge anew.
    pub(super) fn recall(&self, positions: impl Iterator<Item = u128>) -> Vec<(usize, Refusing)> {
        let mut memory = self.lock();
        if memory.by_position.is_empty() {
            return Vec::new();
        }
        let found = positions
            .enumerate()
            .filter_map(|(index, position)| memory.by_position.remove(&position).map(|refusing| (index, refusing)));
        found.collect()
    }

    /// The topics that refused for want of a right since this was last asked.
    pub(super) fn forbidden(&self) -> Vec<(Box<str>, Refusal)> {
        std::mem::take(&mut self.lock().forbidden)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::kafka::refusal::Class;

    fn refusal() -> Refusal {
        Refusal::new(Class::Broker, "too large".into(), String::new())
    }

    #[test]
    fn a_refusal_is_reported_once_by_its_position() {
        let refusals = Refusals::default();
        refusals.remember(7, ("t", Some(b"k")), (1, 0), refusal());
        refusals.remember(0, ("t", Some(b"k")), (1, 1), refusal());
        let found = refusals.recall([5, 7, 0].into_iter());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.overtaken), (1, false));
        assert_eq!(refusals.recall([5, 7].into_iter()), []);
    }

    #[test]
    fn only_a_later_record_of_its_key_overtakes_it() {
        for (topic, key, turn, overtakes) in [
            ("t", Some(&b"k"[..]), (1, 3), true),
            ("t", Some(b"k"), (2, 0), true),
            ("t", Some(b"k"), (1, 1), false),
            ("t", Some(b"other"), (2, 0), false),
            ("other", Some(b"k"), (2, 0), false),
            ("t", None, (2, 0), false),
        ] {
            let refusals = Refusals::default();
            refusals.remember(7, ("t", Some(b"k")), (1, 2), refusal());
            refusals.taken((topic, key), turn);
            assert_eq!(refusals.recall([7].into_iter())[0].1.overtaken, overtakes, "{topic} {key:?} {turn:?}");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let refusals = Refusals::default();
        for position in 1..=2 * REFUSALS_MAX as u128 {
            refusals.remember(position, ("t", None), (1, 0), refusal());
            refusals.forbid("t", refusal());
        }
        assert_eq!(refusals.recall(1..=2 * REFUSALS_MAX as u128).len(), REFUSALS_MAX);
        assert_eq!(refusals.forbidden().len(), 1);
    }
}
