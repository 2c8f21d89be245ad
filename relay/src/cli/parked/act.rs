//! `postrider parked retry|skip|discard`: decides what becomes of parked events.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        parked::select::{Filter, Output, json, position},
        print,
    },
    config::DatabaseConfig,
    slots::parked::{self, Act},
};

/// Tries events again: each before those that wait behind it, and before any new one of its key.
///
/// For when the cause is mended: the topic's limit is raised, the topic exists, the right is granted. An
/// event that is refused again is parked again, with the new reason.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Retry {
    /// The topic to try instead of the event's own, this once
    #[arg(long, value_name = "TOPIC")]
    reroute: Option<String>,
    #[command(flatten)]
    which: Which,
}

/// Gives events up: those behind them go on. They stay readable for parking.keep_days.
#[derive(Debug, clap::Args)]
pub(crate) struct Skip {
    #[command(flatten)]
    which: Which,
}

/// Gives events up and deletes what they held; what they were stays listed for parking.keep_days.
#[derive(Debug, clap::Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The events' positions
    #[arg(value_name = "POSITION", value_parser = position, required_unless_present = "all", conflicts_with = "all")]
    positions: Vec<String>,
    /// All that fit the other options and are parked; those that wait behind them are not meant
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Who does it, for the audit, beside the database role
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Retry {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        self.which.execute(&Act::Retry { reroute: self.reroute }, config)
    }
}

impl Skip {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        self.which.execute(&Act::Skip, config)
    }
}

impl Discard {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        self.which.execute(&Act::Discard, config)
    }
}

impl Which {
    fn execute(self, act: &Act, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let mut selection = self.filter.selection(self.positions, &config);
        if self.all && selection.state.is_none() {
            selection.state = Some("parked".to_owned());
        }
        let done = block_on(async {
            let mut client = self.administrator.connect(&config.postgres).await?;
            Ok(parked::act(&mut client, &selection, act, self.by.as_deref()).await?)
        })?;
        match self.output {
            Output::Json => print(&json(&serde_json::json!({ "verb": act.verb(), "positions": done }))),
            Output::Text if done.is_empty() => print("nothing to do: no parked event fits\n"),
            Output::Text => print(&done.iter().map(|at| format!("{}: {at}\n", act.verb())).collect::<String>()),
        }
    }
}
