//! `postrider snapshot start`: asks for tables to be read.

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

/// Asks for tables to be read, one after the other in the order in which they are asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// A captured table, as schema.table; several times for several
    #[arg(long = "table", value_name = "TABLE", required = true, value_parser = table_name)]
    tables: Vec<TableName>,
    /// Only the rows that fit this condition
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Asks the relay of this slot; without it of the configured one
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Start {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let slot = self.slot.unwrap_or_else(|| config.source.slot.clone());
        let publication = config.capture.as_ref().map(|capture| capture.publication.as_str());
        let started = block_on(async {
            let mut client = self.administrator.connect(&config.postgres).await?;
            let tables = targets(self.tables);
            Ok(snapshots::start(&mut client, &slot, publication, &tables, self.condition.as_deref()).await?)
        })?;
        match self.output {
            Output::Json => print(&json(&started)),
            Output::Text => print(&format!("{}\n", listing(&started))),
        }
    }
}
