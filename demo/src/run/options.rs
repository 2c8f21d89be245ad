//! What can be chosen about a run.

use clap::Args;

/// The options of `demo run`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How long the writers write, in seconds; if not given 30, or 3 for each kill if that is more
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Events a second, of all writers together
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// How often the relay, and each worker, is killed with SIGKILL and started again
    #[arg(long, default_value_t = 3)]
    pub kills: u64,
    /// Only Postgres, the relay and Kafka: no workers, no ClickHouse and no Redis
    #[arg(long)]
    pub relay_only: bool,
    /// Deliver with Kafka's transactions: then nothing may come twice either
    #[arg(long)]
    pub exactly_once: bool,
    /// Where the random choices begin; if not given, each run differs
    #[arg(long)]
    pub seed: Option<u64>,
    /// Keep the databases, slot, topics and logs also after a good verdict
    #[arg(long)]
    pub keep: bool,
}

/// Seconds of a run with few kills.
const SECONDS_DEFAULT: u64 = 30;
/// Seconds between two kills, on average, if the length of the run is not given: the relay must have time to do something worth interrupting.
const SECONDS_PER_KILL: u64 = 3;

impl Options {
    /// The length of the run.
    pub fn seconds(&self) -> u64 {
        self.seconds.unwrap_or_else(|| SECONDS_DEFAULT.max(self.kills * SECONDS_PER_KILL)).max(1)
    }
}
