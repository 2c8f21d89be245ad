//! What the parts of a polling source share: which buckets are held, and which rows are on their way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::pipeline::Error;

/// A row that was read: which outbox it is of, its order there, and its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowName {
    pub(super) route: u16,
    pub(super) order: i64,
    pub(super) bucket: u16,
}

/// A bucket that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// It rises with every change of the holder.
    pub(super) token: i64,
    /// Nothing more is read of it: it goes to another relay once nothing of it is on its way.
    pub(super) leaving: bool,
}

/// What the reader goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// How often the source went back.
    pub(super) epoch: u64,
    /// How often all that waits had to be looked through again.
    pub(super) sweep: u64,
    /// The buckets to read.
    pub(super) buckets: Vec<u16>,
}

#[derive(Debug)]
struct State {
    epoch: u64,
    sweep: u64,
    holds: BTreeMap<u16, Hold>,
    /// Until when the leases hold for certain.
    valid_until: Instant,
    /// Rows that were read and are not acknowledged, with their bucket.
    claimed: HashMap<(u16, i64), u16>,
    /// Rows that were acknowledged and do not say so yet.
    marking: HashSet<(u16, i64)>,
    /// Rows that have said so since the newest look began, which may not have seen it.
    marked: HashSet<(u16, i64)>,
    /// Of the first two, how many each bucket has.
    counts: HashMap<u16, usize>,
    failure: Option<Error>,
}

/// Shared by the source, its reader, its clerk and its keeper.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when buckets come or go, and when the source goes back.
    pub(super) turned: Notify,
    /// Told of a failure, and of leases that are valid again.
    pub(super) rung: Notify,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                epoch: 0,
                sweep: 0,
                holds: BTreeMap::new(),
                valid_until: Instant::now(),
                claimed: HashMap::new(),
                marking: HashSet::new(),
                marked: HashSet::new(),
                counts: HashMap::new(),
                failure: None,
            }),
            turned: Notify::new(),
            rung: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to read now.
    pub(super) fn turn(&self) -> Turn {
        let state = self.state();
        let buckets = state.holds.iter().filter(|(_, hold)| !hold.leaving).map(|(bucket, _)| *bucket).collect();
        Turn { epoch: state.epoch, sweep: state.sweep, buckets }
    }

    /// The reader looks at the table from now on: what says by now that it was delivered, the look sees.
    pub(super) fn looks(&self) {
        self.state().marked.clear();
    }

    /// Claims those of `rows` that are on no way yet and whose bucket is held; none if the source went back since `epoch`.
    pub(super) fn claim(&self, epoch: u64, rows: &[RowName]) -> Option<Vec<bool>> {
        let mut state = self.state();
        if state.epoch != epoch {
            return None;
        }
        let claimed = rows.iter().map(|row| {
            let held = state.holds.get(&row.bucket).is_some_and(|hold| !hold.leaving);
            let name = (row.route, row.order);
            let is_known =
                state.marking.contains(&name) || state.marked.contains(&name) || state.claimed.contains_key(&name);
            let is_new = held && !is_known;
            if is_new {
                state.claimed.insert(name, row.bucket);
                *state.counts.entry(row.bucket).or_default() += 1;
            }
            is_new
        });
        Some(claimed.collect())
    }

    /// Rows of an outbox that are on their way.
    pub(super) fn on_their_way(&self, route: u16) -> usize {
        let state = self.state();
        state.claimed.keys().chain(&state.marking).filter(|(of, _)| *of == route).count()
    }

    /// All rows that are on their way.
    pub(super) fn claimed(&self) -> usize {
        let state = self.state();
        state.claimed.len() + state.marking.len()
    }

    /// The rows are durable: they only have to say so.
    pub(super) fn acknowledge(&self, rows: &[RowName]) {
        let mut state = self.state();
        for row in rows {
            let name = (row.route, row.order);
            if state.claimed.remove(&name).is_some() {
                state.marking.insert(name);
            }
        }
    }

    /// The rows say so.
    pub(super) fn marked(&self, rows: &[RowName]) {
        let mut state = self.state();
        for row in rows {
            let name = (row.route, row.order);
            if state.marking.remove(&name) {
                state.marked.insert(name);
                forget(&mut state.counts, row.bucket);
            }
        }
    }

    /// Whether the source has gone back since `epoch`.
    pub(super) fn is_past(&self, epoch: u64) -> bool {
        self.state().epoch != epoch
    }

    /// Goes back: what was read and not acknowledged is read again.
    pub(super) fn rewind(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.sweep += 1;
        for bucket in std::mem::take(&mut state.claimed).into_values() {
            forget(&mut state.counts, bucket);
        }
        drop(state);
        self.turned.notify_one();
    }

    /// The buckets that are held.
    pub(super) fn holds(&self) -> BTreeMap<u16, Hold> {
        self.state().holds.clone()
    }

    /// The tokens by which these buckets are held; none if one is not.
    pub(super) fn tokens(&self, buckets: impl IntoIterator<Item = u16>) -> Option<BTreeMap<u16, i64>> {
        let state = self.state();
        buckets.into_iter().map(|bucket| Some((bucket, state.holds.get(&bucket)?.token))).collect()
    }

    /// Holds these buckets too. Everything that waits in them is to be found.
    pub(super) fn gained(&self, buckets: &[(u16, i64)]) {
        if buckets.is_empty() {
            return;
        }
        let mut state = self.state();
        state.sweep += 1;
        for (bucket, token) in buckets {
            state.holds.insert(*bucket, Hold { token: *token, leaving: false });
        }
        drop(state);
        self.turned.notify_one();
    }

    /// Reads nothing more of these buckets.
    pub(super) fn leave(&self, buckets: &[u16]) {
        let mut state = self.state();
        for bucket in buckets {
            if let Some(hold) = state.holds.get_mut(bucket) {
                hold.leaving = true;
            }
        }
        drop(state);
        self.turned.notify_one();
    }

    /// The buckets that leave and of which nothing is on its way.
    pub(super) fn left(&self) -> Vec<(u16, i64)> {
        let state = self.state();
        let gone = state.holds.iter().filter(|(bucket, hold)| hold.leaving && !state.counts.contains_key(bucket));
        gone.map(|(bucket, hold)| (*bucket, hold.token)).collect()
    }

    /// Holds these buckets no more.
    pub(super) fn released(&self, buckets: &[(u16, i64)]) {
        let mut state = self.state();
        for (bucket, _) in buckets {
            state.holds.remove(bucket);
        }
    }

    /// The leases hold until then.
    pub(super) fn valid(&self, until: Instant) {
        self.state().valid_until = until;
        self.rung.notify_one();
    }

    /// Whether the leases hold for certain now.
    pub(super) fn is_valid(&self) -> bool {
        Instant::now() < self.state().valid_until
    }

    /// Ends the source with this error, unless it has one.
    pub(super) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.rung.notify_one();
    }

    /// The error that ended it, once.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state().failure.take()
    }
}

fn forget(counts: &mut HashMap<u16, usize>, bucket: u16) {
    if let Some(count) = counts.get_mut(&bucket) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(order: i64, bucket: u16) -> RowName {
        RowName { route: 0, order, bucket }
    }

    #[test]
    fn a_row_is_on_one_way_at_a_time_until_it_says_that_it_was_delivered() {
        let shared = Shared::new();
        shared.gained(&[(1, 7)]);
        let epoch = shared.turn().epoch;
        assert_eq!(shared.claim(epoch, &[row(1, 1), row(2, 1), row(3, 2)]), Some(vec![true, true, false]));
        shared.acknowledge(&[row(1, 1)]);
        assert_eq!(shared.claim(epoch, &[row(1, 1), row(2, 1)]), Some(vec![false, false]));
        shared.marked(&[row(1, 1)]);
        assert_eq!((shared.claimed(), shared.on_their_way(0), shared.on_their_way(1)), (1, 1, 0));
        assert_eq!(
            shared.claim(epoch, &[row(1, 1)]),
            Some(vec![false]),
            "a look that began before may not have seen it"
        );
        shared.looks();
        assert_eq!(shared.claim(epoch, &[row(1, 1)]), Some(vec![true]), "somebody wants it published once more");
    }

    #[test]
    fn going_back_forgets_what_was_read_but_not_what_was_acknowledged() {
        let shared = Shared::new();
        shared.gained(&[(1, 7)]);
        let before = shared.turn();
        shared.claim(before.epoch, &[row(1, 1), row(2, 1)]);
        shared.acknowledge(&[row(1, 1)]);
        shared.rewind();
        assert!(shared.is_past(before.epoch) && shared.turn().sweep > before.sweep);
        assert_eq!(shared.claim(before.epoch, &[row(2, 1)]), None, "a page of before is not for now");
        let epoch = shared.turn().epoch;
        assert_eq!(shared.claim(epoch, &[row(1, 1), row(2, 1)]), Some(vec![false, true]));
    }

    #[test]
    fn a_bucket_leaves_only_when_nothing_of_it_is_on_its_way() {
        let shared = Shared::new();
        shared.gained(&[(1, 7), (2, 9)]);
        let epoch = shared.turn().epoch;
        shared.claim(epoch, &[row(1, 1)]);
        shared.leave(&[1]);
        assert_eq!((shared.turn().buckets, shared.left()), (vec![2], vec![]));
        assert_eq!(shared.claim(epoch, &[row(2, 1)]), Some(vec![false]), "nothing more of it is read");
        shared.acknowledge(&[row(1, 1)]);
        assert_eq!(shared.left(), []);
        shared.marked(&[row(1, 1)]);
        assert_eq!(shared.left(), [(1, 7)]);
        shared.released(&[(1, 7)]);
        assert_eq!(shared.tokens([1]), None);
        assert_eq!(shared.tokens([2]), Some(BTreeMap::from([(2, 9)])));
    }
}
