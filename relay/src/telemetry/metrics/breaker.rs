//! Metrics of the circuit breakers of a worker's two ends.

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec};

use crate::telemetry::metrics::flow::END;
use crate::telemetry::metrics::parking::OUTCOME;
use crate::telemetry::metrics::section::section;

section! {
    /// Where the breakers stand.
    BreakerMetrics {
        state: IntGaugeVec = levels("postrider_breaker_state", "Where the circuit breaker of an end stands: 0 closed, 1 half-open (the service is probed), 2 open.", &[END]);
        opened: IntCounterVec = family("postrider_breaker_opened_total", "How often the circuit breaker of an end opened, repeated openings of one outage left out.", &[END]);
        open_seconds: CounterVec = fractions("postrider_breaker_open_seconds_total", "How long the circuit breaker of an end was not closed; brought up to date with each probe.", &[END]);
        probes: IntCounterVec = family("postrider_breaker_probes_total", "Probes of a service whose breaker is half-open, by outcome: `succeeded` or `failed`.", &[END, OUTCOME]);
    }
}
