//! The spans of one batch, made when it is durable: all of its moments are known then.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, SpanData, SpanEvents, SpanLinks};

use crate::telemetry::traces::Recorder;
use crate::telemetry::traces::context::TracedEvent;

/// A batch that is traced and on its way.
#[derive(Debug)]
pub struct BatchTrace {
    pub(super) context: SpanContext,
    pub(super) events: Vec<TracedEvent>,
    pub(super) left_out: usize,
    pub(super) recorder: Arc<Recorder>,
}

/// When a batch reached the places on its way; what is not known has no event in the span.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The commit of its oldest message, in microseconds since 1970.
    pub committed_us: Option<i64>,
    /// Its bytes arrived.
    pub read_at: Option<Instant>,
    /// Its messages had their form.
    pub shaped_at: Option<Instant>,
    /// The sink accepted it.
    pub accepted_at: Instant,
}

impl BatchTrace {
    /// The batch is durable now: its span and those of its traced events are queued.
    pub fn durable(self, moments: &Moments, messages: usize, bytes: usize, position: &str) {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let at = |moment: Instant| now - instant.saturating_duration_since(moment);
        let accepted = at(moments.accepted_at);
        let committed = moments.committed_us.and_then(|us| time_of(us, 1));
        let start = committed.or(moments.read_at.map(at)).unwrap_or(accepted).min(accepted);
        let mut events = SpanEvents::default();
        let reached =
            [("read", moments.read_at.map(at)), ("shaped", moments.shaped_at.map(at)), ("accepted", Some(accepted))];
        events
            .events
            .extend(reached.into_iter().filter_map(|(name, time)| Some(Event::new(name, time?, Vec::new(), 0))));
        let mut links = SpanLinks::default();
        links.links.extend(self.events.iter().map(|event| Link::new(event.context.clone(), Vec::new(), 0)));
        links.dropped_count = u32::try_from(self.left_out).unwrap_or(u32::MAX);
        let mut attributes = messaging();
        attributes.extend([
            KeyValue::new("messaging.batch.message_count", i64::try_from(messages).unwrap_or(i64::MAX)),
            KeyValue::new("postrider.batch.bytes", i64::try_from(bytes).unwrap_or(i64::MAX)),
            KeyValue::new("postrider.slot", self.recorder.slot.clone()),
            KeyValue::new("postrider.position", position.to_owned()),
        ]);
        let own = self.events.iter().map(|event| self.event_span(event, now)).collect::<Vec<_>>();
        let batch = span(self.context, SpanId::INVALID, "outbox batch".into(), (start, now), attributes);
        self.recorder.queue.offer(SpanData { events, links, ..batch });
        own.into_iter().for_each(|span| self.recorder.queue.offer(span));
    }

    /// In the event's own trace: from its commit until it was durable.
    fn event_span(&self, event: &TracedEvent, durable: SystemTime) -> SpanData {
        let ids = &self.recorder.ids;
        let own = &event.context;
        let context =
            SpanContext::new(own.trace_id(), ids.new_span_id(), TraceFlags::SAMPLED, false, own.trace_state().clone());
        let start = time_of(event.committed_ms, 1000).unwrap_or(durable).min(durable);
        let mut attributes = messaging();
        attributes.push(KeyValue::new("messaging.destination.name", event.topic.clone()));
        let mut links = SpanLinks::default();
        links.links.push(Link::new(self.context.clone(), Vec::new(), 0));
        let name = format!("send {}", event.topic);
        let span = span(context, own.span_id(), name, (start, durable), attributes);
        SpanData { links, parent_span_is_remote: true, ..span }
    }
}

/// What every span of ours says (<https://opentelemetry.io/docs/specs/semconv/messaging/kafka/>).
fn messaging() -> Vec<KeyValue> {
    vec![KeyValue::new("messaging.system", "kafka"), KeyValue::new("messaging.operation.type", "send")]
}

fn span(
    span_context: SpanContext,
    parent_span_id: SpanId,
    name: String,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id,
        parent_span_is_remote: false,
        span_kind: SpanKind::Producer,
        name: name.into(),
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Ok,
        instrumentation_scope: InstrumentationScope::builder("postrider")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// The moment `number` of units of `unit_us` microseconds after 1970.
fn time_of(number: i64, unit_us: u64) -> Option<SystemTime> {
    let us = u64::try_from(number).ok()?.checked_mul(unit_us)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(us))
}
