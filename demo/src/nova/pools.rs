//! The ids that writers choose from: only committed rows, the first ones being the popular ones.

use std::sync::Mutex;

use uuid::Uuid;

use crate::random::Random;

/// A kind of row that acts choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Post,
    Comment,
}

/// Live rows of each kind. Shared by all writers.
#[derive(Debug, Default)]
pub(super) struct Pools {
    of_kind: [Mutex<Vec<Uuid>>; 3],
}

impl Pools {
    /// A live row, popular ones more often; none if there are none yet.
    pub(super) fn pick(&self, kind: Kind, random: &mut Random) -> Option<Uuid> {
        let ids = self.lock(kind);
        ids.get(random.skewed(ids.len())).copied()
    }

    /// A row was committed.
    pub(super) fn add(&self, kind: Kind, id: Uuid) {
        self.lock(kind).push(id);
    }

    /// A row was deleted.
    pub(super) fn remove(&self, kind: Kind, id: Uuid) {
        self.lock(kind).retain(|live| *live != id);
    }

    fn lock(&self, kind: Kind) -> std::sync::MutexGuard<'_, Vec<Uuid>> {
        self.of_kind[kind as usize].lock().expect("no writer panics while it holds a pool")
    }
}
