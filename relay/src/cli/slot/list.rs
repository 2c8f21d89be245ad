//! `postrider slot list`: every slot, what it costs and how long it lasts.

use std::time::Duration;

use crate::cli::{
    Error, File,
    administrator::block_on,
    duration::duration,
    parked::select::{Output, json},
    print,
    slot::{places::Places, screen},
};

/// Lists the slots of every server, and how long each lasts at the present rate of the log.
///
/// It changes nothing, and shows slots of every kind, the relay's and others'. Of each: what it keeps and
/// until when, who reads it, what holds it back, and what to do. docs/slots.md explains every column.
///
/// Exit codes: 0 listed, 1 a place did not answer or a slot of that name is not there, 2 wrong usage or
/// configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct List {
    #[command(flatten)]
    places: Places,
    /// How long the rate of the log is measured; 0s measures none, and no time is reckoned
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    sample: Duration,
    /// Show all that is known of each slot, a line a fact
    #[arg(long)]
    verbose: bool,
    /// The form of the list
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
}

impl List {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let mut survey = self.places.survey(config, self.sample)?;
        let listing = block_on(async {
            let first = survey.look().await;
            if self.sample.is_zero() || first.servers.is_empty() {
                return Ok(first);
            }
            tokio::time::sleep(self.sample).await;
            Ok(survey.look().await)
        })?;
        match (self.output, self.verbose) {
            (Output::Json, _) => print(&json(&listing))?,
            (Output::Text, true) => print(&screen::blocks(&listing))?,
            (Output::Text, false) => print(&screen::table(&listing))?,
        }
        self.places.complete(&listing)
    }
}
