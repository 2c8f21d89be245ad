//! `postrider slot advance`: lets a slot forget what nobody needs.

use std::env;

use crate::{
    app,
    cli::{
        Error, File,
        administrator::block_on,
        parked::select::{Output, json},
        print,
        slot::one::{One, Opened},
    },
    config::Config,
    slots::{
        change::{self, Advance as Plan, Owner, Target, Witness},
        error::Error as SlotsError,
    },
};

/// Moves a slot forward, so that the server may forget what lies before; --yes does it.
///
/// The slot of this relay is only moved to what was delivered, as the progress record in Kafka says: further
/// would be a gap. A slot that is being read is left alone; so is one that is not declared, without
/// --foreign. A slot never goes back.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[group(id = "target", required = true, multiple = false, args = ["to", "to_now"])]
pub(crate) struct Advance {
    #[command(flatten)]
    one: One,
    /// The place in the log, such as 16/B374D848
    #[arg(long, value_name = "LSN", value_parser = place)]
    to: Option<Target>,
    /// To where the log ends now
    #[arg(long)]
    to_now: bool,
}

impl Advance {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let (plan, reached) = block_on(async {
            let opened = self.one.open(config).await?;
            let plan = self.plan(&opened, config).await?;
            let reached = match plan.skipped_bytes {
                0 => None,
                _ if self.one.yes => Some(plan.run(&opened.session).await?),
                _ => None,
            };
            Ok((plan, reached))
        })?;
        match self.one.output {
            Output::Json => print(&json(&serde_json::json!({
                "slot": plan.slot,
                "from": plan.from.to_string(),
                "to": reached.as_ref().map_or_else(|| plan.to.to_string(), Clone::clone),
                "skipped_bytes": plan.skipped_bytes,
                "lost": plan.lost,
                "steps": [plan.step.sql],
                "done": reached.is_some(),
            }))),
            Output::Text => print(&match reached {
                Some(place) => format!("done: {}\nit is at {place}; lost: {}\n", plan.step.what, plan.lost),
                None if plan.skipped_bytes == 0 => format!("nothing to do: slot {} is at {}\n", plan.slot, plan.to),
                None => format!(
                    "would {}: {}\nlost: {}\nnothing is done: --yes does it\n",
                    plan.step.what, plan.step.sql, plan.lost
                ),
            }),
        }
    }

    async fn plan(&self, opened: &Opened, config: File<'_>) -> Result<Plan, Error> {
        let (mut witness, mut rows) = (Witness::NotOurs, None);
        if opened.owner == Owner::Relay {
            let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
            let (known, undelivered) = app::witness::witness(&config, &opened.postgres).await;
            witness = known;
            if let Some(undelivered) = undelivered {
                rows = undelivered.count(&opened.session).await?;
            }
        }
        let target = self.to.unwrap_or(Target::Now);
        let plan = change::advance(&opened.found, opened.owner, target, &witness, rows);
        Ok(plan.map_err(SlotsError::Refused)?)
    }
}

fn place(text: &str) -> Result<Target, &'static str> {
    text.parse().map(Target::At).map_err(|_| "a place in the log is two hexadecimal numbers, such as 16/B374D848")
}
