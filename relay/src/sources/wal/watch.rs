//! Looks after the slot while it streams: what the stream itself would never tell.
//!
//! A publication that loses the outbox, or a table that is dropped or renamed, only makes the stream fall silent; an
//! invalidated slot is noticed at the next start. A look every few seconds makes each of them an error at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::pipeline::{Error, Kind};
use crate::postgres::connection::Connection;
use crate::sources::wal::open::connect_sql;
use crate::sources::wal::{WalOptions, facts};
use crate::telemetry::Metrics;

/// Between two looks. Each is two cheap catalog queries.
const INTERVAL: Duration = Duration::from_secs(5);

/// A watch over one open slot; ends when dropped.
pub(super) struct Watch {
    failed: mpsc::Receiver<Error>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch through `sql`, which is replaced when it is lost.
    pub(super) fn begin(sql: Connection, options: Arc<WalOptions>, metrics: Arc<Metrics>) -> Self {
        let (report, failed) = mpsc::channel(1);
        Self { failed, task: tokio::spawn(watch(sql, options, metrics, report)) }
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

/// Looks for what is wrong, until nobody wants to know.
async fn watch(sql: Connection, options: Arc<WalOptions>, metrics: Arc<Metrics>, report: mpsc::Sender<Error>) {
    let mut sql = Some(sql);
    loop {
        let (connection, options_, metrics_) = (sql.take(), Arc::clone(&options), Arc::clone(&metrics));
        let look = tokio::task::spawn_blocking(move || look(connection, &options_, &metrics_)).await;
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

fn look(connection: Option<Connection>, options: &WalOptions, metrics: &Metrics) -> Result<Connection, Error> {
    let mut sql = match connection {
        Some(connection) => connection,
        None => connect_sql(options)?,
    };
    let retention = facts::retention(&mut sql, &options.slot)?;
    metrics.wal.slot_retained_bytes.set(retention.retained_bytes);
    metrics.wal.slot_lag_bytes.set(retention.lag_bytes);
    metrics.wal.slot_safe_bytes.set(retention.safe_bytes.unwrap_or(-1));
    facts::publications(&mut sql, options)?;
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::End;

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
