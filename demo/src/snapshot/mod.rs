//! How fast an initial snapshot goes, and what a SIGKILL in the middle of it costs.
//!
//! [`bench()`] lets four take turns on the same rows: `COPY … TO STDOUT` by psql into nothing, the relay into nothing and into Kafka,
//! and Kafka's own producer test with records of the same content. [`soak()`] kills the relay again and again, and reads every record
//! that it delivered.

mod contest;
mod report;
mod rows;
mod soak;
mod verdict;

use clap::Args;
use xtask::services::Environment;

use crate::error::Result;
use crate::screen::Screen;
use crate::snapshot::contest::Contest;
use crate::snapshot::rows::Rows;
use crate::state::Site;

pub use report::Report;
pub use soak::soak;
pub use verdict::Verdict;

/// The options of `demo snapshot`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many rows the table has
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// How many rounds; in each, everyone has one turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
}

/// Fills a table, lets everyone have his turns, and removes everything again.
pub async fn bench(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment, "snapshot", "{table}").await?;
    let measured = measure(&site, environment, options, screen).await;
    match &measured {
        Ok(_) => site.clear().await?,
        Err(_) => screen.say(&site.whereabouts()),
    }
    measured
}

async fn measure(site: &Site, environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let rows = Rows::create(site, options.rows, screen).await?;
    let mut contest = Contest::new(site, environment, &rows);
    let mut rounds = Vec::new();
    for round in 0..options.runs {
        rounds.push(contest.round(round, screen).await?);
    }
    Ok(Report::new(&rows, contest.record_bytes(), rounds))
}
