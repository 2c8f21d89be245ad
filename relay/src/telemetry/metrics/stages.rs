//! Metrics of the stages between a commit and the moment when Postgres may forget it: how long each takes, batch by
//! batch. A batch costs a handful of clock reads, whatever its number of events.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use crate::telemetry::metrics::section::{Set, section};

/// The label that names a stage.
pub const STAGE: &str = "stage";

/// Upper bounds of the buckets of a stage's duration, in seconds: from a clock read to an outage.
const STAGE_BUCKETS_SECONDS: [f64; 17] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0, 60.0];

/// Upper bounds of the buckets of a batch's messages.
const BATCH_BUCKETS_MESSAGES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 10_000.0];

/// Upper bounds of the buckets of a batch's bytes.
const BATCH_BUCKETS_BYTES: [f64; 8] =
    [1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 16_777_216.0, 268_435_456.0];

/// A stage of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the commit until its bytes arrived: the server's decoding and the network.
    Read,
    /// From the arrival until the pump took them: held together with others, or waiting because the pump was busy.
    Handover,
    /// Decoding the rows and giving the events their form.
    Shape,
    /// From the form until the sink accepted the batch: waiting for room included.
    Accept,
    /// From acceptance until the batch was durable: the broker's round trip.
    Deliver,
    /// From durable until the progress record that covers it was durable too.
    Record,
    /// From the progress record until Postgres was told.
    Confirm,
}

impl Stage {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Handover, Self::Shape, Self::Accept, Self::Deliver, Self::Record, Self::Confirm];

    /// Its name as a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Handover => "handover",
            Self::Shape => "shape",
            Self::Accept => "accept",
            Self::Deliver => "deliver",
            Self::Record => "record",
            Self::Confirm => "confirm",
        }
    }
}

section! {
    /// Batches and their stages.
    BatchMetrics {
        stage_seconds: HistogramVec = histograms("postrider_stage_seconds", "How long a batch spent in a stage of its way from the commit to the confirmation.", &STAGE_BUCKETS_SECONDS, &[STAGE]);
        messages: Histogram = histogram("postrider_batch_messages", "Messages of a batch, idle advances left out.", &BATCH_BUCKETS_MESSAGES);
        bytes: Histogram = histogram("postrider_batch_bytes", "Bytes of keys and values of a batch, idle advances left out.", &BATCH_BUCKETS_BYTES);
    }
}

/// The stages, each with its handle at hand.
#[derive(Debug)]
pub struct StageMetrics {
    stages: [Histogram; Stage::ALL.len()],
    /// Batches as they are.
    pub batches: BatchMetrics,
}

impl StageMetrics {
    /// All at zero, registered.
    pub(super) fn new(set: &Set<'_>) -> Self {
        let batches = BatchMetrics::new(set);
        Self { stages: Stage::ALL.map(|stage| batches.stage_seconds.with_label_values(&[stage.name()])), batches }
    }

    /// A batch spent `duration` in `stage`.
    pub fn observe(&self, stage: Stage, duration: Duration) {
        self.of(stage).observe(duration.as_secs_f64());
    }

    /// The durations of `stage`.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }
}
