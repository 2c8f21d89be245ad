//! What can be chosen about a run.

use clap::Args;

/// Operations of a run.
const OPERATIONS: u64 = 200_000;
/// Kills of a run.
const KILLS: u64 = 20;

/// The options of `soak state`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Options {
    /// `state`: how many operations are committed [default: 200000]
    #[arg(long)]
    pub operations: Option<u64>,
    /// `state` and `large`: how often the relay is killed with SIGKILL and started again [default: 20, and 1]
    #[arg(long)]
    pub kills: Option<u64>,
}

impl Options {
    pub(super) fn operations(&self) -> u64 {
        self.operations.unwrap_or(OPERATIONS).max(1)
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills.unwrap_or(KILLS)
    }
}
