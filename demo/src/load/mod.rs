//! How fast a full topic goes into ClickHouse: `postrider load` beside the engine's own `INSERT … FROM INFILE` of the same rows, as Native
//! and as JSONEachRow, each into an empty table of the same definition, in turn on the same server.
//!
//! The table is Nova's post_events without the views behind it: what a view costs, it costs everybody.

mod contest;
mod records;
mod report;
mod site;

use clap::Args;
use xtask::services::Environment;

use crate::error::Result;
use crate::load::contest::Contest;
use crate::load::site::Site;
use crate::screen::Screen;

pub use report::Report;
pub(crate) use site::migrate;

/// The options of `demo load`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many events the topic holds
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// How many rounds; in each, everyone has one turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
}

/// Fills a topic and two files, lets everyone have his turns, and removes everything again.
pub async fn bench(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment).await?;
    let measured = measure(&site, options, screen).await;
    match &measured {
        Ok(_) => site.clear().await?,
        Err(_) => screen.say(&site.whereabouts()),
    }
    measured
}

async fn measure(site: &Site, options: &Options, screen: &Screen) -> Result<Report> {
    let record_bytes = site.fill(options.rows, screen).await?;
    let contest = Contest::new(site, options.rows);
    let mut rounds = Vec::new();
    for round in 0..options.runs {
        rounds.push(contest.round(round, screen).await?);
    }
    Ok(Report::new(options.rows, record_bytes, rounds))
}
