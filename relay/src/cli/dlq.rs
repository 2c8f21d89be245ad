//! `postrider dlq …`: looks at the records that a worker gave up, and decides what becomes of them.

mod act;
mod list;
mod select;
mod show;

use std::{env, future::Future};

use tokio::runtime;

use crate::{
    app::dlq::Dlq,
    cli::{Error, File},
    config::worker::{DeadLetterConfig, Role},
    pipeline,
};

/// Looks at the records that a worker gave up, and decides what becomes of them.
///
/// `load` and `invalidate` give a record up that their service will never take as it is. When the cause
/// is mended, `replay` has the running worker deliver it, in the order of its key and once. `drop` gives
/// it up for good. Either stays written in Kafka, with who did it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::List),
    Show(show::Show),
    Replay(act::Replay),
    Drop(act::Drop),
}

impl DeadLetters {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        match self.verb {
            Verb::List(list) => list.execute(config),
            Verb::Show(show) => show.execute(config),
            Verb::Replay(replay) => replay.execute(config),
            Verb::Drop(drop) => drop.execute(config),
        }
    }
}

/// Whose letters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Worker {
    /// Those of `postrider load`
    Load,
    /// Those of `postrider invalidate`
    Invalidate,
}

/// Reads the letters of the worker that is meant, and does `what` with them.
fn with<T, F: Future<Output = Result<T, pipeline::Error>>>(
    config: File<'_>,
    worker: Option<Worker>,
    what: impl FnOnce(Dlq) -> F,
) -> Result<T, Error> {
    let role = worker.map(|worker| match worker {
        Worker::Load => Role::Load,
        Worker::Invalidate => Role::Invalidate,
    });
    let config = DeadLetterConfig::load(config, env::vars_os(), role).map_err(Error::Config)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let outcome = runtime.block_on(async { what(Dlq::open(&config).await?).await });
    outcome.map_err(|error| Error::Run { error, json: false })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_verb_and_option_below_is_documented_and_fits_a_terminal() {
        let mut cli = Cli::command();
        let dlq = cli.find_subcommand_mut("dlq").expect("the verb is there");
        let mut options = Vec::new();
        for verb in dlq.get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for option in verb.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
                options.push(format!("{} {}", verb.get_name(), option.get_long().unwrap_or("POSITION")));
            }
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
        let filter = ["topic", "partition", "key", "reason", "code", "since", "until"];
        let of = |verb: &'static str, more: &[&str]| -> Vec<String> {
            more.iter().map(|option| format!("{verb} {option}")).collect()
        };
        let mut expected = of("list", &filter);
        expected.extend(of("list", &["all", "limit", "worker", "output"]));
        expected.extend(of("show", &["POSITION", "payload", "worker", "output"]));
        expected.extend(of("replay", &["again", "wait", "POSITION", "all"]));
        expected.extend(of("replay", &filter));
        expected.extend(of("replay", &["by", "worker", "output"]));
        expected.extend(of("drop", &["POSITION", "all"]));
        expected.extend(of("drop", &filter));
        expected.extend(of("drop", &["by", "worker", "output"]));
        assert_eq!(options, expected);
    }
}
