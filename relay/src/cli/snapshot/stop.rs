//! `postrider snapshot stop`: ends snapshots.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        parked::select::{Output, json},
        print,
        snapshot::{listing, table_name, targets},
    },
    config::{DatabaseConfig, outbox::TableName},
    slots::snapshots,
};

/// Ends snapshots within a second. What was published stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Only those of this table, as schema.table; several times for several
    #[arg(long = "table", value_name = "TABLE", value_parser = table_name)]
    tables: Vec<TableName>,
    /// Those of this slot; without it of the configured one
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Stop {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let slot = self.slot.unwrap_or_else(|| config.source.slot.clone());
        let stopped = block_on(async {
            let client = self.administrator.connect(&config.postgres).await?;
            Ok(snapshots::stop(&client, &slot, &targets(self.tables)).await?)
        })?;
        match self.output {
            Output::Json => print(&json(&stopped)),
            Output::Text if stopped.is_empty() => print("nothing to stop: no snapshot is asked for\n"),
            Output::Text => print(&format!("{}\n", listing(&stopped))),
        }
    }
}
