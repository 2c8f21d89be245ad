//! The servers that tests use: the shared ones, and private ones of a given major that tests running at the same time share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use xtask::services::{self, Environment, MAJORS, PrivatePostgres};

/// The shared services.
///
/// # Panics
/// If they do not run; the message names the command that starts them.
#[must_use]
pub fn shared() -> &'static Environment {
    static SHARED: OnceLock<Environment> = OnceLock::new();
    SHARED.get_or_init(|| services::current().unwrap_or_else(|error| panic!("{error}")))
}

/// A private Postgres of the oldest supported major.
#[must_use]
pub fn oldest() -> Arc<PrivatePostgres> {
    of_major(*MAJORS.start())
}

/// A private Postgres of the newest supported major.
#[must_use]
pub fn newest() -> Arc<PrivatePostgres> {
    of_major(*MAJORS.end())
}

/// A private Postgres of that major. Nobody but these tests writes there, so that the log holds only what they do; it
/// stops when the last test lets go of it.
#[must_use]
pub fn of_major(major: u16) -> Arc<PrivatePostgres> {
    static RUNNING: Mutex<Option<HashMap<u16, Weak<PrivatePostgres>>>> = Mutex::new(None);
    // A test that failed while it held the lock left the map whole.
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = running.get_or_insert_default().entry(major).or_default();
    slot.upgrade().unwrap_or_else(|| {
        let started = PrivatePostgres::start(Some(major), &[("wal_level", "logical")]);
        let started = Arc::new(started.expect("a private Postgres of this major starts"));
        *slot = Arc::downgrade(&started);
        started
    })
}
