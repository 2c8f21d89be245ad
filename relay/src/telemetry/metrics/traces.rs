//! Metrics of the traces.

use prometheus::IntCounter;

use crate::telemetry::metrics::section::section;

section! {
    /// Spans on their way to the collector.
    TraceMetrics {
        exported: IntCounter = counter("postrider_spans_exported_total", "Spans that the collector took.");
        dropped: IntCounter = counter("postrider_spans_dropped_total", "Spans that were given up, because the collector did not take them or too many waited.");
    }
}
