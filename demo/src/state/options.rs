//! What can be chosen about a run.

use clap::Args;

/// Operations of a run.
const OPERATIONS: u64 = 200_000;
/// Kills of a run.
const KILLS: u64 = 20;

/// Rows of the large transaction.
const ROWS: u64 = 5_000_000;

/// The options of the soaks of captured tables.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Options {
    /// `state`: how many operations are committed [default: 200000]
    #[arg(long)]
    pub operations: Option<u64>,
    /// `state`, `large`, `snapshot` and `chain`: how often the relay is killed with SIGKILL and started again [default: 20, 1, 5, 10]
    #[arg(long)]
    pub kills: Option<u64>,
    /// `large`, `snapshot` and `poison`: how many rows the transaction, or the table, has [default: 5000000, 5000000, 1000000]
    #[arg(long)]
    pub rows: Option<u64>,
    /// `chain` and `outage`: how long Nova writes, or ClickHouse is away, in seconds [default: 60, 120]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// `chain`: events a second [default: as many as the machine carries]
    #[arg(long)]
    pub rate: Option<u64>,
    /// Where the random choices begin; if not given, each run differs
    #[arg(long)]
    pub seed: Option<u64>,
}

impl Options {
    pub(super) fn operations(&self) -> u64 {
        self.operations.unwrap_or(OPERATIONS).max(1)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows.unwrap_or(ROWS).max(1)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| crate::watcher::now_us().unsigned_abs())
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills.unwrap_or(KILLS)
    }
}
