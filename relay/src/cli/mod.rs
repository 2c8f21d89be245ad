//! The command line: one verb a file, no logic. A verb builds what it needs from the configuration, calls, and prints.

mod administrator;
mod adopt;
mod check;
#[cfg(feature = "downstream")]
mod dlq;
mod duration;
mod error;
mod init;
#[cfg(feature = "downstream")]
mod invalidate;
#[cfg(feature = "downstream")]
mod load;
mod migrate;
mod outbox;
mod parked;
mod role;
mod run;
mod set_up;
mod slot;
mod snapshot;
mod status;
mod top;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

pub use crate::cli::error::Error;
pub(crate) use crate::config::relays::File;

/// The transactional outbox relay for Postgres: publishes the rows of an outbox table to Kafka, in commit order.
///
/// A service writes its event into the outbox table in the transaction that makes it true. The relay
/// reads the write-ahead log through a replication slot and publishes each event; no event is lost,
/// and order is kept for each key.
///
/// A first start: `postrider migrate`, `postrider init`, `postrider run`.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, verbatim_doc_comment)]
pub struct Cli {
    /// The configuration file; without this option ./postrider.toml, if it is there.
    ///
    /// Every key can also be set by a variable POSTRIDER_SECTION_KEY, which wins.
    #[arg(long, global = true, value_name = "PATH", env = "POSTRIDER_CONFIG")]
    config: Option<PathBuf>,
    /// Which of several relays is meant: the NAME of [relays.NAME] in the configuration.
    #[arg(long, global = true, value_name = "NAME", env = "POSTRIDER_RELAY")]
    relay: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Adopt(adopt::Adopt),
    Check(check::Check),
    #[cfg(feature = "downstream")]
    Dlq(dlq::DeadLetters),
    Init(init::Init),
    #[cfg(feature = "downstream")]
    Invalidate(invalidate::Invalidate),
    #[cfg(feature = "downstream")]
    Load(load::Load),
    Migrate(migrate::Migrate),
    Outbox(outbox::Outbox),
    Parked(parked::Parked),
    Run(run::Run),
    Slot(slot::Slots),
    Snapshot(snapshot::Snapshot),
    Status(status::Status),
    Top(top::Top),
}

impl Cli {
    /// Does what was asked for, prints what there is to say, and returns the process's exit code.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let config = File { path: self.config.as_deref(), relay: self.relay.as_deref() };
        let done = match self.verb {
            Verb::Adopt(adopt) => adopt.execute(config),
            Verb::Check(check) => check.execute(config),
            #[cfg(feature = "downstream")]
            Verb::Dlq(dlq) => dlq.execute(config),
            Verb::Init(init) => init.execute(config),
            #[cfg(feature = "downstream")]
            Verb::Invalidate(invalidate) => invalidate.execute(config),
            #[cfg(feature = "downstream")]
            Verb::Load(load) => load.execute(config),
            Verb::Migrate(migrate) => migrate.execute(config),
            Verb::Outbox(outbox) => outbox.execute(config),
            Verb::Parked(parked) => parked.execute(config),
            Verb::Run(run) => run.execute(config),
            Verb::Slot(slot) => slot.execute(config),
            Verb::Snapshot(snapshot) => snapshot.execute(config),
            Verb::Status(status) => status.execute(config),
            Verb::Top(top) => top.execute(config),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error.tell();
                error.exit_code()
            }
        }
    }
}

/// Prints a result. A reader that has gone away is no failure of what was done.
fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal_of_a_hundred_columns() {
        let mut command = Cli::command();
        let mut texts = vec![command.render_long_help().to_string()];
        texts.extend(command.get_subcommands_mut().map(|verb| verb.render_long_help().to_string()));
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }

    #[test]
    fn every_verb_and_option_is_documented_and_none_is_there_by_accident() {
        let mut options = Vec::new();
        for verb in Cli::command().get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for option in verb.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
                options.push(format!("{} --{}", verb.get_name(), option.get_long().unwrap_or_default()));
            }
        }
        assert_eq!(
            options,
            [
                "check --strict",
                "check --verbose",
                "check --output",
                "check --old-after",
                "check --admin-url",
                "init --print",
                "init --failover",
                "init --writer-role",
                "init --backlog",
                "init --backlog-order",
                "init --backlog-block-ms-max",
                "init --admin-url",
                "invalidate --accept-gap",
                "load --accept-gap",
                "migrate --partition-by",
                "migrate --clickhouse",
                "migrate --admin-url",
                "run --accept-gap",
                "status --url",
                "status --output",
                "top --url",
                "top --interval-ms",
                "top --once",
            ]
        );
    }
}
