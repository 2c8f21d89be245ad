//! `postrider status`: what a running relay says of itself.

use std::env;

use clap::ValueEnum;

use crate::{
    cli::{Error, File, print},
    config::admin::Admin,
    top::Endpoint,
};

/// Shows what a running relay does: its state, position, lag, stages and newest error.
///
/// Asks the relay's admin endpoint, found by `[admin] listen` or named by --url. Exit code 0 if events
/// flow, 1 if they do not or no relay answers: fit for scripts and probes. Of several relays in one process
/// it shows each; --relay names one.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Status {
    #[command(flatten)]
    place: Place,
    /// `json` prints the endpoint's own answer, one object.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Where the relay answers.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Where the relay answers, such as http://127.0.0.1:8432; without it, [admin] listen says so.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Place {
    /// The endpoint that is meant.
    pub(super) fn endpoint(&self, config: File<'_>) -> Result<Endpoint, Error> {
        let endpoint = match &self.url {
            Some(url) => Endpoint::at(url),
            None => Endpoint::of(Admin::load(config, env::vars_os()).map_err(Error::Config)?.listen)?,
        };
        Ok(endpoint.of_relay(config.relay))
    }
}

impl Status {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let (reports, json) = self.place.endpoint(config)?.reports()?;
        match self.output {
            Output::Text => print(&reports.to_string())?,
            Output::Json => print(&format!("{}\n", json.trim_end()))?,
        }
        match reports.why_not() {
            None => Ok(()),
            Some(reason) => Err(Error::NotReady { reason }),
        }
    }
}
