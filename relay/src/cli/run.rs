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
/// Of several relays, [relays.NAME] in the configuration, each runs by itself in this one process: one that
/// ends by an error says so and stays stopped, and the others go on; --relay runs one of them alone.
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
        let relays = Config::load_each(config, env::vars_os()).map_err(Error::Config)?;
        // What is the process's is the same for all.
        let Some(log) = relays.first().map(|relay| relay.config.process.log.clone()) else { return Ok(()) };
        live(&log, app::run(relays, self.accept_gap))
    }
}
