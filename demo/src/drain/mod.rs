//! How fast a backlog goes: the relay into nothing and into Kafka, beside `pg_recvlogical` into `/dev/null`, each on its own copy of one slot.
//!
//! All three read the same log on the same machine in turn, several rounds over, so the ratios mean something where the rates do not.

mod backlog;
mod contest;
pub mod exactly;
mod gauge;
mod recvlogical;
mod report;
mod startup;

use clap::Args;
use xtask::services::Environment;

use crate::drain::backlog::Backlog;
use crate::drain::contest::Contest;
use crate::error::Result;
use crate::screen::Screen;

pub(crate) use recvlogical::program;
pub use report::Report;

/// The options of `demo drain`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many transactions of one event each make the backlog
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// How many rounds; in each, every reader drains the backlog once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
}

/// Prepares the backlog, lets the readers drain it in turn and removes everything again.
pub async fn drain(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let mut backlog = Backlog::open(environment).await?;
    let measured = measure(environment, &mut backlog, options, screen).await;
    match &measured {
        Ok(_) => backlog.clear().await?,
        Err(_) => screen.say(&backlog.whereabouts()),
    }
    measured
}

async fn measure(
    environment: &Environment,
    backlog: &mut Backlog,
    options: &Options,
    screen: &Screen,
) -> Result<Report> {
    backlog.prepare(environment, options.events, screen).await?;
    let contest = Contest::new(environment, backlog)?;
    let mut rounds = Vec::new();
    for round in 0..options.runs {
        rounds.push(contest.round(round, screen).await?);
    }
    let startups = startup::measure(environment, backlog, screen).await?;
    Ok(Report::new(backlog, rounds, startups))
}
