//! `postrider run`: the relay itself.

use std::env;

use crate::{
    app,
    cli::{Error, File, role::live},
    config::Config,
};

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
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
        let log = config.process.log.clone();
        live(&log, app::run(config, self.accept_gap))
    }
}
