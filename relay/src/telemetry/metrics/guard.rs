//! Metrics of the guard over the server's disk.

use prometheus::{Gauge, IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// What the slot costs against its budget.
    GuardMetrics {
        level: IntGauge = level("postrider_guard_level", "How much of its budget of WAL the slot uses: 0 little, 1 enough to warn, 2 all of it, 3 the slot was released.");
        used: Gauge = gauge("postrider_guard_used_ratio", "The part of the tightest budget that is used; 1 is all of it, 0 if the guard has none.");
        budget_bytes: IntGauge = level("postrider_guard_budget_bytes", "WAL that the slot may hold back by its budget, in bytes; -1 without a budget in bytes.");
        pinned: IntGauge = level("postrider_guard_pinned", "1 while a transaction left open in the database keeps most of that WAL, which no delivery frees.");
        spilling: IntGauge = level("postrider_spilling", "1 while the slot is read into files on this disk instead of being kept by the server.");
        spill_bytes: IntGauge = level("postrider_spill_bytes", "Bytes that the spill takes on this disk.");
        spill_segments: IntGauge = level("postrider_spill_segments", "Files that the spill consists of; each is removed when what is in it is delivered.");
        spill_limit_bytes: IntGauge = level("postrider_spill_limit_bytes", "Bytes that the spill may take, guard.spill_bytes_max; 0 if nothing is spilled by the configuration.");
        spilled_bytes: IntCounter = counter("postrider_spilled_bytes_total", "Bytes written to the spill.");
        releases: IntCounter = counter("postrider_guard_releases_total", "Times the slot was dropped because its budget was used up.");
    }
}
