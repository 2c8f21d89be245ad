//! Metrics of the lease by which one of several relays reads a slot.

use prometheus::{Gauge, IntCounter, IntGauge};

use crate::telemetry::metrics::section::section;

section! {
    /// Whose turn it is.
    LeaseMetrics {
        active: IntGauge = level("postrider_active", "1 while this process may read the slot: it holds the lease, or the database keeps none.");
        standby: IntGauge = level("postrider_standby", "1 while another process reads the slot and this one is ready to take over.");
        takeovers: IntCounter = counter("postrider_takeovers_total", "How often this process took the slot over from another one, which may have given it up.");
        lost: IntCounter = counter("postrider_leases_lost_total", "How often a lease was lost, or could not be renewed in time, while this process worked.");
        evicted: IntCounter = counter("postrider_backends_evicted_total", "Backends of a holder whose lease ran out that were terminated, so that the slot is free.");
        renewed_seconds: Gauge = gauge("postrider_lease_renewal_seconds", "How long the newest renewal of the lease took.");
    }
}
