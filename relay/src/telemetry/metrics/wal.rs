//! Metrics of the source that reads a replication slot.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// The slot and what is read through it.
    WalMetrics {
        received_bytes: IntCounter = counter("postrider_received_bytes_total", "Bytes of the replication stream that the server sent, frames and all.");
        streams: IntCounter = counter("postrider_streams_total", "Replication streams that were started: the first, and one for each reconnection or rewind.");
        status_updates: IntCounter = counter("postrider_status_updates_total", "Reports sent to the server: what was received and what it may forget.");
        header_errors: IntCounter = counter("postrider_header_errors_total", "Events whose headers were not a JSON object.");
        ignored_relations: IntCounter = counter("postrider_ignored_relations_total", "Row changes of tables that are not the outbox.");
        filtered_events: IntCounter = counter("postrider_filtered_events_total", "Events that the filter of their outbox left out.");
        unfit_events: IntCounterVec = family("postrider_unfit_events_total", "Events that cannot become a record as they are, by the class of what is wrong.", &["class"]);
        loose_messages: IntCounter = counter("postrider_loose_messages_total", "Logical messages with an outbox's prefix that were ignored, because no commit publishes them.");
        slot_confirmed_lsn: IntGauge = level("postrider_slot_confirmed_lsn", "The position confirmed to the slot, as a number of bytes of WAL.");
        slot_retained_bytes: IntGauge = level("postrider_slot_retained_bytes", "WAL that the server keeps because of the slot.");
        slot_safe_bytes: IntGauge = level("postrider_slot_safe_bytes", "WAL that may still be written before the server gives the slot up; -1 if max_slot_wal_keep_size sets no limit.");
        slot_seconds_to_limit: IntGauge = level("postrider_slot_seconds_to_limit", "Seconds until the slot reaches max_slot_wal_keep_size or postgres.wal_disk_bytes, whichever comes first, at the rate of WAL of the last minute; -1 while the relay keeps up, or without a limit.");
        slot_lag_bytes: IntGauge = level("postrider_slot_lag_bytes", "WAL written after the position confirmed to the slot.");
    }
}
