//! Metrics of snapshots that are taken beside the stream, and of signals.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// Snapshots beside the stream.
    IncrementalMetrics {
        rows: IntCounter = counter("postrider_incremental_snapshot_rows_total", "Rows of snapshots beside the stream that were published.");
        dropped_rows: IntCounter = counter("postrider_incremental_snapshot_dropped_rows_total", "Rows that were read and not published, because the stream had told what they are now.");
        chunks: IntCounter = counter("postrider_incremental_snapshot_chunks_total", "Chunks of rows that were published.");
        rereads: IntCounterVec = family("postrider_incremental_snapshot_rereads_total", "Chunks that were read again, by the reason.", &["reason"]);
        ended: IntCounterVec = family("postrider_incremental_snapshots_total", "Snapshots beside the stream that ended, by how.", &["state"]);
        running: IntGauge = level("postrider_incremental_snapshots_running", "Snapshots beside the stream that are asked for and neither ended nor paused.");
        window_keys: IntGauge = level("postrider_incremental_snapshot_window_keys", "Changed keys that are noted while a chunk is being read.");
        recent_transactions: IntGauge = level("postrider_recent_transactions", "Transactions that were delivered and may not be visible to others yet.");
        signals: IntCounter = counter("postrider_signals_total", "Signals that were read from the signal table.");
        unreadable_signals: IntCounter = counter("postrider_unreadable_signals_total", "Signals that could not be understood and were left out.");
    }
}
