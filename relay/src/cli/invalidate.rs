//! `postrider invalidate`: the worker that makes what is cached in Redis stale.

use std::env;

use crate::{
    app,
    cli::{Error, File, role::live},
    config::worker::InvalidateConfig,
};

/// Makes what is cached in Redis stale as soon as the rows behind it change.
///
/// Reads the topics that rules name ([invalidate.rules.NAME]), invalidates at once and, a second
/// later, once more: what was filled before the change was visible is void too. Offsets are
/// committed after that, so that a crash loses neither.
///
/// SIGTERM or SIGINT: reads no more, waits for what needs its second pass, and ends with 0.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Invalidate {
    /// Start although records may be missing from the topics, because retention removed them.
    #[arg(long, verbatim_doc_comment)]
    accept_gap: bool,
}

impl Invalidate {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = InvalidateConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let log = config.process.log.clone();
        live(&log, app::invalidate::run(config, self.accept_gap))
    }
}
