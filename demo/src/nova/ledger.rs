//! What the writers did, kept outside the database: how much was committed, and the ids of the events that were rolled back.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Shared by all writers.
#[derive(Debug, Default)]
pub struct Ledger {
    events: AtomicU64,
    transactions: AtomicU64,
    rolled_back: Mutex<HashSet<Uuid>>,
}

/// What the writers did, after they ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events in committed transactions.
    pub events: u64,
    /// Committed transactions.
    pub transactions: u64,
    /// Ids of events that were written and rolled back, with their transaction or with a savepoint.
    pub rolled_back: HashSet<Uuid>,
}

impl Ledger {
    /// A transaction with `events` events was committed.
    pub fn committed(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    /// Events with these ids were rolled back.
    pub fn rolled_back(&self, ids: impl IntoIterator<Item = Uuid>) {
        self.rolled_back.lock().expect("no writer panics while it holds the ledger").extend(ids);
    }

    /// Events committed so far.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// What was done up to now.
    pub fn outcome(&self) -> Outcome {
        let rolled_back = self.rolled_back.lock().expect("no writer panics while it holds the ledger").clone();
        Outcome { events: self.events(), transactions: self.transactions.load(Ordering::Relaxed), rolled_back }
    }
}
