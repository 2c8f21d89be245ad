//! `postrider outbox …`: care of the table once its events are delivered, and proof that they are.

mod chosen;
mod partitions;
mod prune;
mod replay;
mod stats;
mod verify;

use std::env;

use serde::Serialize;

use crate::{
    app::care,
    cli::{Error, File, print},
    config::DatabaseConfig,
    slots::{
        error::{Error as SetupError, Refusal},
        outbox::partitions::Care,
    },
};

/// Looks after the outbox table: what it costs, whether its events arrived, and how they leave it.
///
/// Nothing is removed before every logical slot of the database has confirmed that it was delivered.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Outbox {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Stats(stats::Stats),
    Prune(prune::Prune),
    Partitions(partitions::Partitions),
    Verify(verify::Verify),
    Replay(replay::Replay),
}

impl Outbox {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        match self.verb {
            Verb::Stats(stats) => stats.execute(config),
            Verb::Prune(prune) => prune.execute(config),
            Verb::Partitions(partitions) => partitions.execute(config),
            Verb::Verify(verify) => verify.execute(config),
            Verb::Replay(replay) => replay.execute(config),
        }
    }
}

/// Which tables, and how they are told about.
#[derive(Debug, clap::Args)]
struct Tables {
    /// Only this one of several outboxes: `outbox`, or the NAME of [outboxes.NAME]
    #[arg(long, value_name = "NAME")]
    outbox: Option<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs: one JSON array with an object for each table
    Json,
}

impl Tables {
    /// The tables that are meant.
    fn cares(&self, config: &DatabaseConfig) -> Result<Vec<Care>, Error> {
        let wanted =
            |outbox: &&crate::config::outbox::Outbox| self.outbox.as_ref().is_none_or(|name| *name == outbox.name);
        let cares = config.outboxes.iter().filter(wanted);
        let cares: Vec<_> = cares.filter_map(|outbox| care::of(outbox, &config.source, &config.partitions)).collect();
        if cares.is_empty() {
            let what = match &self.outbox {
                Some(name) => format!("no outbox with a table is called {name}"),
                None if config.outboxes.is_empty() => "there is no outbox: only tables are captured".to_owned(),
                None => "no outbox has a table".to_owned(),
            };
            let mend = "configure one as [outbox] or [outboxes.NAME]".to_owned();
            return Err(SetupError::Refused(vec![Refusal { what, mend }]).into());
        }
        Ok(cares)
    }

    /// Prints one result a table.
    fn print<T: Serialize>(&self, results: &[T], text: impl Fn(&T) -> String) -> Result<(), Error> {
        match self.output {
            Output::Text => print(&results.iter().map(text).collect::<String>()),
            Output::Json => {
                let json = serde_json::to_string(results).expect("texts and numbers always have a JSON form");
                print(&format!("{json}\n"))
            }
        }
    }
}

fn load(config: File<'_>) -> Result<DatabaseConfig, Error> {
    DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_verb_and_option_below_is_documented_and_fits_a_terminal() {
        let mut cli = Cli::command();
        let outbox = cli.find_subcommand_mut("outbox").expect("the verb is there");
        let mut options = Vec::new();
        for verb in outbox.get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
            // What clap adds itself when it renders the help.
            for option in verb.get_arguments().filter(|option| option.get_id() != "help") {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
                options.push(format!("{} --{}", verb.get_name(), option.get_long().unwrap_or_default()));
            }
        }
        let expected = [
            ("stats", &["exact", "show-query", "outbox", "output", "admin-url"][..]),
            (
                "prune",
                &[
                    "older-than",
                    "batch",
                    "pause-ms",
                    "wait-ms",
                    "time-column",
                    "dry-run",
                    "outbox",
                    "output",
                    "admin-url",
                ],
            ),
            ("partitions", &["apply", "outbox", "output", "admin-url"]),
            ("verify", &["outbox", "id", "since", "until", "wait", "faults", "output", "admin-url"]),
            (
                "replay",
                &[
                    "outbox",
                    "id",
                    "since",
                    "until",
                    "key",
                    "aggregate-type",
                    "from-position",
                    "to-position",
                    "topic",
                    "rate",
                    "yes",
                    "run",
                    "after",
                    "by",
                    "output",
                    "admin-url",
                ],
            ),
        ];
        let expected =
            expected.iter().flat_map(|(verb, options)| options.iter().map(move |option| format!("{verb} --{option}")));
        assert_eq!(options, expected.collect::<Vec<_>>());
    }
}
