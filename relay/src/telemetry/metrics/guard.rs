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
        releases: IntCounter = counter("postrider_guard_releases_total", "Times the slot was dropped because its budget was used up.");
    }
}
