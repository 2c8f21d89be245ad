//! `postrider load`: the worker that fills tables of ClickHouse.

use std::env;

use crate::{
    app,
    cli::{Error, File, role::live},
    config::worker::LoadConfig,
};

/// Fills tables of ClickHouse from Kafka's records, each exactly once in what is read.
///
/// Reads the topics that tables name ([load.tables.NAME]) and inserts them in batches. Offsets are
/// committed after that; what is sent again after a crash, ClickHouse knows by its token. Before it
/// begins it looks at every table and at the views behind it, and says what has to be mended.
///
/// SIGTERM or SIGINT: reads no more, waits for what is being inserted, and ends with 0.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Load {
    /// Start although records may be missing from the topics, because retention removed them.
    #[arg(long, verbatim_doc_comment)]
    accept_gap: bool,
}

impl Load {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = LoadConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let log = config.process.log.clone();
        live(&log, app::load::run(config, self.accept_gap))
    }
}
