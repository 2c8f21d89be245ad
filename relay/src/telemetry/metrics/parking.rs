//! Metrics of parking: what is set aside, and what became of it.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::section::section;

/// The label that says why an event was parked: `refused` before it was sent or by the broker, `overtaken` by a later one
/// of its key before it was refused, `unfit` to become a message, `waiting` behind another one of its key.
pub const WHY: &str = "why";
/// The label that says what became of a parked event that was tried again: `delivered` or `refused`.
pub const OUTCOME: &str = "outcome";

/// Upper bounds of the buckets of a statement's duration, in seconds: from a good disk to an outage.
const LOT_BUCKETS_SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

section! {
    /// What is set aside because it cannot be delivered.
    ParkingMetrics {
        events: IntGauge = level("postrider_parked_events", "Events that are parked, those that wait behind another included.");
        bytes: IntGauge = level("postrider_parked_bytes", "Keys, values and headers of the parked events, in bytes.");
        held_keys: IntGauge = level("postrider_held_keys", "Keys whose events wait because an earlier one of the key is parked.");
        full: IntGauge = level("postrider_parking_full", "1 while the stream waits because no more may be parked.");
        parked: IntCounterVec = family("postrider_parked_total", "Events that were parked, by why.", &[WHY]);
        retried: IntCounterVec = family("postrider_parked_retried_total", "Parked events that were tried again, by outcome.", &[OUTCOME]);
        dead_lettered: IntCounter = counter("postrider_dead_lettered_total", "Events that were sent to a dead-letter topic.");
        lot_seconds: Histogram = histogram("postrider_parking_seconds", "How long parking a batch's events, or reading what is parked, took.", &LOT_BUCKETS_SECONDS);
    }
}
