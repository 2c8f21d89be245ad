//! `postrider dlq replay|drop`: decides what becomes of records that were given up.

use std::{env, time::Duration};

use crate::{
    app::dlq::{Done, position},
    cli::{
        Error, File,
        dlq::{
            select::{Filter, Form, Output, json},
            with,
        },
        print,
    },
    pipeline::{self, dead_letters::Identity},
};

/// Has the running worker deliver records that it gave up, once and in the order of each key.
///
/// For when the cause is mended: the column exists, the type is wide enough. A record that is refused
/// again stays, with the new reason. What waits behind a record follows it by itself. Where no worker
/// runs, the next one does it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Replay {
    /// Also those that were replayed or dropped before
    #[arg(long)]
    again: bool,
    /// Wait at most so many seconds until it is done; exit code 1 if not all were delivered
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    which: Which,
}

/// Gives records up for good: those of their keys that wait behind them are delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct Drop {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The records' topic/partition/offset
    #[arg(value_name = "POSITION", value_parser = position, required_unless_present = "all", conflicts_with = "all")]
    positions: Vec<Identity>,
    /// All that fit the other options and are neither replayed nor dropped
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Who does it, for the audit; without it the user of this process
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    form: Form,
}

impl Replay {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let Which { positions, filter, by, form, .. } = self.which;
        let (selection, by) = (filter.selection(positions), who(by));
        let patience = self.wait.map(Duration::from_secs);
        let done = with(config, form.worker, async |mut dlq| {
            let done = dlq.replay(&selection, self.again, &by).await?;
            match patience {
                Some(patience) => dlq.wait(done, patience).await,
                None => Ok(done),
            }
        })?;
        let told = match patience {
            Some(_) => format!("replayed {} of {} dead letters\n", done.replayed, done.positions.len()),
            None => {
                format!("{} dead letters shall be replayed; the running worker does it now\n", done.positions.len())
            }
        };
        answer(form.output, &done, &told)?;
        if patience.is_none() || (done.complete && done.stay.is_empty()) {
            return Ok(());
        }
        let context = format!("{} of {} dead letters were not delivered", done.stay.len(), done.positions.len());
        let help = "`postrider dlq show` tells why; if the worker does not run, it delivers them when it does.";
        let error = pipeline::Error::new(pipeline::End::Sink, pipeline::Kind::Refused, context).with_help(help);
        Err(Error::Run { error, json: false })
    }
}

impl Drop {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let Which { positions, filter, by, form, .. } = self.which;
        let (selection, by) = (filter.selection(positions), who(by));
        let done = with(config, form.worker, async |mut dlq| dlq.give_up(&selection, &by).await)?;
        answer(form.output, &done, &format!("dropped {} dead letters\n", done.positions.len()))
    }
}

fn answer(output: Output, done: &Done, told: &str) -> Result<(), Error> {
    match output {
        Output::Json => print(&json(done)),
        Output::Text if done.positions.is_empty() => print("nothing to do: no dead letter fits\n"),
        Output::Text => {
            let stay: String = done.stay.iter().map(|(position, why)| format!("stays: {position}: {why}\n")).collect();
            print(&format!("{told}{stay}"))
        }
    }
}

/// Who acts.
fn who(by: Option<String>) -> String {
    by.or_else(|| env::var("USER").ok().filter(|user| !user.is_empty())).unwrap_or_else(|| "unknown".to_owned())
}
