//! What the writers did, kept outside the database: how much was committed, and the ids of the events that were rolled back.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::nova::clients::Reported;

/// Shared by all writers.
#[derive(Debug, Default)]
pub struct Ledger {
    events: AtomicU64,
    transactions: AtomicU64,
    unsure: AtomicU64,
    rolled_back: Mutex<HashSet<Uuid>>,
}

/// What the writers did, after they ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events in committed transactions.
    pub events: u64,
    /// Committed transactions.
    pub transactions: u64,
    /// Events of transactions whose commit nobody confirmed, because the connection ended: each is committed or rolled back.
    pub unsure: u64,
    /// What the clients reported.
    pub reported: Reported,
    /// Ids of events that were written and rolled back, with their transaction or with a savepoint.
    pub rolled_back: HashSet<Uuid>,
}

impl Ledger {
    /// A transaction with `events` events was committed.
    pub fn committed(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    /// The connection ended while a transaction with `events` events was being committed.
    pub(super) fn unsure(&self, events: u64) {
        self.unsure.fetch_add(events, Ordering::Relaxed);
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
        let [transactions, unsure] = [&self.transactions, &self.unsure].map(|count| count.load(Ordering::Relaxed));
        Outcome { events: self.events(), transactions, unsure, reported: Reported::default(), rolled_back }
    }
}
