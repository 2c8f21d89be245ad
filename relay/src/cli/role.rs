//! What the verbs share that run until they are told to stop.

use std::{future::Future, time::Duration};

use tokio::runtime;

use crate::{
    cli::Error,
    config::log::{Format, Log},
    pipeline,
    telemetry::logging::{self, LogFormat},
};

/// Threads of the runtime. Reading and producing have threads of their own, so these only hand on.
const WORKERS: usize = 2;

/// Logs as configured and lets `role` live, until it ends by itself or by an order to stop.
pub(super) fn live(log: &Log, role: impl Future<Output = Result<(), pipeline::Error>>) -> Result<(), Error> {
    let json = log.format == Format::Json;
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    logging::init(format, &log.level).map_err(Error::Logging)?;
    #[cfg(feature = "failpoints")]
    crate::telemetry::failpoint::arm()?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let outcome = runtime.block_on(role);
    // A call that blocks, such as an attempt to connect, would keep the process beyond its deadline.
    runtime.shutdown_timeout(Duration::ZERO);
    outcome.map_err(|error| Error::Run { error, json })
}
