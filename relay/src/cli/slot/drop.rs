//! `postrider slot drop`: lets go of a slot and of what it keeps.

use crate::{
    cli::{
        Error, File,
        administrator::block_on,
        parked::select::{Output, json},
        print,
        slot::one::One,
    },
    slots::{change, error::Error as SlotsError},
};

/// Drops a slot with --yes; without, says what it keeps, who reads it and what is lost.
///
/// A slot that is being read is left alone, unless --force ends its reader's session first. One that is not
/// declared is left alone without --foreign, physical slots too.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Drop {
    #[command(flatten)]
    one: One,
    /// End the session of whoever reads the slot
    #[arg(long)]
    force: bool,
}

impl Drop {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let mut said = String::new();
        let mut told = |step: &str| said.push_str(&format!("done: {step}\n"));
        let plan = block_on(async {
            let opened = self.one.open(config).await?;
            let plan = change::drop(&opened.found, opened.owner, self.force).map_err(SlotsError::Refused)?;
            if self.one.yes {
                plan.run(&opened.session, &mut told).await?;
            }
            Ok(plan)
        });
        if self.one.output == Output::Text {
            print(&said)?;
        }
        let plan = plan?;
        match self.one.output {
            Output::Json => print(&json(&serde_json::json!({
                "slot": plan.slot,
                "reader": plan.reader,
                "retained_bytes": plan.retained_bytes,
                "lost": plan.lost,
                "steps": plan.steps.iter().map(|step| &step.sql).collect::<Vec<_>>(),
                "done": self.one.yes,
            }))),
            Output::Text if self.one.yes => print(&format!("lost: {}\n", plan.lost)),
            Output::Text => {
                print(&format!("slot {} keeps {} bytes of log\n", plan.slot, plan.retained_bytes))?;
                print(&format!("read by: {}\n", plan.reader.as_deref().unwrap_or("nobody")))?;
                print(&format!("lost with it: {}\n", plan.lost))?;
                for step in &plan.steps {
                    print(&format!("would {}: {}\n", step.what, step.sql))?;
                }
                print("nothing is done: --yes does it\n")
            }
        }
    }
}
