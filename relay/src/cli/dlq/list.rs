//! `postrider dlq list`: what was given up.

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    app::dlq::Row,
    cli::{
        Error, File,
        dlq::{
            select::{Filter, Form, Output, json},
            with,
        },
        print,
    },
};

/// Characters of a key that the table shows.
const KEY_SHOWN: usize = 40;

/// Lists records that were given up, in the order in which they were read.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Also those that were replayed or dropped
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    form: Form,
}

impl List {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let (selection, all) = (self.filter.selection([]), self.all);
        let mut rows = with(config, self.form.worker, async |dlq| Ok(dlq.list(&selection, all)))?;
        let found = rows.len();
        rows.truncate(self.limit);
        match self.form.output {
            Output::Json => print(&json(&rows)),
            Output::Text if rows.is_empty() => print("there are no dead letters\n"),
            Output::Text if found > rows.len() => {
                print(&format!("{}\n{} of {found}; --limit shows more\n", table(&rows), rows.len()))
            }
            Output::Text => print(&format!("{}\n", table(&rows))),
        }
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["POSITION", "STATE", "KEY", "CODE", "TRIES", "BYTES", "GIVEN UP AT", "REASON"]);
    for row in rows {
        let key: String = row.key.as_deref().unwrap_or("-").chars().take(KEY_SHOWN).collect();
        table.add_row([
            row.position.as_str(),
            row.state,
            &key.escape_debug().to_string(),
            &row.code,
            &row.attempts.to_string(),
            &row.bytes.to_string(),
            &row.written_at,
            &row.reason,
        ]);
    }
    table
}
