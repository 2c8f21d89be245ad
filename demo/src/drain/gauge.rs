//! When a reader got its first event and its last, seen from outside and for every reader in the same way: by what its walsender has sent.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::error::{Doing, Error, Result};

/// How often the slot is looked at near the beginning and the end.
const LOOK_OFTEN: Duration = Duration::from_millis(2);
/// The longest wait between two looks in between: looking costs the same cores.
const LOOK_RARELY: Duration = Duration::from_millis(500);
/// How long a reader may take to begin, and to go on.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);

/// The slot a reader reads.
#[derive(Debug)]
pub(super) struct Gauge<'a> {
    sql: &'a Client,
    slot: &'a str,
    end: u64,
}

impl<'a> Gauge<'a> {
    /// Watches `slot` until what is confirmed reaches `end`.
    pub(super) fn new(sql: &'a Client, slot: &'a str, end: u64) -> Self {
        Self { sql, slot, end }
    }

    /// Waits until the slot's walsender has sent something new; the moment it was seen.
    pub(super) async fn first(&self) -> Result<Instant> {
        let sql = "select true
            from pg_replication_slots join pg_stat_replication on pid = active_pid
            where slot_name = $1 and sent_lsn > confirmed_flush_lsn";
        let begun = Instant::now();
        loop {
            if self.sql.query_opt(sql, &[&self.slot]).await.doing("watching a slot's reader")?.is_some() {
                return Ok(Instant::now());
            }
            if begun.elapsed() > NO_PROGRESS_MAX {
                return Err(Error::Relay(format!(
                    "the reader of slot {} has read nothing for {NO_PROGRESS_MAX:?}",
                    self.slot
                )));
            }
            tokio::time::sleep(LOOK_OFTEN).await;
        }
    }

    /// Waits until all is confirmed, calling `look` at each look; the moment it was seen.
    pub(super) async fn confirmed(&self, mut look: impl FnMut() -> Result<()>) -> Result<Instant> {
        let sql = "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = $1";
        let mut approach = Approach::new(self.end);
        loop {
            look()?;
            let row = self.sql.query_one(sql, &[&self.slot]).await.doing("watching a slot")?;
            match approach.wait(row.get::<_, i64>(0).unsigned_abs()) {
                None => return Ok(Instant::now()),
                Some(_) if approach.stuck() => {
                    return Err(Error::Relay(format!("slot {} has not moved for {NO_PROGRESS_MAX:?}", self.slot)));
                }
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// Looks rarely while the end is far and often when it is near, judging by the speed so far.
#[derive(Debug)]
pub(super) struct Approach {
    end: u64,
    first: Option<(Instant, u64)>,
    last: (Instant, u64),
}

impl Approach {
    /// An approach to `end`.
    pub(super) fn new(end: u64) -> Self {
        Self { end, first: None, last: (Instant::now(), 0) }
    }

    /// How long to wait before the next look, now that `reached` is reached; nothing once that is the end.
    pub(super) fn wait(&mut self, reached: u64) -> Option<Duration> {
        if reached >= self.end {
            return None;
        }
        if reached > self.last.1 {
            self.last = (Instant::now(), reached);
        }
        let (since, from) = *self.first.get_or_insert((Instant::now(), reached));
        let done = reached.saturating_sub(from);
        if done == 0 {
            return Some(LOOK_OFTEN * 5);
        }
        let left = since.elapsed().mul_f64((self.end - reached) as f64 / done as f64);
        Some((left / 2).clamp(LOOK_OFTEN, LOOK_RARELY))
    }

    /// Whether nothing has moved for too long.
    pub(super) fn stuck(&self) -> bool {
        self.last.0.elapsed() > NO_PROGRESS_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::drain::gauge::Approach;

    #[test]
    fn an_approach_ends_at_the_end_and_not_before() {
        let mut approach = Approach::new(100);
        assert!(approach.wait(0).is_some());
        std::thread::sleep(Duration::from_millis(1));
        assert!(approach.wait(99).is_some_and(|wait| wait <= Duration::from_millis(500)));
        assert_eq!(approach.wait(100), None);
        assert_eq!(approach.wait(101), None);
    }
}
