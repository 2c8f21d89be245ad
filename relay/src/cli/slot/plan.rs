//! `postrider slot plan`: what is declared, held against what is there.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::block_on,
        parked::select::{Output, json},
        print,
        slot::declared::Declared,
    },
    slots::plan,
};

/// Compares what is declared with what is there, and prints the SQL that is missing, in its order.
///
/// Declared are what the relay itself needs (its role, rights, publications and slot, as `init` makes them)
/// and the sections [publications.NAME] and [slots.NAME]. Nothing is changed: `postrider slot apply` runs
/// the plan, and so does psql. What would break what runs is refused, with what to do; what is there and
/// not declared is shown. docs/slot-plan.md has examples.
///
/// Exit codes: 0 printed, 1 refused or failed, 2 wrong usage or configuration; with --exit-code, 3 if there
/// is something to do.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Plan {
    /// End with exit code 3 if there is something to do
    #[arg(long)]
    exit_code: bool,
    /// Also plan to drop what is not declared: slots that nobody reads, publications, tables in them
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    declared: Declared,
    /// The form of the plan
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
}

impl Plan {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let wanted = self.declared.wanted(config, env::vars_os())?;
        let plans = block_on(async {
            let mut plans = Vec::new();
            for wanted in wanted.databases() {
                let here = plan::read(&wanted.connect().await?, wanted.declared).await?;
                plans.push(plan::plan(wanted.declared, &here));
            }
            Ok(plans)
        })?;
        match self.output {
            Output::Json => print(&json(&plan::document(&plans)))?,
            Output::Text => print(&plan::script(&plans, self.prune))?,
        }
        plan::refused(&plans)?;
        let pruned = if self.prune { plans.iter().map(|plan| plan.prune().count()).sum() } else { 0 };
        match pruned + plans.iter().map(|plan| plan.steps().count()).sum::<usize>() {
            steps if steps > 0 && self.exit_code => Err(Error::Planned),
            _ => Ok(()),
        }
    }
}
