//! What a worker knows of its dead letters by heart: which records they are, which keys wait for them, and which orders
//! are not done. Pure; it is the same for everybody who was told the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::pipeline::assigned::Assigned;
use crate::pipeline::dead_letters::letters::{Identity, News, Noted, Order, Place, Returned, Stays, Step, Verb};
use crate::pipeline::parking::KeyHash;

/// Most letters that one order delivers: one batch.
pub const ORDER_LETTERS_MAX: usize = 500;

/// Most bytes that one order delivers; a larger letter goes alone.
pub const ORDER_BYTES_MAX: u64 = 4 << 20;

/// What became of a letter so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is one.
    Held,
    /// An order that is not done names it.
    Claimed(u128),
    /// It was delivered.
    Replayed,
    /// It was given up for good.
    Dropped,
}

impl State {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "dead",
            Self::Claimed(_) => "replaying",
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Replayed | Self::Dropped)
    }
}

/// A letter, as the index knows it.
#[derive(Debug)]
struct Entry {
    place: Place,
    held_key: Option<KeyHash>,
    waiting: bool,
    bytes: u64,
    state: State,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// What an order delivers is to be decided.
    Begin(Order),
    /// What an order delivers is to be delivered, perhaps once more.
    Resume(Order),
    /// Letters wait for nothing any more: offsets of one partition.
    Release {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offsets, rising.
        offsets: Vec<i64>,
    },
}

/// Everything that is known of the letters.
#[derive(Debug, Default)]
pub struct Index {
    letters: BTreeMap<Identity, Entry>,
    /// The letters that are not settled of each key that waits.
    keys: HashMap<KeyHash, BTreeSet<Identity>>,
    /// The orders that are not done, by the time of their coming.
    orders: BTreeMap<u64, Order>,
    numbers: HashMap<u128, u64>,
    next: u64,
    unsettled: usize,
}

impl Index {
    /// Takes note of what was written. What is told twice changes nothing.
    pub fn apply(&mut self, news: News) {
        match news {
            News::Letter(letter) => self.add(letter),
            News::Order(order) => self.follow(order),
        }
    }

    fn add(&mut self, letter: Noted) {
        let Noted { identity, place, held_key, waiting, bytes } = letter;
        if self.letters.contains_key(&identity) {
            return;
        }
        if let Some(key) = held_key {
            self.keys.entry(key).or_default().insert(identity.clone());
        }
        self.unsettled += 1;
        self.letters.insert(identity, Entry { place, held_key, waiting, bytes, state: State::Held });
    }

    fn follow(&mut self, order: Order) {
        let number = self.numbers.get(&order.id).copied();
        let before = number.and_then(|number| self.orders.remove(&number));
        let claim = State::Claimed(order.id);
        for returned in &order.returned {
            self.change(&order, returned.offset, |state| match (state == claim, returned.why) {
                (true, Stays::Gone) => State::Dropped,
                (true, _) => State::Held,
                (false, _) => state,
            });
            self.was_returned(&order, returned);
        }
        // What it named before and names no more is what it was.
        for offset in before.iter().flat_map(|before| &before.offsets) {
            self.change(&order, *offset, |state| if state == claim { State::Held } else { state });
        }
        let stays: HashSet<i64> = order.returned.iter().map(|returned| returned.offset).collect();
        for offset in order.offsets.iter().filter(|offset| !stays.contains(offset)) {
            self.change(&order, *offset, |state| match (order.step, order.verb, state) {
                (Step::Asked, _, State::Held) | (Step::Running, ..) => claim,
                (Step::Asked, _, state) if order.again && state.is_settled() => claim,
                (Step::Done, Verb::Drop, _) => State::Dropped,
                (Step::Done, ..) => State::Replayed,
                (Step::Asked, _, state) => state,
            });
        }
        if order.step == Step::Done {
            self.numbers.remove(&order.id);
            return;
        }
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.numbers.insert(order.id, number);
        self.orders.insert(number, order);
    }

    /// What was refused itself waits for a person from now on, and no longer for what was before it.
    fn was_returned(&mut self, order: &Order, returned: &Returned) {
        let identity = order.identity(returned.offset);
        if returned.why == Stays::Refused
            && let Some(entry) = self.letters.get_mut(&identity)
        {
            entry.waiting = false;
        }
    }

    fn change(&mut self, order: &Order, offset: i64, change: impl FnOnce(State) -> State) {
        let identity = order.identity(offset);
        let Some(entry) = self.letters.get_mut(&identity) else { return };
        let (before, after) = (entry.state, change(entry.state));
        entry.state = after;
        if before.is_settled() == after.is_settled() {
            return;
        }
        if after.is_settled() {
            self.unsettled -= 1;
        } else {
            self.unsettled += 1;
        }
        let Some(key) = entry.held_key else { return };
        let of_key = self.keys.entry(key).or_default();
        if after.is_settled() {
            of_key.remove(&identity);
        } else {
            of_key.insert(identity);
        }
        if of_key.is_empty() {
            self.keys.remove(&key);
        }
    }

    /// How many letters are not settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// How many keys wait.
    #[must_use]
    pub fn held_keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nothing of which a record could be a part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// The offsets of the letters of a partition in this range, settled ones included.
    pub fn within(&self, topic: &Arc<str>, partition: i32, range: RangeInclusive<i64>) -> impl Iterator<Item = i64> {
        let at = |offset| Identity { topic: Arc::clone(topic), partition, offset };
        self.letters.range(at(*range.start())..=at(*range.end())).map(|(identity, _)| identity.offset)
    }

    /// Whether a letter of that key, which is not settled, was read before this record.
    #[must_use]
    pub fn is_behind(&self, key: KeyHash, record: &Identity) -> bool {
        let first = self.keys.get(&key).and_then(BTreeSet::first);
        // Where the number of partitions changed meanwhile, nobody can tell.
        first.is_some_and(|first| first.partition != record.partition || first.offset < record.offset)
    }

    /// What became of a letter, if it is one.
    #[must_use]
    pub fn state(&self, of: &Identity) -> Option<State> {
        self.letters.get(of).map(|entry| entry.state)
    }

    /// The places of these letters of an order.
    #[must_use]
    pub fn places(&self, order: &Order) -> Vec<(Identity, Place)> {
        let at = |offset: &i64| {
            let identity = order.identity(*offset);
            let place = self.letters.get(&identity)?.place;
            Some((identity, place))
        };
        order.offsets.iter().filter_map(at).collect()
    }

    /// What an order that was asked for can deliver, and what it must leave: what is settled or another order's, and what is
    /// behind another letter of its key.
    #[must_use]
    pub fn decide(&self, order: &Order) -> (Vec<i64>, Vec<Returned>) {
        let (mut goes, mut stays) = (Vec::new(), Vec::new());
        let mut going: HashSet<Identity> = HashSet::new();
        for &offset in &order.offsets {
            let identity = order.identity(offset);
            let why = match self.letters.get(&identity) {
                None => Some((Stays::Gone, "it is no letter, or no longer kept")),
                Some(entry) if entry.state != State::Claimed(order.id) => {
                    Some((Stays::Settled, "it was settled, or is in another order"))
                }
                Some(entry) => entry.held_key.and_then(|key| {
                    let earlier = self.keys.get(&key).into_iter().flatten().take_while(|other| **other < identity);
                    let blocked = earlier.into_iter().any(|other| !going.contains(other));
                    blocked.then_some((Stays::Behind, "an earlier letter of its key stays"))
                }),
            };
            match why {
                Some((why, reason)) => stays.push(Returned { offset, why, reason: reason.to_owned() }),
                None => {
                    going.insert(identity);
                    goes.push(offset);
                }
            }
        }
        (goes, stays)
    }

    /// Of some letters of an order, those behind these ones of their keys, which stay.
    #[must_use]
    pub fn behind(&self, order: &Order, staying: &HashSet<i64>) -> Vec<i64> {
        let mut keys = HashSet::new();
        let mut behind = Vec::new();
        for &offset in &order.offsets {
            let Some(key) = self.key(order, offset) else { continue };
            if staying.contains(&offset) {
                keys.insert(key);
            } else if keys.contains(&key) {
                behind.push(offset);
            }
        }
        behind
    }

    /// The key of a letter of an order, if others wait for it.
    #[must_use]
    pub fn key(&self, order: &Order, offset: i64) -> Option<KeyHash> {
        self.letters.get(&order.identity(offset)).and_then(|entry| entry.held_key)
    }

    /// What is to be done next for the partitions that this process holds, but with the letters that rest.
    #[must_use]
    pub fn work(&self, assigned: &Assigned, rests: impl Fn(&Identity) -> bool) -> Option<Work> {
        let ours = |order: &&Order| assigned.holds(&order.topic, order.partition);
        if let Some(order) = self.orders.values().find(ours) {
            let order = order.clone();
            return Some(if order.step == Step::Running { Work::Resume(order) } else { Work::Begin(order) });
        }
        self.released(assigned, rests)
    }

    /// Letters that wait for nothing any more: of each key, those before the next that is not one.
    fn released(&self, assigned: &Assigned, rests: impl Fn(&Identity) -> bool) -> Option<Work> {
        let waits = |identity: &&Identity| {
            let is_held = |entry: &Entry| entry.waiting && entry.state == State::Held;
            self.letters.get(*identity).is_some_and(is_held) && !rests(identity)
        };
        let mut of: Option<(&Arc<str>, i32)> = None;
        let (mut offsets, mut bytes) = (BTreeSet::new(), 0);
        for of_key in self.keys.values() {
            let Some(first) = of_key.first().filter(waits) else { continue };
            if !assigned.holds(&first.topic, first.partition)
                || of.is_some_and(|of| of != (&first.topic, first.partition))
            {
                continue;
            }
            of = Some((&first.topic, first.partition));
            for identity in of_key.iter().take_while(waits) {
                let more = self.letters.get(identity).map_or(0, |entry| entry.bytes);
                let is_full = offsets.len() >= ORDER_LETTERS_MAX || bytes + more > ORDER_BYTES_MAX;
                // Of the others of a partition those after it would pass it.
                if (is_full && !offsets.is_empty()) || identity.partition != first.partition {
                    break;
                }
                bytes += more;
                offsets.insert(identity.offset);
            }
        }
        let (topic, partition) = of?;
        Some(Work::Release { topic: Arc::clone(topic), partition, offsets: offsets.into_iter().collect() })
    }
}
