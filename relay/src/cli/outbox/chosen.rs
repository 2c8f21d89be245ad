//! The options by which rows are chosen, and what else `verify` and `replay` have in common.

use std::env;

use crate::{
    app::recover::{self, moment},
    cli::{Error, File},
    config::Config,
    pipeline::times::now_ms,
};

/// Rows by id.
#[derive(Debug, clap::Args)]
pub(super) struct Ids {
    /// Only the event of this id; may be repeated
    #[arg(long, value_name = "UUID", value_parser = not_empty)]
    pub(super) id: Vec<String>,
}

/// Rows by time.
#[derive(Debug, clap::Args)]
pub(super) struct Times {
    /// Only rows written then or later: 2026-01-31T09:30:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "MOMENT", value_parser = a_moment)]
    pub(super) since: Option<i64>,
    /// Only rows written before then
    #[arg(long, value_name = "MOMENT", value_parser = a_moment)]
    pub(super) until: Option<i64>,
}

/// The whole configuration: the database's part and Kafka's.
pub(super) fn load(config: File<'_>) -> Result<Config, Error> {
    let config = Config::load(config, env::vars_os()).map_err(Error::Config)?;
    #[cfg(feature = "failpoints")]
    crate::telemetry::failpoint::arm()?;
    Ok(config)
}

/// What kept it from being done.
pub(super) fn relay_error(error: recover::Error) -> Error {
    match error {
        recover::Error::Database(error) => Error::Setup(error),
        recover::Error::Relay(error) => Error::Run { error, json: false },
    }
}

fn a_moment(text: &str) -> Result<i64, &'static str> {
    moment(text, now_ms())
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("an id has at least one letter") } else { Ok(text.to_owned()) }
}
