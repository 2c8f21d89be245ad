//! How far a snapshot is, and how long it may take: a line in the log every few seconds, metrics, and the status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{Instrument, info};

use crate::pipeline::Status;
use crate::pipeline::status::SnapshotStatus;
use crate::sources::snapshot::progress::Account;
use crate::sources::snapshot::tables::Found;
use crate::telemetry::Metrics;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    tables: usize,
    /// Rows of all tables by the statistics; `None` if one has none.
    estimated: Option<u64>,
    /// Rows that an earlier run read.
    before: u64,
    rows: AtomicU64,
    done: AtomicUsize,
}

impl Tally {
    pub(super) fn new(tables: &[Found], account: &Account) -> Self {
        Self {
            began: Instant::now(),
            tables: tables.len(),
            estimated: tables.iter().map(|table| table.rows).sum(),
            before: account.rows(),
            rows: AtomicU64::new(0),
            done: AtomicUsize::new(account.tables_done()),
        }
    }

    /// As it is shown.
    fn status(&self) -> SnapshotStatus {
        let now = self.rows.load(Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        let rows = self.before + now;
        let rows_per_second = (now as f64 / seconds.max(0.001)) as u64;
        let left = self.estimated.map(|estimated| estimated.saturating_sub(rows));
        SnapshotStatus {
            tables: self.tables,
            tables_done: self.done.load(Ordering::Relaxed),
            rows,
            rows_estimated: self.estimated,
            rows_per_second,
            seconds_left: left.filter(|_| rows_per_second > 0).map(|left| left / rows_per_second),
        }
    }
}

/// Tells of a snapshot until it ends or is dropped.
pub(super) struct Report {
    tally: Arc<Tally>,
    metrics: Arc<Metrics>,
    status: Option<Arc<Status>>,
    task: JoinHandle<()>,
}

impl Report {
    pub(super) fn begin(tally: Tally, metrics: Arc<Metrics>, status: Option<Arc<Status>>) -> Self {
        let tally = Arc::new(tally);
        let (tally_, metrics_, status_) = (Arc::clone(&tally), Arc::clone(&metrics), status.clone());
        let tell = async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let SnapshotStatus { tables, tables_done, rows, rows_estimated, rows_per_second, seconds_left } =
                    show(&tally_, &metrics_, status_.as_deref());
                info!(tables, tables_done, rows, rows_estimated, rows_per_second, seconds_left, "initial snapshot");
            }
        };
        metrics.snapshot.running.set(1);
        show(&tally, &metrics, status.as_deref());
        Self { tally, metrics, status, task: tokio::spawn(tell.in_current_span()) }
    }

    /// So many more rows were handed on.
    pub(super) fn read(&self, rows: u64, tables_done: usize) {
        self.tally.rows.fetch_add(rows, Ordering::Relaxed);
        self.tally.done.store(tables_done, Ordering::Relaxed);
    }

    /// All was handed on.
    pub(super) fn end(&self) {
        let SnapshotStatus { tables, rows, rows_per_second, .. } =
            show(&self.tally, &self.metrics, self.status.as_deref());
        let seconds = self.tally.began.elapsed().as_secs();
        info!(tables, rows, rows_per_second, seconds, "the initial snapshot is read");
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.task.abort();
        self.metrics.snapshot.running.set(0);
        self.metrics.snapshot.seconds_left.set(0);
        if let Some(status) = &self.status {
            status.snapshotting(None);
        }
    }
}

/// Shows how far it is.
fn show(tally: &Tally, metrics: &Metrics, status: Option<&Status>) -> SnapshotStatus {
    let now = tally.status();
    metrics.snapshot.tables.set(now.tables as i64);
    metrics.snapshot.tables_done.set(now.tables_done as i64);
    metrics.snapshot.seconds_left.set(now.seconds_left.map_or(-1, |seconds| seconds as i64));
    if let Some(status) = status {
        status.snapshotting(Some(now.clone()));
    }
    now
}
