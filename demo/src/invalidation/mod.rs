//! How fast Redis forgets: `postrider invalidate` beside `redis-benchmark` on the same server, the way from the commit to a key
//! that is gone, and a pattern in a Redis of a million keys.
//!
//! Everything is the run's own: a Postgres with honest `fsync`, a broker, a Redis. The three parts run one after the other.

mod commit;
mod flood;
mod report;
mod scene;
mod sweep;
mod yardstick;

use clap::Args;

use crate::error::Result;
use crate::invalidation::scene::Scene;
use crate::screen::Screen;

pub use report::Report;

/// The options of `demo invalidate`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many records lie in the topic when the invalidator starts
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    pub records: u64,
    /// Events a second that are committed, for the way from the commit to a key that is gone
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    pub rate: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Keys that Redis holds while patterns are searched
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=50_000_000))]
    pub keys: u64,
}

/// Measures all three.
///
/// # Errors
/// A server that does not start, or an invalidator that ends or makes no progress.
pub async fn bench(options: &Options, screen: &Screen) -> Result<Report> {
    screen.say("starting a Postgres, a Kafka, a Redis and the relay");
    let scene = Scene::open().await?;
    let commit = commit::measure(&scene, options, screen).await?;
    let yardstick = yardstick::measure(&scene, screen).await?;
    let single = flood::single(&scene, options, screen).await?;
    let fan_out = flood::fan_out(&scene, options, screen).await?;
    let sweep = sweep::measure(&scene, options, screen).await?;
    scene.clear().await?;
    Ok(Report::new(yardstick, single, fan_out, commit, sweep))
}
