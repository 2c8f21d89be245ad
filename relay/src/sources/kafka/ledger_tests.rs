//! The ledger against a model: what was cut comes again as it was, whatever was split, acknowledged or forgotten.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A log of offsets, some of them missing, and a reader of it that forms cuts of at most `records`.
struct World {
    log: Vec<i64>,
    at: usize,
    ledger: Ledger,
    /// What a broker would answer: offset and note.
    durable: (i64, Note),
    in_flight: Option<Sent>,
    /// The ends of the cuts that were handed over and not refused, by their first record.
    seen: BTreeMap<i64, i64>,
    taken: VecDeque<Extent>,
    acknowledged: Vec<Extent>,
}

impl World {
    fn new(log: Vec<i64>) -> Self {
        Self {
            log,
            at: 0,
            ledger: Ledger::at(0, Note::default(), true),
            durable: (0, Note::default()),
            in_flight: None,
            seen: BTreeMap::new(),
            taken: VecDeque::new(),
            acknowledged: Vec::new(),
        }
    }

    fn seek(&mut self, offset: i64) {
        self.at = self.log.partition_point(|at| *at < offset);
        self.taken.clear();
    }

    fn read(&mut self, records_max: usize) {
        let Some(offset) = self.log.get(self.at).copied() else {
            // The end of the partition ends what was promised further.
            if self.ledger.is_planned() {
                self.ledger.close();
            }
            return;
        };
        match self.ledger.judge(offset) {
            Fate::Known => self.at += 1,
            Fate::Behind => drop(self.ledger.close()),
            Fate::Belongs => {
                self.at += 1;
                let is_complete = self.ledger.append(offset);
                let is_full = !self.ledger.is_planned() && self.ledger.open_records() >= Some(records_max);
                if is_complete || is_full {
                    self.ledger.close();
                }
            }
        }
    }

    fn take(&mut self) {
        if !self.ledger.may_take(1) {
            return;
        }
        let cut = self.ledger.take().expect("it may be taken");
        let before = self.seen.insert(cut.first, cut.last);
        assert!(before.is_none_or(|last| last == cut.last), "{cut:?} was handed over as a cut up to {before:?}");
        self.taken.push_back(cut);
    }

    fn acknowledge(&mut self) {
        if let Some(cut) = self.taken.pop_front() {
            assert!(self.ledger.acknowledge(cut, Some(cut.last as u64)));
            self.acknowledged.push(cut);
        }
    }

    fn commit(&mut self) {
        if self.in_flight.is_none() && self.ledger.is_dirty() {
            self.in_flight = Some(self.ledger.to_commit());
        }
    }

    fn committed(&mut self, is_durable: bool) {
        let Some(sent) = self.in_flight.take() else { return };
        if is_durable {
            self.durable = (sent.offset, sent.note.clone());
            self.ledger.committed(&sent);
        }
    }

    fn split(&mut self) {
        let Some(cut) = self.taken.front().copied() else { return };
        let records = self.log.iter().filter(|at| (cut.first..=cut.last).contains(*at)).count();
        if records < 2 {
            return;
        }
        // It was refused as a whole: nothing of it is durable.
        self.seen.remove(&cut.first);
        self.ledger.split(cut, records / 2);
        self.rewind();
    }

    fn rewind(&mut self) {
        let offset = self.ledger.rewind();
        self.seek(offset);
    }

    /// The process dies; what was being committed may or may not be durable.
    fn crash(&mut self, was_committed: bool) {
        self.committed(was_committed);
        let (offset, note) = self.durable.clone();
        self.ledger = Ledger::at(offset, note, true);
        self.seek(offset);
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Read(usize),
    Close,
    Take,
    Acknowledge,
    Commit,
    Committed(bool),
    Split,
    Rewind,
    Crash(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_usize..6).prop_map(Step::Read),
        1 => Just(Step::Close),
        6 => Just(Step::Take),
        5 => Just(Step::Acknowledge),
        5 => Just(Step::Commit),
        5 => prop::bool::weighted(0.8).prop_map(Step::Committed),
        1 => Just(Step::Split),
        1 => Just(Step::Rewind),
        1 => any::<bool>().prop_map(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn cuts_that_were_handed_over_come_again_as_they_were(
        gaps in prop::collection::vec(1_i64..3, 1..60),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let log: Vec<i64> = gaps.iter().scan(-1, |at, gap| { *at += gap; Some(*at) }).collect();
        let mut world = World::new(log);
        for step in steps {
            match step {
                Step::Read(max) => for _ in 0..max { world.read(max) },
                Step::Close if !world.ledger.is_planned() => drop(world.ledger.close()),
                Step::Close => {}
                Step::Take => world.take(),
                Step::Acknowledge => world.acknowledge(),
                Step::Commit => world.commit(),
                Step::Committed(is_durable) => world.committed(is_durable),
                Step::Split => world.split(),
                Step::Rewind => world.rewind(),
                Step::Crash(was_committed) => world.crash(was_committed),
            }
        }
        // Left alone it comes to its end, and nothing is missing.
        for _ in 0..4 * world.log.len() {
            world.read(3);
            if world.at == world.log.len() && !world.ledger.is_planned() {
                world.ledger.close();
            }
            world.commit();
            world.committed(true);
            world.take();
            world.acknowledge();
        }
        prop_assert!(world.ledger.base() > *world.log.last().expect("not empty"), "{:?}", world.ledger);
        for offset in &world.log {
            let covered = world.acknowledged.iter().any(|cut| (cut.first..=cut.last).contains(offset));
            prop_assert!(covered, "{offset} was never delivered");
        }
    }
}

/// Reads these offsets into the cut that is open.
fn fill(ledger: &mut Ledger, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        assert_eq!(ledger.judge(offset), Fate::Belongs, "{offset}");
        if ledger.append(offset) {
            ledger.close();
        }
    }
}

#[test]
fn a_batch_leaves_only_when_its_end_is_durable() {
    let mut ledger = Ledger::at(10, Note::default(), true);
    fill(&mut ledger, 10..20);
    ledger.close();
    assert!(ledger.is_urgent() && !ledger.may_take(1));
    let sent = ledger.to_commit();
    assert_eq!((sent.offset, sent.note.ends.as_slice()), (10, &[19][..]));
    ledger.committed(&sent);
    assert!(ledger.may_take(1) && !ledger.is_dirty());
    assert_eq!(ledger.take(), Some(Extent { first: 10, last: 19 }));
}

#[test]
fn the_next_cut_becomes_durable_while_the_first_is_in_flight() {
    let mut ledger = Ledger::at(0, Note { last: None, ends: vec![4] }, true);
    fill(&mut ledger, 0..5);
    let first = ledger.take().expect("its end was durable");
    fill(&mut ledger, 5..8);
    ledger.close();
    let sent = ledger.to_commit();
    assert_eq!((sent.offset, sent.note.ends.as_slice()), (0, &[4, 7][..]));
    ledger.committed(&sent);
    assert!(!ledger.may_take(1), "one at a time");
    assert!(ledger.acknowledge(first, Some(1)));
    assert!(ledger.may_take(1));
}

#[test]
fn a_split_batch_comes_in_its_parts_when_they_are_durable() {
    let mut ledger = Ledger::at(0, Note { last: None, ends: vec![9] }, true);
    fill(&mut ledger, 0..10);
    let whole = ledger.take().expect("its end was durable");
    ledger.split(whole, 4);
    assert!(!ledger.is_dirty(), "where to cut is not known yet");
    assert_eq!(ledger.rewind(), 0);
    fill(&mut ledger, 0..10);
    assert_eq!(ledger.closed(), 2);
    assert!(!ledger.may_take(1));
    let sent = ledger.to_commit();
    assert_eq!(sent.note.ends, [3, 9]);
    ledger.committed(&sent);
    assert_eq!(ledger.take(), Some(Extent { first: 0, last: 3 }));
}

#[test]
fn a_commit_that_was_on_its_way_when_a_batch_was_split_lets_nothing_go() {
    let mut ledger = Ledger::at(0, Note { last: None, ends: vec![9] }, true);
    fill(&mut ledger, 0..10);
    let whole = ledger.take().expect("its end was durable");
    fill(&mut ledger, 10..12);
    ledger.close();
    let stale = ledger.to_commit();
    ledger.split(whole, 5);
    ledger.rewind();
    fill(&mut ledger, 0..12);
    ledger.committed(&stale);
    assert!(!ledger.may_take(1) && ledger.is_dirty());
}

#[test]
fn a_promised_cut_ends_where_it_was_promised_even_if_its_records_are_gone() {
    let mut ledger = Ledger::at(0, Note { last: None, ends: vec![5, 7] }, true);
    fill(&mut ledger, [0, 2]);
    assert_eq!(ledger.judge(9), Fate::Behind);
    assert_eq!(ledger.close(), Some(Extent { first: 0, last: 5 }));
    assert_eq!(ledger.judge(9), Fate::Behind);
    assert_eq!(ledger.close(), Some(Extent { first: 6, last: 7 }));
    assert_eq!(ledger.judge(9), Fate::Belongs);
}

#[test]
fn what_was_given_up_is_not_acknowledged() {
    let mut ledger = Ledger::at(0, Note::default(), false);
    fill(&mut ledger, 0..3);
    ledger.close();
    let cut = ledger.take().expect("nothing must be durable");
    ledger.rewind();
    assert!(!ledger.acknowledge(cut, None));
    assert_eq!(ledger.base(), 0);
}

#[test]
fn where_a_partition_begins_is_committed_at_once() {
    assert!(Ledger::beginning_at(40, false).is_dirty());
    assert!(!Ledger::at(40, Note::default(), false).is_dirty());
}
