//! The answer of `/status`: the pipeline's own status, and the figures beside it that a person asks for first.

use serde::Serialize;

use crate::pipeline::{Status, StatusSnapshot};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Stage;
use crate::telemetry::metrics::quantile::Summary;

/// The whole answer. Its keys are a contract with those who read it; new ones may be added.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// The relay's version.
    version: &'static str,
    #[serde(flatten)]
    pipeline: StatusSnapshot,
    /// The age of the oldest commit that was read and is not durable yet, in seconds; 0 if there is none.
    lag_seconds: f64,
    /// WAL written after the position confirmed to the slot, as of the last look, in bytes.
    lag_bytes: i64,
    /// WAL that the server keeps because of the slot, as of the last look.
    retained_bytes: i64,
    /// WAL that may still be written before the slot is given up; null if there is no limit, or it is not known yet.
    safe_bytes: Option<i64>,
    /// Whether a broker can be reached.
    broker_reachable: bool,
    /// From the commit to durable, since the start.
    delivery: Summary,
    /// The stages of that way and beyond, in order.
    stages: Vec<StagePage>,
}

#[derive(Debug, Serialize)]
struct StagePage {
    stage: &'static str,
    #[serde(flatten)]
    summary: Summary,
}

impl Page {
    /// As of now.
    pub(super) fn of(status: &Status, metrics: &Metrics) -> Self {
        let stage = |stage: Stage| StagePage { stage: stage.name(), summary: Summary::of(metrics.stages.of(stage)) };
        let wal = &metrics.wal;
        let looked = wal.slot_retained_bytes.get() != 0;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pipeline: status.snapshot(),
            lag_seconds: metrics.lag().as_secs_f64(),
            lag_bytes: wal.slot_lag_bytes.get(),
            retained_bytes: wal.slot_retained_bytes.get(),
            safe_bytes: Some(wal.slot_safe_bytes.get()).filter(|bytes| looked && *bytes >= 0),
            broker_reachable: metrics.kafka.reachable.get() == 1,
            delivery: Summary::of(&metrics.flow.delivery_seconds),
            stages: Stage::ALL.map(stage).into(),
        }
    }
}
