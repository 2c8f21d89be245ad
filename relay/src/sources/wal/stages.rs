//! What the source counts of a stream: the stages up to an event's form, and the traffic of the connection.

use std::sync::Arc;
use std::time::Instant;

use crate::pipeline::Messages;
use crate::pipeline::times::age_of;
use crate::postgres::stream::ReplicationStream;
use crate::postgres::traffic::Traffic;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Stage;

/// Counts one stream.
pub(super) struct Stages {
    metrics: Arc<Metrics>,
    counted: Traffic,
}

impl Stages {
    /// Begins to count a stream that was just started.
    pub(super) fn of_a_new_stream(metrics: &Arc<Metrics>) -> Self {
        metrics.wal.streams.inc();
        Self { metrics: Arc::clone(metrics), counted: Traffic::default() }
    }

    /// A batch was cut, from `begun` until now, of frames that arrived at `read_at`.
    pub(super) fn cut(&self, messages: &mut Messages, read_at: Instant, begun: Instant) {
        if messages.is_empty() {
            return;
        }
        let shaped_at = Instant::now();
        let stages = &self.metrics.stages;
        // What has passed since the arrival is no part of the way to it.
        let age = messages.times().committed_us.and_then(age_of);
        if let Some(read) = age.and_then(|age| age.checked_sub(shaped_at.saturating_duration_since(read_at))) {
            stages.observe(Stage::Read, read);
        }
        stages.observe(Stage::Handover, begun.saturating_duration_since(read_at));
        stages.observe(Stage::Shape, shaped_at.saturating_duration_since(begun));
        let times = messages.times_mut();
        times.read_at = Some(read_at);
        times.shaped_at = Some(shaped_at);
    }

    /// Takes over what the stream itself counted since the last time.
    pub(super) fn collect(&mut self, stream: &ReplicationStream) {
        let (before, now) = (self.counted, stream.traffic());
        let wal = &self.metrics.wal;
        wal.received_bytes.inc_by(now.received_bytes - before.received_bytes);
        wal.status_updates.inc_by(now.status_updates - before.status_updates);
        // Reports are as rare as acknowledgements, so the newest one's wait stands for those in between.
        if now.reported > before.reported {
            self.metrics.stages.observe(Stage::Confirm, now.report_wait);
        }
        self.counted = now;
    }
}
