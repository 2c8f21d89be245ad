//! Many tables whose schemas change all the time: what it costs that the stream describes them again and again.
//!
//! Phases with schema changes and phases without take turns in one run, so that their ratio means something where the rates do
//! not. Each second of a restless phase one table is altered; each fourth second the publication itself, after which Postgres
//! describes every table anew.

mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;
use xtask::services::Environment;

use crate::error::{Doing, Error, Result};
use crate::large::reader::Rows;
use crate::random::Random;
use crate::relay::Process;
use crate::screen::Screen;
use crate::state::{Options, Site};

use report::Phase;
pub use report::Report;

/// Tables that are written to.
const TABLES: u64 = 200;
/// Rows of a transaction, each in another table.
const ROWS: u64 = 20;
/// Connections that write.
const WRITERS: u64 = 2;
/// Pairs of phases.
const ROUNDS: u64 = 3;
/// How long the writers write in each phase.
const PHASE: Duration = Duration::from_secs(10);
/// Rows that can be told apart.
const ROWS_MAX: u64 = 1 << 28;
/// How often the run looks around.
const TICK: Duration = Duration::from_millis(2);
/// How long nothing new may arrive before the rest counts as lost.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);

/// What the writers share.
#[derive(Debug, Default)]
struct Written {
    /// The rows have numbers of their own, over all tables.
    next: AtomicU64,
    committed: AtomicU64,
    stop: AtomicBool,
}

/// Plays one run from nothing to the verdict.
pub async fn run(environment: &Environment, options: Options, keep: bool, screen: &Screen) -> Result<Report> {
    // One topic for all: it is the tables that are many.
    let site = Site::open(environment, "churn", "churn").await?;
    let played = play(&site, options.seed(), screen).await;
    match &played {
        Ok(report) if report.passed() && !keep => site.clear().await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}

async fn play(site: &Site, seed: u64, screen: &Screen) -> Result<Report> {
    let client = site.database.connect().await?;
    site.relay.complete("migrate")?;
    let table = |n| format!("create table churn_{n} (id bigint primary key, note text);");
    let tables: String =
        (0..TABLES).map(table).chain(["create table churn_more (id bigint primary key)".into()]).collect();
    client.batch_execute(&tables).await.doing("creating the tables")?;
    site.init().await?;
    let topics = site.topics(&["churn".to_owned()]);
    topics.create().await?;
    let reader = Rows::read(&topics, ROWS_MAX)?;
    let mut process = site.relay.start()?;
    let mut random = Random::new(seed);
    let written = Arc::new(Written::default());
    // Every table is described once before anything is measured.
    phase(site, &mut process, (&reader, &written), Phase::default(), &mut random).await?;
    let mut phases = Vec::new();
    for round in 0..2 * ROUNDS {
        // Which comes first takes turns, too.
        let restless = (round % 2 == 0) != (round / 2 % 2 == 0);
        let of = Phase { restless, ..Phase::default() };
        let measured = phase(site, &mut process, (&reader, &written), of, &mut random).await?;
        screen.say(&format!("          {measured}"));
        phases.push(measured);
    }
    let usage = process.stop()?;
    let found = reader.finish()?;
    topics.delete().await?;
    let rows = written.committed.load(Ordering::Relaxed);
    Ok(Report { tables: TABLES, rows, found, phases, usage })
}

/// One phase, from its first row until its last was read.
async fn phase(
    site: &Site,
    process: &mut Process,
    (reader, written): (&Rows, &Arc<Written>),
    of: Phase,
    random: &mut Random,
) -> Result<Phase> {
    written.stop.store(false, Ordering::Relaxed);
    let (rows, cpu) = (written.committed.load(Ordering::Relaxed), process.check()?.cpu);
    let started = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let client = site.database.connect().await?;
        writers.spawn(write(client, Arc::clone(written), random.fork(number)));
    }
    let alters = site.database.connect().await?;
    let mut changes = 0;
    while started.elapsed() < PHASE {
        if of.restless && started.elapsed() > Duration::from_secs(changes) {
            alters.batch_execute(&alteration(changes, random)).await.doing("altering a table")?;
            changes += 1;
        }
        process.check()?;
        tokio::time::sleep(TICK).await;
    }
    written.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|_| Error::Relay("a writer panicked; its message is above".into()))??;
    }
    let committed = written.committed.load(Ordering::Relaxed);
    let mut last = (0, Instant::now());
    while reader.seen().distinct() < committed && last.1.elapsed() < NO_PROGRESS_MAX {
        if reader.seen().distinct() > last.0 {
            last = (reader.seen().distinct(), Instant::now());
        }
        process.check()?;
        tokio::time::sleep(TICK).await;
    }
    let (seconds, cpu) = (started.elapsed(), process.check()?.cpu - cpu);
    Ok(Phase { rows: committed - rows, seconds, cpu, changes, ..of })
}

fn alteration(change: u64, random: &mut Random) -> String {
    match change % 8 {
        3 => "alter publication postrider_capture drop table churn_more".to_owned(),
        7 => "alter publication postrider_capture add table churn_more".to_owned(),
        _ => {
            let table = random.below(TABLES);
            let column = random.bits();
            format!("alter table churn_{table} add column c{column} integer, alter column note set default 'x'")
        }
    }
}

async fn write(client: Client, written: Arc<Written>, mut random: Random) -> Result<()> {
    while !written.stop.load(Ordering::Relaxed) {
        let first = written.next.fetch_add(ROWS, Ordering::Relaxed);
        let insert =
            |id| format!("insert into churn_{} (id, note) values ({id}, 'some words of a row');", random.below(TABLES));
        let inserts: String = (first..first + ROWS).map(insert).collect();
        client.batch_execute(&inserts).await.doing("writing rows")?;
        written.committed.fetch_add(ROWS, Ordering::Relaxed);
    }
    Ok(())
}
