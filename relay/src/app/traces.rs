//! From the configuration's `[tracing]` to the handle that traces, or to none.

use std::sync::Arc;

use crate::config::Config;
use crate::pipeline::{End, Error, Kind};
use crate::telemetry::traces::{Flush, TraceOptions};
use crate::telemetry::{Metrics, Traces};

/// Traces as configured, and what to wait for at the end.
pub(super) fn start(config: &Config, metrics: &Arc<Metrics>) -> Result<(Traces, Option<Flush>), Error> {
    let Some(endpoint) = config.tracing.otlp_endpoint.clone() else { return Ok((Traces::off(), None)) };
    let options = TraceOptions {
        endpoint,
        service_name: config.tracing.service_name.clone(),
        sample_ratio: config.tracing.sample_ratio,
        headers: config.tracing.headers.clone(),
        slot: config.source.slot.clone(),
    };
    let (traces, flush) = Traces::start(options, Arc::clone(metrics)).map_err(|error| {
        Error::new(End::Source, Kind::Setup, "the relay cannot trace")
            .because(error)
            .with_help("Check [tracing] otlp_endpoint; \"\" switches traces off.")
    })?;
    Ok((traces, Some(flush)))
}
