//! Metrics of what a worker gives up, and of what becomes of it.

use prometheus::{IntCounterVec, IntGauge};

use crate::telemetry::metrics::clickhouse::REASON;
use crate::telemetry::metrics::parking::OUTCOME;
use crate::telemetry::metrics::section::section;

section! {
    /// The dead letters.
    DeadLetterMetrics {
        condemned: IntCounterVec = family("postrider_dead_letters_total", "Records that became dead letters, by the class of the reason; `waiting` is one behind another of its key, `awaited` one that is tried again by itself.", &[REASON]);
        letters: IntGauge = level("postrider_dead_letters", "Dead letters of the whole group that were neither replayed nor dropped.");
        held_keys: IntGauge = level("postrider_dead_letter_held_keys", "Keys whose records become dead letters because an earlier one is.");
        replayed: IntCounterVec = family("postrider_dead_letters_replayed_total", "Dead letters that this worker tried again, by outcome: `delivered` or `refused`.", &[OUTCOME]);
    }
}
