//! The demo itself: Nova writes, the relay carries and is killed again and again, an independent consumer reads, and the judge compares;
//! behind Kafka, [`crate::chain`] does the same with ClickHouse and Redis.

pub(crate) mod kills;
pub(crate) mod life;
mod options;
mod play;
mod report;
mod site;
mod torment;

use xtask::services::Environment;

use crate::chain::Services;
use crate::error::Result;
use crate::run::site::Site;
use crate::screen::Screen;

pub use options::Options;
pub use report::Report;

/// Plays one run from nothing to the verdict. What it made is removed if the verdict is good, and kept to look at if it is not.
pub async fn run(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    on(environment, None, options, screen).await
}

/// The same on services of its own, each of which is stopped and killed under it.
pub async fn restarted(options: &Options, screen: &Screen) -> Result<Report> {
    screen.say("          starting a Postgres, a Kafka, a Redis and a ClickHouse of the run's own");
    let services = Services::start().await?;
    let environment = services.environment();
    on(&environment, Some(services), options, screen).await
}

async fn on(
    environment: &Environment,
    services: Option<Services>,
    options: &Options,
    screen: &Screen,
) -> Result<Report> {
    let site = Site::open(environment, !options.relay_only, options.exactly_once).await?;
    let mut services = services;
    let played = play::play(environment, &mut services, &site, options, screen).await;
    match &played {
        Ok(report) if report.passed() && !options.keep => site.clear(environment).await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}
