//! A trace's context as headers carry it: <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The trace headers of an event, as its writer wrote them, and what its span tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Parent<'m> {
    /// The value of `traceparent`.
    pub traceparent: Option<&'m [u8]>,
    /// The value of `tracestate`.
    pub tracestate: Option<&'m [u8]>,
    /// The event's topic.
    pub topic: &'m str,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: i64,
}

/// An event that its writer traces.
#[derive(Debug, Clone)]
pub(super) struct TracedEvent {
    pub(super) context: SpanContext,
    pub(super) topic: String,
    pub(super) committed_ms: i64,
}

impl Parent<'_> {
    /// The event's trace, if it has one and its writer records it.
    pub(super) fn sampled(&self) -> Option<TracedEvent> {
        let (trace_id, span_id, flags) = parse(self.traceparent?)?;
        if !flags.is_sampled() {
            return None;
        }
        // A state that cannot be read is left out, as the specification asks; the trace is whole without it.
        let state = self.tracestate.and_then(|state| str::from_utf8(state).ok());
        let state = state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let context = SpanContext::new(trace_id, span_id, flags, true, state);
        Some(TracedEvent { context, topic: self.topic.to_owned(), committed_ms: self.committed_ms })
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; a later version may have more behind that. All zeros are no id.
fn parse(traceparent: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let text = str::from_utf8(traceparent).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
    };
    let whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !whole || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn sampled(traceparent: &str) -> Option<TracedEvent> {
        let parent =
            Parent { traceparent: Some(traceparent.as_bytes()), tracestate: Some(b"a=1"), topic: "t", committed_ms: 7 };
        parent.sampled()
    }

    #[test]
    fn a_recorded_trace_is_taken_over_with_its_state() {
        let event = sampled(&format!("00-{TRACE}-00f067aa0ba902b7-01")).expect("it is recorded");
        assert_eq!(event.context.trace_id().to_string(), TRACE);
        assert_eq!(event.context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(event.context.trace_state().header(), "a=1");
        assert!(sampled(&format!("01-{TRACE}-00f067aa0ba902b7-03-more")).is_some(), "a later version");
    }

    #[test]
    fn what_is_not_recorded_or_no_trace_is_not() {
        for traceparent in [
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".into(),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            String::new(),
            "\u{e9}".repeat(40),
        ] {
            assert!(sampled(&traceparent).is_none(), "{traceparent}");
        }
    }
}
