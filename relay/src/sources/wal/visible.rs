//! Waits until a transaction that the stream tells of is visible to queries.
//!
//! A commit is sent as soon as its record is on disk, and only then does its backend leave the list of those that run; where it
//! waits for a synchronous standby first, that can be much later. The catalog that is asked in between is the one before it.

use std::time::{Duration, Instant};

use crate::pipeline::Error;
use crate::postgres::connection::Connection;
use crate::sources::wal::catalog::ask;

/// How long is waited at most: a standby that does not answer must not hold the stream.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Waits until the transaction `xid` is visible, for two seconds at most.
///
/// # Errors
/// The server does not answer.
pub(super) fn wait(sql: &mut Connection, xid: u32) -> Result<(), Error> {
    let query = query(xid);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let visible = ask(sql, &query)?.first().and_then(|row| row.first().cloned().flatten());
        if visible.as_deref() == Some("t") || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether it is visible. The stream leaves out the epoch of a transaction's number: it is the one with which the number is
/// nearest to those that are given out now.
fn query(xid: u32) -> String {
    format!(
        "select pg_catalog.pg_visible_in_snapshot((next + distance)::text::xid8, snapshot)
         from (select pg_catalog.pg_current_snapshot() as snapshot) s
         cross join lateral (select pg_catalog.pg_snapshot_xmax(snapshot)::text::bigint as next) n
         cross join lateral (select ({xid} - next % 4294967296 + 6442450944) % 4294967296 - 2147483648 as distance) d"
    )
}
