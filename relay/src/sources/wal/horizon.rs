//! What is known to be delivered in the table's own terms: the transaction number below which no row is missing.
//!
//! A place in the log says nothing about a row of the table once the slot is gone. A sample ties the two together: `xmin` of a
//! snapshot FIRST, and only THEN the place L up to which the log is written. Every transaction with a number below `xmin` had ended
//! when the snapshot was taken, and a transaction writes its commit record before others see it as ended, so that the record lies
//! before L. Whoever has delivered all that ends at or before L has delivered every committed row with `xid < xmin`. A writer that
//! is still open, or only prepared, holds `xmin` at or below its own number: it cannot be counted as delivered, however late it
//! commits. In the other order a transaction could end between the two, behind L and below `xmin`.
//!
//! <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT>

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::postgres::connection::Connection;
use crate::postgres::error::Error;
use crate::postgres::lsn::EndLsn;
use crate::sources::wal::record::RecordError;

/// Samples that the stream has not passed yet, at most. Beyond, every second one is dropped: a relay that is hours behind needs no
/// sample of each second.
const WAITING_MAX: usize = 64;

/// Every row of the outbox that was written by a transaction below `below` is delivered, on the history that `at` is a place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// The number of the oldest transaction that had not ended, as `xid8` counts.
    pub below: u64,
    /// How far the log was written after that was seen.
    pub at: EndLsn,
    /// When it was seen, by the server's clock, in milliseconds since 1970.
    pub time_ms: i64,
}

/// The horizon as JSON in the progress record.
#[derive(Serialize, Deserialize)]
pub(super) struct HorizonText {
    delivered_below: String,
    at: String,
    time_ms: i64,
}

impl HorizonText {
    pub(super) fn read(&self) -> Result<Horizon, RecordError> {
        Ok(Horizon {
            below: self.delivered_below.parse().map_err(|_| RecordError::Field { name: "horizon" })?,
            at: self.at.parse().map_err(|_| RecordError::Field { name: "horizon" })?,
            time_ms: self.time_ms,
        })
    }
}

impl From<Horizon> for HorizonText {
    fn from(horizon: Horizon) -> Self {
        let Horizon { below, at, time_ms } = horizon;
        Self { delivered_below: below.to_string(), at: at.to_string(), time_ms }
    }
}

/// The samples of one connection that its stream has not passed yet. Another connection, perhaps to another server, has its own.
#[derive(Debug, Default)]
pub(super) struct Horizons(Mutex<VecDeque<Horizon>>);

impl Horizons {
    /// Notes a sample, which is newer than those before.
    pub(super) fn push(&self, horizon: Horizon) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            let mut keep = false;
            waiting.retain(|_| {
                keep = !keep;
                !keep
            });
        }
        waiting.push_back(horizon);
    }

    /// The newest sample that a stream has passed which delivered all that ended at or before `end`; it is not told again.
    pub(super) fn passed(&self, end: EndLsn) -> Option<Horizon> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = waiting.iter().take_while(|horizon| horizon.at <= end).count();
        waiting.drain(..passed).next_back()
    }
}

/// Of which server, and of which history of it, a sample may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History {
    pub(super) system_id: u64,
    pub(super) timeline: u32,
}

/// Takes a sample, if the server writes this history itself: a standby gives out no transaction numbers.
pub(super) fn sample(sql: &mut Connection, history: History) -> Result<Option<Horizon>, Error> {
    let seen = sql.simple_query(
        "select case when not pg_is_in_recovery() then pg_snapshot_xmin(pg_current_snapshot()) end,
                floor(extract(epoch from clock_timestamp()) * 1000)::bigint",
    )?;
    let Some([Some(below), Some(time)]) = seen.first().map(Vec::as_slice) else { return Ok(None) };
    // A file of the log is named by its timeline first.
    let place = sql.simple_query(
        "select l.place, ('x' || left(pg_walfile_name(l.place), 8))::bit(32)::bigint,
                (select system_identifier from pg_control_system())
         from (select case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end) l (place)",
    )?;
    let Some([Some(at), Some(timeline), Some(system)]) = place.first().map(Vec::as_slice) else { return Ok(None) };
    let here = (system.parse().ok(), timeline.parse().ok());
    if here != (Some(history.system_id), Some(history.timeline)) {
        return Ok(None);
    }
    let horizon = (below.parse().ok(), at.parse().ok(), time.parse().ok());
    Ok(match horizon {
        (Some(below), Some(at), Some(time_ms)) => Some(Horizon { below, at, time_ms }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horizon(at: u64) -> Horizon {
        Horizon { below: 700 + at, at: EndLsn::new(at), time_ms: 0 }
    }

    #[test]
    fn the_newest_one_that_was_passed_is_told_once() {
        let horizons = Horizons::default();
        for at in [0x10, 0x20, 0x20, 0x30] {
            horizons.push(horizon(at));
        }
        assert_eq!(horizons.passed(EndLsn::new(0xf)), None);
        assert_eq!(horizons.passed(EndLsn::new(0x2f)), Some(horizon(0x20)));
        assert_eq!(horizons.passed(EndLsn::new(0x2f)), None);
        assert_eq!(horizons.passed(EndLsn::new(0x30)), Some(horizon(0x30)));
    }

    #[test]
    fn a_stream_that_is_far_behind_keeps_few() {
        let horizons = Horizons::default();
        for at in 0..10_000 {
            horizons.push(horizon(at));
        }
        let waiting = horizons.0.lock().expect("nothing panicked").clone();
        assert!(waiting.len() <= WAITING_MAX, "{}", waiting.len());
        assert!(waiting.iter().is_sorted_by(|before, after| before.at < after.at));
        assert_eq!(waiting.back(), Some(&horizon(9_999)));
    }

    #[test]
    fn it_reads_back_as_written() {
        let horizon = Horizon { below: u64::MAX, at: EndLsn::new(0x1_0000_0040), time_ms: 1_790_000_000_000 };
        assert_eq!(HorizonText::from(horizon).read().expect("own form"), horizon);
    }
}
