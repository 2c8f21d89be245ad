//! State equivalence: random operations on tables of every sort, while the relay that captures them is killed again and again; an
//! independent consumer folds the records back into tables, which must end equal to Postgres, row by row.
//!
//! [`workload`] writes what [`change`] and [`alter`] make up, [`reader`] reads, [`fold`] applies and [`compare`] judges. The last
//! two know no Kafka, and their tests plant each fault.

mod alter;
mod base64;
mod change;
pub mod compare;
pub mod fold;
pub mod kind;
mod options;
pub mod reader;
mod report;
pub mod schema;
mod site;
mod tpcb;
pub mod workload;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use xtask::services::Environment;

use crate::error::{Error, Result};
use crate::procfs::Usage;
use crate::random::Random;
use crate::relay::{Process, Relay};
use crate::screen::Screen;
use crate::state::compare::Comparison;
use crate::state::reader::{Read, Reader};
use crate::state::workload::{Workload, Writing};

pub use options::Options;
pub use report::Report;
pub(crate) use site::Site;

/// How often the run looks around.
const TICK: Duration = Duration::from_millis(20);
/// How long nothing new may arrive before what is missing counts as lost.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);
/// How long the relay stays away after a kill at most, in milliseconds.
const AWAY_MAX_MS: u64 = 300;
/// How long the relay lives at least before it is killed, so that every kill meets one that delivers.
const LIFE_MIN: Duration = Duration::from_millis(1_500);

/// Plays one run from nothing to the verdict. What it made is removed if the verdict is good, and kept to look at if it is not.
pub async fn run(environment: &Environment, options: Options, keep: bool, screen: &Screen) -> Result<Report> {
    let site = Site::open(environment, "state", "{table}").await?;
    let played = play(&site, options, screen).await;
    match &played {
        Ok(report) if report.passed() && !keep => site.clear().await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}

async fn play(site: &Site, options: Options, screen: &Screen) -> Result<Report> {
    let client = site.database.connect().await?;
    site.relay.complete("migrate")?;
    let workload = Workload::create(&client).await?;
    site.init().await?;
    let topics = site.topics(&workload.names());
    topics.create().await?;
    let (operations, kills, seed) = (options.operations(), options.kills(), options.seed());
    screen.say(&format!("          {operations} operations; the relay is killed {kills} times (seed {seed})"));
    let reader = Reader::start(&topics)?;
    let started = Instant::now();
    let mut writing = workload.start(&site.database, operations, seed).await?;
    let mut torment = Torment::start(&site.relay, operations, kills, seed)?;
    while !writing.ended().await? {
        torment.tick(&writing, reader.read(), screen)?;
        tokio::time::sleep(TICK).await;
    }
    let seconds = started.elapsed();
    workload.fence(&client).await?;
    let usage = torment.drain(&writing, reader.read(), screen).await?;
    let (folded, flaws) = reader.finish()?.fold();
    let comparison = Comparison::of(&client, &workload.tables(), &folded).await?;
    topics.delete().await?;
    let done = workload.done();
    Ok(Report {
        operations: done.operations(),
        transactions: done.transactions(),
        rolled_back: done.rolled_back(),
        alterations: done.alterations(),
        kills,
        seed,
        seconds,
        usage,
        comparison,
        flaws,
    })
}

/// The relay's life in the run.
struct Torment<'a> {
    relay: &'a Relay,
    process: Option<Process>,
    /// When it is started again after a kill.
    back: Instant,
    /// After how many operations it is killed, in order.
    plan: VecDeque<u64>,
    killed: u64,
    used: Usage,
    random: Random,
    said: Instant,
}

impl<'a> Torment<'a> {
    fn start(relay: &'a Relay, operations: u64, kills: u64, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed).fork(99);
        let part = operations / kills.max(1);
        let plan = (0..kills).map(|kill| part * kill + random.below(part)).collect();
        let now = Instant::now();
        let process = Some(relay.start()?);
        Ok(Self { relay, process, back: now, plan, killed: 0, used: Usage::default(), random, said: now })
    }

    /// Does what is due; an error if the relay ended by itself.
    fn tick(&mut self, writing: &Writing, read: &Read, screen: &Screen) -> Result<()> {
        let operations = writing.workload().done().operations();
        if self.said.elapsed() > Duration::from_secs(5) {
            self.said = Instant::now();
            let (records, killed) = (read.records(), self.killed);
            screen.say(&format!("          {operations} operations, {records} records, {killed} kills"));
        }
        let Some(process) = &mut self.process else {
            if Instant::now() >= self.back {
                self.process = Some(self.relay.start()?);
            }
            return Ok(());
        };
        process.check()?;
        let due = self.plan.front().is_some_and(|at| *at <= operations);
        if due && process.started().elapsed() >= LIFE_MIN {
            self.plan.pop_front();
            self.killed += 1;
            self.back = Instant::now() + Duration::from_millis(self.random.below(AWAY_MAX_MS));
            if let Some(process) = self.process.take() {
                self.used = self.used.then(process.kill()?);
            }
        }
        Ok(())
    }

    /// Carries out the kills that are left over while the rest is delivered, waits for the last row and lets the relay end.
    async fn drain(mut self, writing: &Writing, read: &Read, screen: &Screen) -> Result<Usage> {
        let mut last = (read.records(), Instant::now());
        while read.fences() == 0 || !self.plan.is_empty() || self.process.is_none() {
            self.tick(writing, read, screen)?;
            if read.records() > last.0 {
                last = (read.records(), Instant::now());
            }
            if last.1.elapsed() > NO_PROGRESS_MAX {
                screen.say(&format!(
                    "          nothing new has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost"
                ));
                break;
            }
            tokio::time::sleep(TICK).await;
        }
        let process = self.process.ok_or_else(|| Error::Relay("the relay was not started again".into()))?;
        Ok(self.used.then(process.stop()?))
    }
}
