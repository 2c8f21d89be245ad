//! From the configuration's `[tracing]` to the handle that traces, or to none.

use std::sync::Arc;

use crate::config::tracing::Tracing;
use crate::pipeline::{End, Error, Kind};
use crate::telemetry::traces::{Flush, TraceOptions};
use crate::telemetry::{Metrics, Traces};

/// Traces as configured, and what to wait for at the end. `slot` is what the spans name: the slot, or a worker's group.
pub(super) fn start(tracing: &Tracing, slot: &str, metrics: &Arc<Metrics>) -> Result<(Traces, Option<Flush>), Error> {
    let Some(endpoint) = tracing.otlp_endpoint.clone() else { return Ok((Traces::off(), None)) };
    let options = TraceOptions {
        endpoint,
        service_name: tracing.service_name.clone(),
        sample_ratio: tracing.sample_ratio,
        headers: tracing.headers.clone(),
        slot: slot.to_owned(),
    };
    let (traces, flush) = Traces::start(options, Arc::clone(metrics)).map_err(|error| {
        Error::new(End::Source, Kind::Setup, "the relay cannot trace")
            .because(error)
            .with_help("Check [tracing] otlp_endpoint; \"\" switches traces off.")
    })?;
    Ok((traces, Some(flush)))
}
