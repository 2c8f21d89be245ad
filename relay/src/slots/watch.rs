//! What changes between two looks at slots, and what ends a watch over them: pure, so that a script can rely on it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::slots::list::{Instance, Listing, Slot};

/// What was seen of slots before.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    names: Vec<String>,
    seconds_min: Option<f64>,
    known: Option<BTreeMap<Key, State>>,
}

/// A slot: a place of its server, and its name.
type Key = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    status: String,
    reader: Option<i32>,
    reached: bool,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A place of the slot's server.
    pub place: String,
    /// The slot.
    pub slot: String,
    /// What changed.
    pub what: String,
}

/// What one look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What changed since the look before; at the first look, nothing.
    pub changes: Vec<Change>,
    /// Why the watch is over, if it is.
    pub alarm: Option<String>,
}

impl Watch {
    /// A watch over the slots of these names, all if there are none, which also ends when one of them has less than so many
    /// seconds left.
    #[must_use]
    pub fn over(names: &[String], seconds_min: Option<f64>) -> Self {
        Self { names: names.to_vec(), seconds_min, known: None }
    }

    /// Compares a look with the one before. A place that did not answer shows nothing, and so changes nothing.
    ///
    /// A slot that is lost ends the watch: at the first look only if it was named, since of all slots some may be lost for long.
    pub fn see(&mut self, listing: &Listing) -> Seen {
        let first = self.known.is_none();
        let mut known = self.known.take().unwrap_or_default();
        let mut seen = Seen { changes: Vec::new(), alarm: None };
        for server in &listing.servers {
            let place = server.places.first().cloned().unwrap_or_default();
            forget(&mut known, server, &place, &mut seen);
            for slot in &server.slots {
                let key = (place.clone(), slot.facts.name.clone());
                let state = State::of(slot);
                let before = known.insert(key, state.clone());
                if !first {
                    let what =
                        before.as_ref().map_or_else(|| vec!["is new".to_owned()], |before| state.since(before, slot));
                    let change = |what| Change { place: place.clone(), slot: slot.facts.name.clone(), what };
                    seen.changes.extend(what.into_iter().map(change));
                }
                let was_lost = before.is_some_and(|before| before.status == LOST) || (first && self.names.is_empty());
                seen.alarm = seen.alarm.take().or_else(|| self.alarm(slot, was_lost));
            }
        }
        self.known = Some(known);
        seen
    }

    fn alarm(&self, slot: &Slot, was_lost: bool) -> Option<String> {
        let name = &slot.facts.name;
        if slot.facts.is_lost() {
            let reason = slot.facts.invalidation_reason.as_deref().unwrap_or("its log is gone");
            return (!was_lost).then(|| format!("slot {name:?} is lost ({reason})"));
        }
        let (left, bound) = slot.seconds_to_limit.zip(self.seconds_min)?;
        let limit = slot.limit.unwrap_or("its limit");
        (left < bound).then(|| format!("slot {name:?} reaches {limit} in {left:.0} s, which is less than {bound:.0} s"))
    }
}

const LOST: &str = "lost";

/// Drops what is gone from a server that was seen.
fn forget(known: &mut BTreeMap<Key, State>, server: &Instance, place: &str, seen: &mut Seen) {
    let is_there = |name: &str| server.slots.iter().any(|slot| slot.facts.name == name);
    known.retain(|(of, name), state| {
        let gone = of == place && !is_there(name);
        if gone {
            let what = format!("is gone; it was {}", state.status);
            seen.changes.push(Change { place: of.clone(), slot: name.clone(), what });
        }
        !gone
    });
}

impl State {
    fn of(slot: &Slot) -> Self {
        let status = if slot.facts.is_lost() { LOST } else { slot.facts.wal_status.as_deref().unwrap_or("unused") };
        Self {
            status: status.to_owned(),
            reader: slot.facts.reader.as_ref().map(|reader| reader.pid),
            reached: slot.seconds_to_limit == Some(0.0),
        }
    }

    fn since(&self, before: &Self, slot: &Slot) -> Vec<String> {
        let mut changes = Vec::new();
        if self.status != before.status {
            changes.push(format!("{} after {}", self.status, before.status));
        }
        if self.reader != before.reader {
            let reader = slot.facts.reader.as_ref();
            changes.push(match reader {
                Some(reader) => format!("read by pid {}", reader.pid),
                None => "no longer read".to_owned(),
            });
        }
        if self.reached && !before.reached {
            changes.push(format!("reached {}", slot.limit.unwrap_or("its limit")));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::facts::{self, SlotFacts};
    use crate::slots::list::judged;

    fn listing(slots: &[SlotFacts]) -> Listing {
        let server = judged(facts::plain_server(), slots.to_vec(), &[]);
        Listing { servers: vec![server], unseen: Vec::new() }
    }

    fn words(seen: &Seen) -> Vec<String> {
        seen.changes.iter().map(|change| format!("{} {}", change.slot, change.what)).collect()
    }

    #[test]
    fn what_changed_is_told_once() {
        let mut watch = Watch::over(&[], None);
        let (mut one, two) = (facts::plain("one"), facts::plain("two"));
        assert_eq!(words(&watch.see(&listing(&[one.clone()]))), [""; 0], "nothing is known to compare with");
        assert_eq!(words(&watch.see(&listing(&[one.clone(), two.clone()]))), ["two is new"]);
        one.wal_status = Some("extended".to_owned());
        assert_eq!(words(&watch.see(&listing(&[one.clone(), two.clone()]))), ["one extended after reserved"]);
        assert_eq!(words(&watch.see(&listing(&[one.clone(), two]))), [""; 0]);
        assert_eq!(words(&watch.see(&listing(&[one]))), ["two is gone; it was reserved"]);
        let nowhere = Listing { servers: Vec::new(), unseen: Vec::new() };
        assert_eq!(watch.see(&nowhere), Seen { changes: Vec::new(), alarm: None }, "not seen is not gone");
    }

    #[test]
    fn a_slot_that_becomes_lost_ends_the_watch_and_one_that_was_lost_before_only_if_it_was_named() {
        let mut lost = facts::plain("old");
        lost.wal_status = Some("lost".to_owned());
        let mut watch = Watch::over(&[], None);
        let mut new = facts::plain("new");
        assert_eq!(watch.see(&listing(&[lost.clone(), new.clone()])).alarm, None);
        assert_eq!(watch.see(&listing(&[lost.clone(), new.clone()])).alarm, None);
        new.invalidation_reason = Some("wal_removed".to_owned());
        let seen = watch.see(&listing(&[lost.clone(), new]));
        assert_eq!(seen.alarm.as_deref(), Some("slot \"new\" is lost (wal_removed)"));
        let named = Watch::over(&["old".to_owned()], None).see(&listing(&[lost]));
        assert_eq!(named.alarm.as_deref(), Some("slot \"old\" is lost (its log is gone)"));
    }

    #[test]
    fn less_time_than_was_asked_for_ends_the_watch() {
        let alarm = |megabytes: i64| {
            let mut slot = facts::plain("one");
            slot.safe_wal_size = Some(megabytes << 20);
            Watch::over(&[], Some(60.0)).see(&listing(&[slot])).alarm
        };
        assert_eq!(alarm(60), None);
        let told = "slot \"one\" reaches max_slot_wal_keep_size in 59 s, which is less than 60 s";
        assert_eq!(alarm(59).as_deref(), Some(told));
    }
}
