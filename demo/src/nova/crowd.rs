//! All writers of a run together: started at once, stopped at once, their failures handed to whoever waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::error::{Error, Result};
use crate::nova::ledger::{Ledger, Outcome};
use crate::nova::linger;
use crate::nova::pools::Pools;
use crate::nova::writer::Writer;
use crate::pace::Pace;
use crate::random::Random;

/// How the crowd behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections that write one transaction after the other.
    pub writers: u64,
    /// Connections that keep transactions open for seconds.
    pub lingerers: u64,
    /// Events a second, of all together.
    pub events_per_s: f64,
    /// Where the random choices begin.
    pub seed: u64,
}

/// What writers share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) pace: Pace,
    pub(super) pools: Pools,
    pub(super) ledger: Arc<Ledger>,
    closed: watch::Sender<bool>,
}

impl Stage {
    /// Whether no further transaction is to begin.
    pub(super) fn closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the stage is closed, `at_most` so long.
    pub(super) async fn closing(&self, at_most: Duration) {
        let mut closed = self.closed.subscribe();
        // Both ways to end are fine: the time is over or the stage is closed.
        tokio::time::timeout(at_most, closed.wait_for(|closed| *closed)).await.ok();
    }
}

/// Writers at work.
#[derive(Debug)]
pub struct Crowd {
    stage: Arc<Stage>,
    writers: JoinSet<Result<()>>,
}

impl Crowd {
    /// Connects and starts all writers.
    pub async fn start(database: &Database, options: Options) -> Result<Self> {
        let random = Random::new(options.seed);
        let stage = Arc::new(Stage {
            pace: Pace::new(options.events_per_s),
            pools: Pools::default(),
            ledger: Arc::new(Ledger::default()),
            closed: watch::Sender::new(false),
        });
        let mut writers = JoinSet::new();
        for writer in 0..options.writers {
            writers.spawn(Writer::new(database.connect().await?, random.fork(writer), Arc::clone(&stage)).run());
        }
        for lingerer in 0..options.lingerers {
            let random = random.fork(options.writers + lingerer);
            writers.spawn(linger::run(database.connect().await?, random, Arc::clone(&stage)));
        }
        Ok(Self { stage, writers })
    }

    /// What was written so far.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.stage.ledger
    }

    /// The failure of a writer; pending as long as all write. Cancel safe.
    pub async fn failure(&mut self) -> Error {
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = flatten(ended) {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Lets every open transaction end, then says what was written.
    pub async fn stop(mut self) -> Result<Outcome> {
        self.stage.closed.send_replace(true);
        while let Some(ended) = self.writers.join_next().await {
            flatten(ended)?;
        }
        Ok(self.stage.ledger.outcome())
    }
}

fn flatten(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    ended.unwrap_or_else(|join| Err(Error::Relay(format!("a writer of Nova panicked: {join}"))))
}
