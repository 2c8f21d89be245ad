//! The workers behind Kafka during a run: both are killed by plan, and readers fill pages meanwhile.

use std::time::{Duration, Instant};

use crate::chain::lag::Group;
use crate::chain::readers::{Readers, Reads};
use crate::chain::site::Downstream;
use crate::database::Database;
use crate::error::Result;
use crate::nova::Public;
use crate::procfs::Usage;
use crate::random::Random;
use crate::run::kills;
use crate::run::life::{Life, Turn};
use crate::screen::Screen;

/// How long a worker may commit nothing before what is left counts as lost: more than it needs to start, join its group and back off.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(120);
/// How often it is asked how far the workers are.
const LOOK: Duration = Duration::from_millis(500);
/// How often the run looks around meanwhile.
const TICK: Duration = Duration::from_millis(20);
/// Pages that are read in a second.
const READS_PER_S: f64 = 600.0;

/// What the workers used and the readers did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Worked {
    /// Of the loader and of the invalidator.
    pub(crate) usage: [Usage; 2],
    pub(crate) kills: [u64; 2],
    pub(crate) reads: Reads,
    /// Records that were never received downstream.
    pub(crate) behind: u64,
    /// How long it took after the last change until everything had been received downstream.
    pub(crate) caught_up: Duration,
}

/// Both workers and the readers.
pub(crate) struct Workers {
    lives: [Life; 2],
    groups: [Group; 2],
    readers: Option<Readers>,
}

impl Workers {
    /// Starts the workers; each is killed `kills` times over `seconds`, at moments of its own.
    pub(crate) fn start(site: &Downstream, kills: u64, seconds: u64, seed: u64) -> Result<Self> {
        let random = Random::new(seed);
        let plan = |part| kills::plan(kills, seconds, &mut random.fork(part));
        let lives = [Life::start(&site.load, plan(1 << 34))?, Life::start(&site.invalidate, plan(1 << 35))?];
        Ok(Self { lives, groups: site.groups.clone(), readers: None })
    }

    /// Lets readers read from now on.
    pub(crate) async fn read(
        &mut self,
        database: &Database,
        site: &Downstream,
        public: &Public,
        seed: u64,
    ) -> Result<()> {
        self.readers = Some(Readers::start(database, &site.redis_url, public, (READS_PER_S, seed)).await?);
        Ok(())
    }

    /// Does what is due `elapsed` after the start of the run; an error if a worker ended by itself.
    pub(crate) fn tick(&mut self, elapsed: Duration, screen: &Screen) -> Result<()> {
        for life in &mut self.lives {
            if let Turn::Killed { lived, away } = life.tick(elapsed)? {
                screen.say(&format!(
                    "{:6.1} s  postrider {}: SIGKILL {} after {:.1} s of life; back in {} ms",
                    elapsed.as_secs_f64(),
                    life.role(),
                    life.killed(),
                    lived.as_secs_f64(),
                    away.as_millis()
                ));
            }
        }
        Ok(())
    }

    /// Waits until both groups have committed everything that their topics hold, then ends readers and workers.
    pub(crate) async fn finish(mut self, started: Instant, screen: &Screen) -> Result<Worked> {
        let begun = Instant::now();
        let behind = self.catch_up(started, screen).await?;
        let caught_up = begun.elapsed();
        let reads = match self.readers.take() {
            Some(readers) => readers.stop().await?,
            None => Reads::default(),
        };
        let kills = [self.lives[0].killed(), self.lives[1].killed()];
        let [load, invalidate] = self.lives;
        Ok(Worked { usage: [load.stop()?, invalidate.stop()?], kills, reads, behind, caught_up })
    }

    async fn catch_up(&mut self, started: Instant, screen: &Screen) -> Result<u64> {
        let (mut last, mut moved, mut said) = (u64::MAX, Instant::now(), Instant::now());
        loop {
            let behind = self.behind(started, screen).await?;
            if behind < last {
                (last, moved) = (behind, Instant::now());
            }
            if behind == 0 || moved.elapsed() > NO_PROGRESS_MAX {
                return Ok(behind);
            }
            if said.elapsed() > Duration::from_secs(2) {
                said = Instant::now();
                screen.say(&format!(
                    "{:6.1} s  the workers have {behind} records to go",
                    started.elapsed().as_secs_f64()
                ));
            }
        }
    }

    /// How many records both have not received yet; the run goes on while Kafka is asked.
    async fn behind(&mut self, started: Instant, screen: &Screen) -> Result<u64> {
        let [load, invalidate] = self.groups.clone();
        let mut asked = std::pin::pin!(async move {
            tokio::time::sleep(LOOK).await;
            Ok(load.behind().await? + invalidate.behind().await?)
        });
        loop {
            tokio::select! {
                behind = &mut asked => return behind,
                () = tokio::time::sleep(TICK) => self.tick(started.elapsed(), screen)?,
            }
        }
    }
}
