//! The demo itself: Nova writes, the relay carries and is killed again and again, an independent consumer reads, and the judge compares.

mod kills;
mod options;
mod play;
mod report;
mod site;
mod torment;

use xtask::services::Environment;

use crate::error::Result;
use crate::run::site::Site;
use crate::screen::Screen;

pub use options::Options;
pub use report::Report;

/// Plays one run from nothing to the verdict. What it made is removed if the verdict is good, and kept to look at if it is not.
pub async fn run(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment).await?;
    let played = play::play(environment, &site, options, screen).await;
    match &played {
        Ok(report) if report.passed() && !options.keep => site.clear(environment).await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}
