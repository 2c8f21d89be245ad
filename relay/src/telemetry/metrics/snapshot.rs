//! Metrics of the initial snapshot.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// The rows that were there before the first change.
    SnapshotMetrics {
        running: IntGauge = level("postrider_snapshot_running", "1 while an initial snapshot is being read.");
        rows: IntCounter = counter("postrider_snapshot_rows_total", "Rows that initial snapshots read.");
        tables: IntGauge = level("postrider_snapshot_tables", "Tables of the newest initial snapshot.");
        tables_done: IntGauge = level("postrider_snapshot_tables_done", "Those of them that were read whole.");
        seconds_left: IntGauge = level("postrider_snapshot_left_seconds", "How long the initial snapshot may still take, by the tables' statistics and the rate so far; -1 if that cannot be told.");
        shown_changes: IntCounter = counter("postrider_snapshot_shown_changes_total", "Changes that were left out of the stream because the rows of an initial snapshot show them.");
    }
}
