//! A model of a database, its stream and a reader that folds: whatever the order of commits, of their becoming visible, of
//! their delivery and of the chunk's steps, the reader ends with the table.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// A small value that every change tells, and a large one that some leave as it was.
type Row = (u32, u32);

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Writes the row, its large value only if it says so.
    Put {
        key: u8,
        large: bool,
    },
    Delete(u8),
    Move {
        from: u8,
        to: u8,
    },
    Truncate,
}

/// A change as the stream tells it.
#[derive(Debug, Clone, Copy)]
enum Change {
    Put(u8, u32, Option<u32>),
    Delete(u8),
    Move(u8, u8, u32),
    Truncate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    /// Its commit record is in the log at this place.
    Committed(u64),
    Visible,
}

/// What is left out, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A chunk that is behind what was delivered is taken all the same.
    Behind,
    /// It is published as soon as it was read.
    Mark,
    /// What was changed in the window is not looked at.
    Notes,
    /// What was told partly counts as told.
    Parts,
    /// Rows that moved are not read again.
    Moves,
}

struct Transaction {
    xid: u32,
    ops: Vec<Op>,
    stage: Stage,
    changes: Vec<Change>,
    /// The rows as it leaves them.
    leaves: Vec<(u8, Option<Row>)>,
}

/// How far the reading of a chunk came.
enum Reading {
    None,
    Open,
    /// The writers are known.
    Asked(HashSet<u32>),
    /// The snapshot was taken.
    Seen(HashSet<u32>, Visible, u64, Vec<(u8, Row)>),
    Arrived(Vec<(u8, Row)>),
}

struct World {
    transactions: Vec<Transaction>,
    /// What a new snapshot sees.
    table: BTreeMap<u8, Row>,
    log: Vec<usize>,
    delivered: usize,
    memory: Recent,
    /// Whether this process has begun; what was delivered before it, it does not remember.
    begun: bool,
    window: Window,
    reading: Reading,
    /// The chunks to read, by their keys.
    chunks: VecDeque<BTreeSet<u8>>,
    without: Without,
    moved: BTreeSet<u8>,
    reader: BTreeMap<u8, (u32, Option<u32>)>,
    value: u32,
    rereads: usize,
}

fn key(key: u8) -> RowKey {
    RowKey::of([Some(&[key][..])])
}

impl World {
    fn new(first: u32, plan: &[Vec<Op>], without: Without) -> Self {
        let transaction = |(index, ops): (u32, &Vec<Op>)| Transaction {
            xid: first.wrapping_add(index),
            ops: ops.clone(),
            stage: Stage::Waiting,
            changes: Vec::new(),
            leaves: Vec::new(),
        };
        Self {
            transactions: (0..).zip(plan).map(transaction).collect(),
            table: (0..4).map(|key| (key, (u32::from(key), 100 + u32::from(key)))).collect(),
            log: Vec::new(),
            delivered: 0,
            memory: Recent::default(),
            begun: false,
            window: Window::default(),
            reading: Reading::None,
            chunks: [(0..3).collect(), (3..6).collect()].into(),
            without,
            moved: BTreeSet::new(),
            reader: BTreeMap::new(),
            value: 1000,
            rereads: 0,
        }
    }

    fn is_running(transaction: &Transaction) -> bool {
        matches!(transaction.stage, Stage::Running | Stage::Committed(_))
    }

    fn running(&self) -> HashSet<u32> {
        self.transactions.iter().filter(|t| Self::is_running(t)).map(|t| t.xid).collect()
    }

    /// Numbers of 64 bits: the model's transactions lie around the end of an epoch.
    fn wide(&self, xid: u32) -> u64 {
        let first = self.transactions.first().map_or(xid, |t| t.xid);
        (7 << 32) + u64::from(first) + u64::from(xid.wrapping_sub(first))
    }

    fn visible(&self) -> Visible {
        let over = self.transactions.iter().filter(|t| t.stage == Stage::Visible).map(|t| self.wide(t.xid) + 1).max();
        let xmax = over.unwrap_or_else(|| self.wide(self.transactions.first().map_or(0, |t| t.xid)));
        let running = self.transactions.iter().filter(|t| Self::is_running(t)).map(|t| self.wide(t.xid));
        let running: BTreeSet<_> = running.filter(|xid| *xid < xmax).collect();
        let xmin = running.first().copied().unwrap_or(xmax);
        let list = running.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Visible::parse(&format!("{xmin}:{xmax}:{list}")).expect("a snapshot")
    }

    fn locks(op: &Op) -> Vec<u8> {
        match op {
            Op::Put { key, .. } | Op::Delete(key) => vec![*key],
            Op::Move { from, to } => vec![*from, *to],
            Op::Truncate => (0..6).collect(),
        }
    }

    /// Runs a transaction, unless another one holds its rows: locks are held until it is visible.
    fn run(&mut self, index: usize) -> bool {
        let wanted: BTreeSet<u8> = self.transactions[index].ops.iter().flat_map(Self::locks).collect();
        let held =
            self.transactions.iter().filter(|t| Self::is_running(t)).flat_map(|t| t.ops.iter().flat_map(Self::locks));
        // Numbers are given in the order of the first changes.
        let in_turn = self.transactions[..index].iter().all(|t| t.stage != Stage::Waiting);
        if self.transactions[index].stage != Stage::Waiting
            || !in_turn
            || held.into_iter().any(|key| wanted.contains(&key))
        {
            return false;
        }
        let (mut table, mut changes) = (self.table.clone(), Vec::new());
        for op in self.transactions[index].ops.clone() {
            self.value += 1;
            match op {
                Op::Put { key, large } => match table.get(&key).copied() {
                    Some((_, old)) if !large => {
                        table.insert(key, (self.value, old));
                        changes.push(Change::Put(key, self.value, None));
                    }
                    _ => {
                        table.insert(key, (self.value, self.value));
                        changes.push(Change::Put(key, self.value, Some(self.value)));
                    }
                },
                Op::Delete(key) if table.remove(&key).is_some() => changes.push(Change::Delete(key)),
                Op::Move { from, to } if from != to && !table.contains_key(&to) => {
                    if let Some((_, large)) = table.remove(&from) {
                        table.insert(to, (self.value, large));
                        changes.push(Change::Move(from, to, self.value));
                    }
                }
                Op::Truncate => {
                    table.clear();
                    changes.push(Change::Truncate);
                }
                Op::Delete(_) | Op::Move { .. } => {}
            }
        }
        let differs = |key: &u8| table.get(key) != self.table.get(key);
        self.transactions[index].leaves = (0..6).filter(differs).map(|key| (key, table.get(&key).copied())).collect();
        self.transactions[index].changes = changes;
        self.transactions[index].stage = Stage::Running;
        true
    }

    fn commit(&mut self, index: usize) -> bool {
        if self.transactions[index].stage != Stage::Running {
            return false;
        }
        self.log.push(index);
        self.transactions[index].stage = Stage::Committed(self.log.len() as u64);
        true
    }

    fn show(&mut self, index: usize) -> bool {
        let Stage::Committed(_) = self.transactions[index].stage else { return false };
        self.transactions[index].stage = Stage::Visible;
        for (key, row) in self.transactions[index].leaves.clone() {
            match row {
                Some(row) => drop(self.table.insert(key, row)),
                None => drop(self.table.remove(&key)),
            }
        }
        true
    }

    fn deliver(&mut self) -> bool {
        let Some(index) = self.log.get(self.delivered).copied() else { return false };
        self.delivered += 1;
        let (xid, changes) = (self.transactions[index].xid, self.transactions[index].changes.clone());
        for change in changes {
            match change {
                Change::Put(to, small, large) => {
                    self.note(xid, to, if large.is_some() { Told::Whole } else { Told::Partly });
                    let kept = self.reader.get(&to).and_then(|row| row.1);
                    self.reader.insert(to, (small, large.or(kept)));
                }
                Change::Move(from, to, small) => {
                    self.note(xid, from, Told::Whole);
                    self.note(xid, to, Told::Partly);
                    if self.begun {
                        self.moved.insert(to);
                    }
                    // The row takes along what the reader knows of it: the headers of both records name the other key.
                    let carried = self.reader.remove(&from).and_then(|row| row.1);
                    self.reader.insert(to, (small, carried));
                }
                Change::Delete(from) => {
                    self.note(xid, from, Told::Whole);
                    self.reader.remove(&from);
                }
                Change::Truncate => {
                    self.window.truncate(xid);
                    self.reader.clear();
                }
            }
        }
        if self.begun {
            self.memory.deliver(xid);
        }
        true
    }

    fn note(&mut self, xid: u32, of: u8, told: Told) {
        let told = if self.without == Without::Parts { Told::Whole } else { told };
        if self.without != Without::Notes {
            self.window.change(xid, key(of), told);
        }
    }

    /// The next step of reading.
    fn read(&mut self) -> bool {
        self.reading = match std::mem::replace(&mut self.reading, Reading::None) {
            Reading::None if self.chunks.is_empty() => return false,
            Reading::None => {
                if !self.begun {
                    self.begun = true;
                    self.memory.learn(self.running());
                }
                self.memory.open(None);
                self.window.open();
                Reading::Open
            }
            Reading::Open => Reading::Asked(self.running()),
            Reading::Asked(writers) => {
                let rows = self.table.iter().filter(|(key, _)| self.chunks[0].contains(key));
                let rows = rows.map(|(key, row)| (*key, *row)).collect();
                let mark = if self.without == Without::Mark { 0 } else { self.log.len() as u64 };
                Reading::Seen(writers, self.visible(), mark, rows)
            }
            Reading::Seen(writers, visible, mark, rows) => {
                let behind = self.memory.is_ahead_of(&visible, &writers);
                self.memory.forget(&visible);
                if behind && self.without != Without::Behind {
                    self.window.spoil(Again::Behind);
                }
                let keys = rows.iter().map(|(of, _)| key(*of)).collect();
                match self.window.arrive(visible, mark, keys) {
                    Ok(()) => Reading::Arrived(rows),
                    Err(_) => {
                        self.rereads += 1;
                        Reading::None
                    }
                }
            }
            Reading::Arrived(rows) if self.window.is_passed_at(self.delivered as u64) => {
                self.publish(&rows);
                Reading::None
            }
            waiting @ Reading::Arrived(_) => {
                self.reading = waiting;
                return false;
            }
        };
        true
    }

    fn publish(&mut self, rows: &[(u8, Row)]) {
        let fates = self.window.settle().expect("a chunk that arrived");
        let mut again = BTreeSet::new();
        for ((key, (small, large)), fate) in rows.iter().zip(fates) {
            match fate {
                Fate::Publish => drop(self.reader.insert(*key, (*small, Some(*large)))),
                Fate::Drop => {}
                Fate::Reread => drop(again.insert(*key)),
            }
        }
        if self.without != Without::Moves {
            again.append(&mut self.moved);
        }
        self.chunks.pop_front();
        if !again.is_empty() {
            self.rereads += 1;
            self.chunks.push_front(again);
        }
    }

    /// Takes the steps of the schedule as far as they can be taken, then all that are left.
    fn play(&mut self, schedule: &[u8]) {
        let count = self.transactions.len();
        let step = |world: &mut Self, step: u8| {
            let index = usize::from(step >> 3) % count.max(1);
            match step & 7 {
                0 if count > 0 => world.run(index),
                1 if count > 0 => world.commit(index),
                2 if count > 0 => world.show(index),
                3 | 4 => world.deliver(),
                _ => world.read(),
            }
        };
        for next in schedule {
            step(self, *next);
        }
        loop {
            let mut moved = false;
            for index in 0..count {
                moved |= self.run(index);
                moved |= self.commit(index);
                moved |= self.show(index);
            }
            moved |= self.deliver();
            moved |= self.read();
            if !moved {
                return;
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6_u8, any::<bool>()).prop_map(|(key, large)| Op::Put { key, large }),
        2 => (0..6_u8).prop_map(Op::Delete),
        2 => (0..6_u8, 0..6_u8).prop_map(|(from, to)| Op::Move { from, to }),
        1 => Just(Op::Truncate),
    ]
}

/// The first transaction's number, what the transactions do, and in which order things happen.
fn history() -> impl Strategy<Value = (u32, Vec<Vec<Op>>, Vec<u8>)> {
    let first = prop_oneof![Just(100_u32), Just(u32::MAX - 2)];
    let plan = prop::collection::vec(prop::collection::vec(op(), 1..3), 0..6);
    (first, plan, prop::collection::vec(any::<u8>(), 0..60))
}

/// Whether the reader ends with the table, and how often something was read again.
fn ends_equal((first, plan, schedule): &(u32, Vec<Vec<Op>>, Vec<u8>), without: Without) -> (bool, usize) {
    let mut world = World::new(*first, plan, without);
    world.play(schedule);
    assert!(world.chunks.is_empty() && world.delivered == world.transactions.len(), "it came to an end");
    let table: BTreeMap<_, _> =
        world.table.iter().map(|(key, (small, large))| (*key, (*small, Some(*large)))).collect();
    (world.reader == table, world.rereads)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn in_every_order_of_events_the_reader_ends_with_the_table(history in history()) {
        prop_assert!(ends_equal(&history, Without::Nothing).0);
    }
}

#[test]
fn without_any_one_of_the_rules_there_is_an_order_in_which_it_does_not() {
    for without in [Without::Behind, Without::Mark, Without::Notes, Without::Parts, Without::Moves] {
        let mut runner = TestRunner::deterministic();
        let fails = (0..20_000).any(|_| {
            let history = history().new_tree(&mut runner).expect("a strategy without filters").current();
            !ends_equal(&history, without).0
        });
        assert!(fails, "{without:?} makes no difference");
    }
}

#[test]
fn the_mark_just_behind_a_header_is_the_start_of_the_page() {
    for (insert, wanted) in [(8192, 8192), (8192 + 24, 8192), (8192 + 40, 8192), (8192 + 48, 8192 + 48), (100, 100)] {
        assert_eq!(mark(insert, 8192), wanted);
    }
    assert_eq!(mark(16_384 + 24, 32_768), 16_384 + 24);
    assert_eq!(mark(24, 0), 24);
}

#[test]
fn a_window_that_notes_too_much_gives_up_and_a_chunk_that_waits_notes_nothing() {
    let mut window = Window::default();
    let large = vec![b'x'; 1 << 20];
    for number in 0..64_u32 {
        window.change(1, RowKey::of([Some(&large[..]), Some(&number.to_be_bytes()[..])]), Told::Whole);
    }
    assert_eq!(window.len(), 0);
    let visible = Visible::parse("1:1:").expect("a snapshot");
    assert_eq!(window.arrive(visible.clone(), 8, vec![key(1)]), Err(Again::Overflow));
    assert!(!window.is_passed_at(u64::MAX));

    window.open();
    window.arrive(visible, 8, vec![key(1), key(2)]).expect("nothing was noted");
    window.change(5, key(9), Told::Whole);
    window.change(5, key(2), Told::Whole);
    assert_eq!(window.len(), 0);
    assert!(!window.is_passed_at(7) && window.is_passed_at(8));
    assert_eq!(window.settle(), Ok(vec![Fate::Publish, Fate::Drop]));
}
