//! `postrider parked list`: what is parked.

use std::env;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        parked::select::{Filter, Output, json},
        print,
    },
    config::DatabaseConfig,
    slots::parked::{ParkedEvent, list},
};

/// Characters of a key that the table shows.
const KEY_SHOWN: usize = 40;

/// Lists parked events in the order in which they would be delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Also those that were delivered, skipped or discarded
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// The form of the list
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl List {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let selection = self.filter.selection(Vec::new(), &config);
        let events = block_on(async {
            let client = self.administrator.connect(&config.postgres).await?;
            Ok(list(&client, &selection, self.all, self.limit).await?)
        })?;
        match self.output {
            Output::Json => print(&json(&events)),
            Output::Text if events.is_empty() => print("nothing is parked\n"),
            Output::Text => print(&format!("{}\n{}", table(&events), cut(events.len(), self.limit))),
        }
    }
}

fn table(events: &[ParkedEvent]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["POSITION", "STATE", "TOPIC", "KEY", "ID", "TRIES", "BYTES", "PARKED AT", "REASON"]);
    for event in events {
        let key: String = event.key.as_deref().unwrap_or("-").chars().take(KEY_SHOWN).collect();
        let reason = event.reason.as_deref().unwrap_or("behind another of its key");
        table.add_row([
            event.position.as_str(),
            &event.state,
            &event.topic,
            &key.escape_debug().to_string(),
            event.event_id.as_deref().unwrap_or("-"),
            &event.attempts.to_string(),
            &event.bytes.to_string(),
            &event.parked_at,
            &match event.order_broken {
                true => format!("{reason} (order broken)"),
                false => reason.to_owned(),
            },
        ]);
    }
    table
}

fn cut(shown: usize, limit: u32) -> String {
    match shown as u64 == u64::from(limit) {
        true => format!("these are the first {limit}; --limit shows more\n"),
        false => String::new(),
    }
}
