//! `postrider slot …`: what a DBA does with replication slots.

mod advance;
mod apply;
mod create;
mod declared;
mod drop;
mod list;
mod one;
mod places;
mod plan;
mod recover;
mod screen;
mod watch;

use crate::cli::{Error, File};

/// Looks at and manages replication slots, the relay's and others'.
#[derive(Debug, clap::Args)]
pub(crate) struct Slots {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Advance(advance::Advance),
    Apply(apply::Apply),
    Create(create::Create),
    Drop(drop::Drop),
    List(list::List),
    Plan(plan::Plan),
    Recover(recover::Recover),
    Watch(watch::Watch),
}

impl Slots {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        match self.verb {
            Verb::Advance(advance) => advance.execute(config),
            Verb::Apply(apply) => apply.execute(config),
            Verb::Create(create) => create.execute(config),
            Verb::Drop(drop) => drop.execute(config),
            Verb::List(list) => list.execute(config),
            Verb::Plan(plan) => plan.execute(config),
            Verb::Recover(recover) => recover.execute(config),
            Verb::Watch(watch) => watch.execute(config),
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
        for verb in cli.find_subcommand_mut("slot").expect("the verb is there").get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
            for option in verb.get_arguments().filter(|option| option.get_id() != "help") {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
            }
        }
    }
}
