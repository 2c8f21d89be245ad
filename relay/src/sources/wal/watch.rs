//! Looks after the slot while it streams: what the stream itself would never tell.
//!
//! A publication that loses the outbox, or a table that is dropped or renamed, only makes the stream fall silent; an
//! invalidated slot is noticed at the next start. A look every few seconds makes each of them an error at once. Between the looks
//! it samples what is delivered in the table's own terms: see [`horizon`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::Connection;
use crate::postgres::retention::{Standing, WalRate, outlook};
use crate::sources::wal::horizon::{self, History, Horizons};
use crate::sources::wal::open::connect_sql;
use crate::sources::wal::record::Record;
use crate::sources::wal::{WalOptions, facts};
use crate::telemetry::Metrics;

/// Between two samples. Each is two cheap queries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Samples for each look, which is two cheap catalog queries.
const SAMPLES_A_LOOK: u32 = 5;

/// The rate of the log is the average over so many seconds.
const RATE_SECONDS: f64 = 60.0;

/// A watch over one open slot; ends when dropped.
pub(super) struct Watch {
    failed: mpsc::Receiver<Error>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch through `sql`, which is replaced when it is lost.
    /// What it samples on the history of `from` goes to `horizons`.
    pub(super) fn begin(
        sql: Connection,
        options: Arc<WalOptions>,
        metrics: Arc<Metrics>,
        (from, horizons): (Record, Arc<Horizons>),
    ) -> Self {
        let (report, failed) = mpsc::channel(1);
        let history = History { system_id: from.system_id, timeline: from.timeline };
        let rate = Mutex::new(WalRate::over(RATE_SECONDS));
        let looks = Arc::new(Looks { options, metrics, history, horizons, rate });
        Self { failed, task: tokio::spawn(watch(sql, looks, report)) }
    }

    /// Waits until something is wrong, or is still wrong when it is asked again. Cancel safe.
    pub(super) async fn failed(&mut self) -> Error {
        match self.failed.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is looked at, and where it is told.
struct Looks {
    options: Arc<WalOptions>,
    metrics: Arc<Metrics>,
    history: History,
    horizons: Arc<Horizons>,
    rate: Mutex<WalRate>,
}

/// Looks for what is wrong, until nobody wants to know.
async fn watch(sql: Connection, looks: Arc<Looks>, report: mpsc::Sender<Error>) {
    let mut sql = Some(sql);
    for turn in (0..SAMPLES_A_LOOK).cycle() {
        let (connection, looks) = (sql.take(), Arc::clone(&looks));
        let look = tokio::task::spawn_blocking(move || looks.take(connection, turn == 0)).await;
        match look {
            Ok(Ok(connection)) => sql = Some(connection),
            Ok(Err(error)) if matches!(error.kind(), Kind::Unavailable | Kind::Broken) => {
                // The stream notices a lost server by itself; the watch only tries again.
                debug!(error = error.chain(), "the slot could not be looked at");
            }
            Ok(Err(error)) => {
                if report.send(error).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Looks {
    /// Takes a sample, and a look too if it is time for one or the connection was lost.
    fn take(&self, connection: Option<Connection>, looks: bool) -> Result<Connection, Error> {
        let looks = looks || connection.is_none();
        let mut sql = match connection {
            Some(connection) => connection,
            None => connect_sql(&self.options)?,
        };
        if looks {
            self.look(&mut sql)?;
        }
        match horizon::sample(&mut sql, self.history) {
            Ok(sample) => sample.into_iter().for_each(|sample| self.horizons.push(sample)),
            Err(error) if error.is_transient() => {
                let context = "how far the table is delivered could not be sampled";
                return Err(Error::new(End::Source, Kind::Unavailable, context).because(error));
            }
            // Recovery then reads back more from Kafka; delivery needs no sample.
            Err(error) => debug!(%error, "how far the table is delivered cannot be sampled"),
        }
        Ok(sql)
    }

    fn look(&self, sql: &mut Connection) -> Result<(), Error> {
        let retention = facts::retention(sql, &self.options.slot)?;
        let metrics = &self.metrics.wal;
        metrics.slot_retained_bytes.set(retention.retained_bytes);
        metrics.slot_lag_bytes.set(retention.lag_bytes);
        metrics.slot_safe_bytes.set(retention.safe_bytes.unwrap_or(-1));
        metrics.slot_seconds_to_limit.set(self.seconds_to_limit(&retention));
        facts::publications(sql, &self.options)
    }

    /// The time that is left to the slot; -1 if no limit comes nearer.
    fn seconds_to_limit(&self, retention: &facts::Retention) -> i64 {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.add(retention.clock, retention.end);
        let standing = Standing {
            retained_bytes: Some(retention.retained_bytes),
            lag_bytes: Some(retention.lag_bytes),
            safe_bytes: retention.safe_bytes,
            disk_bytes: self.options.wal_disk_bytes,
            idle_seconds: None,
            is_read: true,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole seconds are enough, and a longer time than fits is none"
        )]
        outlook(&standing, rate.bytes_per_second()).left.map_or(-1, |left| left.seconds as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_can_be_asked_again() {
        let (report, failed) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            for _ in 0..2 {
                report.send(Error::new(End::Source, Kind::Gap, "the slot is gone")).await.unwrap();
            }
        });
        let mut watch = Watch { failed, task };
        assert_eq!(watch.failed().await.kind(), Kind::Gap);
        assert_eq!(watch.failed().await.kind(), Kind::Gap);
        let silent = tokio::time::timeout(Duration::from_millis(1), watch.failed()).await;
        assert!(silent.is_err(), "whoever asks on waits");
    }
}
