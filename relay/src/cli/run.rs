//! `postrider run`: the relay itself.

use std::{env, path::Path, time::Duration};

use tokio::runtime;

use crate::{
    app,
    cli::Error,
    config::{Config, log::Format},
    telemetry::logging::{self, LogFormat},
};

/// Threads of the runtime. Reading the stream and producing have threads of their own, so these only hand on.
const WORKERS: usize = 2;

/// Publishes the outbox to Kafka until it is told to stop.
///
/// It starts where delivery ended, whether by SIGTERM or by a crash. Trouble that can pass, such as a
/// broker or a database that is away, is waited for; what a person must mend ends the process with
/// exit code 1 and the mend.
///
/// SIGTERM or SIGINT: reads no more, waits for what is in flight to become durable, and ends with 0.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Run {
    /// Start although events may be missing from what the slot still has.
    ///
    /// For one start, after the error that names the gap was read, and what is missing was published
    /// again or given up.
    #[arg(long, verbatim_doc_comment)]
    accept_gap: bool,
}

impl Run {
    pub(crate) fn execute(self, config: Option<&Path>) -> Result<(), Error> {
        let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
        let json = config.process.log.format == Format::Json;
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        logging::init(format, &config.process.log.level).map_err(Error::Logging)?;
        #[cfg(feature = "failpoints")]
        crate::telemetry::failpoint::arm()?;
        let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let runtime = runtime.map_err(Error::Runtime)?;
        let outcome = runtime.block_on(app::run(config, self.accept_gap));
        // A call that blocks, such as an attempt to connect, would keep the process beyond its deadline.
        runtime.shutdown_timeout(Duration::ZERO);
        outcome.map_err(|error| Error::Run { error, json })
    }
}
