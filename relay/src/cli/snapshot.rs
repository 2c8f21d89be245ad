//! `postrider snapshot …`: reads captured tables again while their changes go on being published.

mod start;
mod status;
mod stop;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    cli::{Error, File},
    config::outbox::TableName,
    slots::snapshots::{Snapshot as Taken, Target},
};

/// Reads captured tables again, piece by piece, while their changes go on being published.
///
/// Each row that is there is published once as operation `r`, between the changes and never behind them.
/// It works on the table postrider.snapshots; a running relay follows within a second, and one that is
/// started later goes on where the last one came to.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Start(start::Start),
    Status(status::Status),
    Stop(stop::Stop),
}

impl Snapshot {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        match self.verb {
            Verb::Start(start) => start.execute(config),
            Verb::Status(status) => status.execute(config),
            Verb::Stop(stop) => stop.execute(config),
        }
    }
}

/// Reads `schema.table`.
fn table_name(text: &str) -> Result<TableName, &'static str> {
    TableName::parse(text)
        .ok_or("a table is schema.table, with double quotes around a name that is not plain lower case")
}

fn targets(tables: Vec<TableName>) -> Vec<Target> {
    tables.into_iter().map(|table| Target { schema: table.schema, name: table.name }).collect()
}

fn listing(snapshots: &[Taken]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ID", "TABLE", "STATE", "ROWS", "DONE", "CHUNKS", "AGAIN", "ASKED BY", "ASKED AT", "ERROR"]);
    for snapshot in snapshots {
        table.add_row([
            snapshot.id.to_string(),
            format!("{}.{}", snapshot.schema, snapshot.table),
            snapshot.state.clone(),
            snapshot.rows.to_string(),
            snapshot.percent().map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
            snapshot.chunks.to_string(),
            snapshot.rereads.to_string(),
            snapshot.origin.clone(),
            snapshot.requested_at.clone(),
            match (&snapshot.error, &snapshot.help) {
                (Some(error), Some(help)) => format!("{error}: {help}"),
                (error, _) => error.clone().unwrap_or_default(),
            },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_verb_and_option_below_is_documented_and_fits_a_terminal() {
        let mut cli = Cli::command();
        let snapshot = cli.find_subcommand_mut("snapshot").expect("the verb is there");
        let mut options = Vec::new();
        for verb in snapshot.get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for option in verb.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
                options.push(format!("{} {}", verb.get_name(), option.get_long().unwrap_or_default()));
            }
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
        let verbs = [
            ("start", &["table", "where", "slot", "output", "admin-url"][..]),
            ("status", &["all", "slot", "output", "admin-url"]),
            ("stop", &["table", "slot", "output", "admin-url"]),
        ];
        let expected: Vec<_> =
            verbs.iter().flat_map(|(verb, names)| names.iter().map(move |name| format!("{verb} {name}"))).collect();
        assert_eq!(options, expected);
    }
}
