//! `postrider snapshot status`: how far snapshots came.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        parked::select::{Output, json},
        print,
        snapshot::listing,
    },
    config::DatabaseConfig,
    slots::snapshots,
};

/// Shows the snapshots that are asked for and not over, and how far they came.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Also those that are done, stopped or failed
    #[arg(long)]
    all: bool,
    /// Those of this slot; without it of the configured one
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// The form of the list
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Status {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let slot = self.slot.unwrap_or_else(|| config.source.slot.clone());
        let snapshots = block_on(async {
            let client = self.administrator.connect(&config.postgres).await?;
            Ok(snapshots::list(&client, &slot, self.all).await?)
        })?;
        match self.output {
            Output::Json => print(&json(&snapshots)),
            Output::Text if snapshots.is_empty() => print("no snapshot is asked for\n"),
            Output::Text => print(&format!("{}\n", listing(&snapshots))),
        }
    }
}
