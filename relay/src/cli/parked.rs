//! `postrider parked …`: looks at events that could not be delivered, and decides what becomes of them.

mod act;
mod list;
pub(crate) mod select;
mod show;

use crate::cli::{Error, File};

/// Looks at events that could not be delivered, and decides what becomes of them.
///
/// An event is parked if the broker will never take it as it is; later events of its key wait behind it.
/// When the cause is mended, `retry` delivers it and those behind it, in order. `skip` and `discard` let
/// those behind it go on without it.
///
/// It works on the table postrider.parked, whether the relay runs or not. A running relay follows within
/// parking.poll_interval_ms. Every act is in the table postrider.parked_log, with who did it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Parked {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::List),
    Show(show::Show),
    Retry(act::Retry),
    Skip(act::Skip),
    Discard(act::Discard),
}

impl Parked {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        match self.verb {
            Verb::List(list) => list.execute(config),
            Verb::Show(show) => show.execute(config),
            Verb::Retry(retry) => retry.execute(config),
            Verb::Skip(skip) => skip.execute(config),
            Verb::Discard(discard) => discard.execute(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_verb_and_option_below_is_documented_and_fits_a_terminal() {
        let mut cli = Cli::command();
        let parked = cli.find_subcommand_mut("parked").expect("the verb is there");
        let mut options = Vec::new();
        for verb in parked.get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for option in verb.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
                options.push(format!("{} {}", verb.get_name(), option.get_long().unwrap_or("POSITION")));
            }
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
        let selecting = ["POSITION", "all", "slot", "topic", "key", "state", "by", "output", "admin-url"];
        let acting = |verb| selecting.map(|option| format!("{verb} {option}"));
        let listing = ["slot", "topic", "key", "state", "all", "limit", "output", "admin-url"];
        let mut expected = listing.map(|option| format!("list {option}")).to_vec();
        expected.extend(["POSITION", "slot", "payload", "output", "admin-url"].map(|option| format!("show {option}")));
        expected.push("retry reroute".to_owned());
        expected.extend(["retry", "skip", "discard"].into_iter().flat_map(acting));
        assert_eq!(options, expected);
    }
}
