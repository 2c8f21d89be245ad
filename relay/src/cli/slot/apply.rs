//! `postrider slot apply`: makes the databases what is declared.

use std::env;

use crate::{
    cli::{Error, File, administrator::block_on, print, slot::declared::Declared},
    slots::{
        plan::{self, Means, Plan},
        setup,
    },
};

/// Makes what is declared and is not there, step by step, and says each step that is done.
///
/// It runs what `postrider slot plan` prints: of each database one transaction, then each slot by itself.
/// If anything is refused, nothing is done at all. If a step fails, those that were said are done, and
/// running it again goes on with the rest. A second run does nothing.
///
/// It destroys nothing unless --prune and --yes say so.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Apply {
    /// Also drop what is not declared: slots that nobody reads, publications, tables in them
    ///
    /// Without --yes it is only said what that would be.
    #[arg(long, verbatim_doc_comment)]
    prune: bool,
    /// Really drop it
    #[arg(long, requires = "prune")]
    yes: bool,
    #[command(flatten)]
    declared: Declared,
}

impl Apply {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let wanted = self.declared.wanted(config, env::vars_os())?;
        let (mut done, mut all, mut left) = (0, 0, Vec::new());
        let prune = self.prune && self.yes;
        let ended = block_on(async {
            let mut sessions = Vec::new();
            let mut plans = Vec::new();
            for wanted in wanted.databases() {
                let session = wanted.connect().await?;
                setup::exclusively(&session.client).await?;
                let here = plan::read(&session, wanted.declared).await?;
                plans.push(plan::plan(wanted.declared, &here));
                sessions.push((wanted, session));
            }
            plan::refused(&plans)?;
            all = plans.iter().map(|plan| plan.steps().count() + if prune { plan.prune().count() } else { 0 }).sum();
            for ((wanted, session), plan) in sessions.iter_mut().zip(&plans) {
                let means = Means { password: wanted.password(), prune };
                let mut told = |step: &str| {
                    done += 1;
                    // What is done is told on the way; a reader that has gone away changes nothing about it.
                    drop(print(&format!("done: {step}\n")));
                };
                left.extend(plan::apply(session, wanted.declared, plan, means, &mut told).await?);
            }
            Ok(plans)
        });
        for left in left {
            print(&format!("left to do: {left}\n"))?;
        }
        match ended {
            Ok(plans) => {
                if done == 0 {
                    print("nothing to do: all that is declared is there\n")?;
                }
                if prune { Ok(()) } else { undeclared(&plans, self.prune) }
            }
            Err(error) => {
                if done > 0 {
                    print(&format!("stopped after {done} of {all} steps: run it again to go on with the rest\n"))?;
                }
                Err(error)
            }
        }
    }
}

/// What is not declared and would be dropped, or could be.
fn undeclared(plans: &[Plan], prune: bool) -> Result<(), Error> {
    for step in plans.iter().flat_map(Plan::prune) {
        print(&match prune {
            true => format!("would {}: {}; --yes does it\n", step.what, step.sql),
            false => format!("not declared: --prune would {}\n", step.what),
        })?;
    }
    Ok(())
}
