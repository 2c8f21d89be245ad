//! Metrics of the source that polls the outbox table.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

/// Upper bounds in seconds: a look at an idle outbox takes a millisecond.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

section! {
    /// The table that is polled, and this relay's part of it.
    PollingMetrics {
        look_seconds: Histogram = histogram("postrider_polling_look_seconds", "Time that one look at the outbox table took.", SECONDS);
        sweeps: IntCounter = counter("postrider_polling_sweeps_total", "Times that everything that waits in the table was looked through from the beginning: at the start, when buckets came, and now and then.");
        notifications: IntCounter = counter("postrider_polling_notifications_total", "Rests that a notification ended early.");
        claimed_rows: IntGauge = level("postrider_polling_claimed_rows", "Rows that were read and do not say yet that they were delivered.");
        marked_rows: IntCounter = counter("postrider_polling_marked_rows_total", "Rows that were marked, or deleted, after their delivery.");
        mark_seconds: Histogram = histogram("postrider_polling_mark_seconds", "Time that it took to note a group of deliveries in the table.", SECONDS);
        buckets: IntGauge = level("postrider_polling_buckets", "Buckets of the keys that this relay reads.");
        relays: IntGauge = level("postrider_polling_relays", "Relays that share the work, this one among them.");
        buckets_moved: IntCounter = counter("postrider_polling_buckets_moved_total", "Buckets that came to this relay or left it.");
        leases_lost: IntCounter = counter("postrider_polling_leases_lost_total", "Leases that were lost because they were not renewed in time.");
        instead_of_slot: IntGauge = level("postrider_polling_instead_of_slot", "1 while the outbox is polled because its slot is lost (`source.fallback`).");
        open_transactions: IntGauge = level("postrider_polling_open_transactions", "Transactions that were writing at the last look: rows of theirs come when they commit.");
        xmin_age: IntGauge = level("postrider_polling_xmin_age", "How many transactions ago the oldest of those began.");
    }
}
