//! OpenTelemetry traces, if they are asked for: a span for each traced batch, linked to the events' own traces, and in each
//! of those a span for the event's way to the broker.
//!
//! An event's trace is the one that its writer put into the header `traceparent`
//! (<https://www.w3.org/TR/trace-context/>), which travels on untouched. A batch is traced if one of its events is (the
//! flag `sampled`), and of all others a configured share.
//!
//! Guarantee: the flow never waits for a span. Spans wait in a bounded queue, and what does not fit, or what the collector
//! does not take, is dropped, counted, and told once.

mod batch;
mod context;
mod export;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::telemetry::Metrics;
use crate::telemetry::traces::export::{Exporter, Queue};

pub use batch::{BatchTrace, Moments};
pub use context::Parent;
pub use export::TraceError;

/// The header that carries an event's trace.
pub const TRACEPARENT: &str = "traceparent";

/// The header that carries what the tracing systems on its way added.
pub const TRACESTATE: &str = "tracestate";

/// Most events of a batch that are linked and get a span: what collectors take, and what a person can look through.
pub const LINKS_MAX: usize = 64;

/// What traces need.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOptions {
    /// The collector's address without a path, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// How the relay is called in traces.
    pub service_name: String,
    /// The share of batches to trace of which no event is traced, from 0 to 1.
    pub sample_ratio: f64,
    /// Headers of each request, such as `authorization`.
    pub headers: Vec<(String, String)>,
    /// The slot, named by each batch's span.
    pub slot: String,
}

/// Traces, or none.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Recorder>>);

/// Makes spans and queues them.
#[derive(Debug)]
struct Recorder {
    ids: RandomIdGenerator,
    sample_ratio: f64,
    slot: String,
    queue: Queue,
}

impl Traces {
    /// No traces: costs nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Traces that are sent to a collector by a task of the present runtime. Nothing is connected to yet.
    ///
    /// # Errors
    /// If the endpoint is no `http://` URL.
    pub fn start(options: TraceOptions, metrics: Arc<Metrics>) -> Result<(Self, Flush), TraceError> {
        let (queue, exporter) = Exporter::new(&options, metrics)?;
        let task = tokio::spawn(exporter.run());
        let TraceOptions { sample_ratio, slot, .. } = options;
        let recorder = Recorder { ids: RandomIdGenerator::default(), sample_ratio, slot, queue };
        Ok((Self(Some(Arc::new(recorder))), Flush(task)))
    }

    /// Begins the trace of a batch, if it is to be traced; `parents` are the trace headers of its events, in order.
    pub fn begin<'m>(&self, parents: impl FnOnce() -> Vec<Parent<'m>>) -> Option<BatchTrace> {
        let recorder = self.0.as_ref()?;
        let mut events: Vec<_> = parents().iter().filter_map(Parent::sampled).collect();
        let left_out = events.len().saturating_sub(LINKS_MAX);
        events.truncate(LINKS_MAX);
        let trace_id = recorder.ids.new_trace_id();
        if events.is_empty() && !is_chosen(trace_id.to_bytes(), recorder.sample_ratio) {
            return None;
        }
        let span_id = recorder.ids.new_span_id();
        let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE);
        Some(BatchTrace { context, events, left_out, recorder: Arc::clone(recorder) })
    }
}

/// Whether the trace of this id belongs to the share that is traced: its random lower half decides.
fn is_chosen(trace_id: [u8; 16], ratio: f64) -> bool {
    let [.., a, b, c, d, e, f, g, h] = trace_id;
    let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11;
    // 53 bits, as many as a double has.
    (random as f64) < ratio * (1_u64 << 53) as f64
}

/// The task that exports; to be waited for at the end.
#[derive(Debug)]
pub struct Flush(tokio::task::JoinHandle<()>);

impl Flush {
    /// Waits until what was queued is exported, at most `patience`. Every [`Traces`] must have been dropped before.
    pub async fn wait(self, patience: Duration) {
        // What is not exported by then is lost, as the last spans of a process that is killed are.
        tokio::time::timeout(patience, self.0).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_traced_is_that_of_the_ids() {
        let ids = RandomIdGenerator::default();
        let chosen = |ratio| (0..10_000).filter(|_| is_chosen(ids.new_trace_id().to_bytes(), ratio)).count();
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 10_000));
        // Ten standard deviations: it does not fail by chance.
        assert!((2_500 - 433..=2_500 + 433).contains(&chosen(0.25)));
    }
}
