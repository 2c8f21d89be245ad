//! One run on a prepared site, from the first event to the verdict.

use std::time::{Duration, Instant};

use xtask::services::Environment;

use crate::error::{Error, Result};
use crate::nova::{self, Crowd, Options as CrowdOptions, Outcome};
use crate::outbox;
use crate::random::Random;
use crate::run::kills;
use crate::run::options::Options;
use crate::run::report::{Captured, Played, Report};
use crate::run::site::Site;
use crate::run::torment::Torment;
use crate::screen::{Moment, Screen};
use crate::state::compare::Comparison;
use crate::state::reader::{Read, Reader};
use crate::watcher::{Seen, Watcher, now_us};

/// How often the run looks around: kills, restarts, a picture for the screen.
const TICK: Duration = Duration::from_millis(20);
/// How long nothing new may arrive before what is missing counts as lost: more than a relay needs to start, wait for its slot and back off.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);
/// Connections that write.
const WRITERS: u64 = 12;
/// Connections that keep transactions open for long.
const LINGERERS: u64 = 2;

/// Plays the run and judges it.
pub(super) async fn play(environment: &Environment, site: &Site, options: &Options, screen: &Screen) -> Result<Report> {
    site.furnish(environment, screen).await?;
    let seed = options.seed.unwrap_or_else(|| now_us().unsigned_abs());
    let (rate, seconds, kills) = (options.rate, options.seconds(), options.kills);
    screen.say(&format!(
        "          Nova writes {rate} events/s for {seconds} s; the relay is killed {kills} times (seed {seed})"
    ));
    let reader = Reader::start(&site.tables)?;
    let watcher = Watcher::start(&environment.kafka.bootstrap, &site.topics)?;
    let plan = kills::plan(options.kills, options.seconds(), &mut Random::new(seed));
    let mut torment = Torment::start(&site.relay, plan)?;
    let crowd = CrowdOptions { writers: WRITERS, lingerers: LINGERERS, events_per_s: options.rate as f64, seed };
    let started = Instant::now();
    let crowd = Crowd::start(&site.database, crowd).await?;

    let outcome = write(crowd, &mut torment, watcher.seen(), options, screen).await?;
    let written_for = started.elapsed();
    drain(&outcome, &mut torment, watcher.seen(), started, screen).await?;
    let client = site.database.connect().await?;
    nova::fence(&client).await?;
    drain_tables(reader.read(), &mut torment, watcher.seen(), started, screen).await?;

    let killed = torment.killed();
    let (usage, outages) = torment.stop()?;
    screen.judging();
    let mut judge = watcher.finish()?;
    outbox::settle(&mut site.database.connect().await?, &mut judge).await?;
    let (findings, deliveries) = judge.finish(&outcome.rolled_back);
    if findings.committed != outcome.events {
        let (held, written) = (findings.committed, outcome.events);
        return Err(Error::Relay(format!(
            "the outbox holds {held} events, but the writers committed {written}: the verdict would mean nothing"
        )));
    }
    let (folded, flaws) = reader.finish()?.fold();
    let comparison = Comparison::of(&client, &nova::tables(), &folded).await?;
    let captured = Captured { comparison, flaws };
    Ok(Report::new(findings, &deliveries, Played { outcome, usage, outages, killed, written_for, captured }))
}

/// Waits until the last row of the captured tables has arrived, or nothing new arrives any more.
async fn drain_tables(
    read: &Read,
    torment: &mut Torment<'_>,
    seen: &Seen,
    started: Instant,
    screen: &Screen,
) -> Result<()> {
    let mut last = (read.records(), Instant::now());
    while read.fences() == 0 {
        if read.records() > last.0 {
            last = (read.records(), Instant::now());
        }
        if last.1.elapsed() > NO_PROGRESS_MAX {
            screen.say(&format!(
                "          no new change of a table has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost"
            ));
            return Ok(());
        }
        torment.tick(started.elapsed(), seen, screen)?;
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// Lets the writers write for as long as the run lasts.
async fn write(
    mut crowd: Crowd,
    torment: &mut Torment<'_>,
    seen: &Seen,
    options: &Options,
    screen: &Screen,
) -> Result<Outcome> {
    let started = Instant::now();
    let length = Duration::from_secs(options.seconds());
    while started.elapsed() < length {
        let elapsed = started.elapsed();
        torment.tick(elapsed, seen, screen)?;
        let committed = crowd.ledger().events();
        screen.picture(&Moment::new(elapsed, length, committed, seen, torment.killed(), torment.up()));
        tokio::select! {
            error = crowd.failure() => return Err(error),
            () = tokio::time::sleep(TICK) => {}
        }
    }
    crowd.stop().await
}

/// Waits until everything that was committed has arrived, or nothing new arrives any more.
async fn drain(
    outcome: &Outcome,
    torment: &mut Torment<'_>,
    seen: &Seen,
    started: Instant,
    screen: &Screen,
) -> Result<()> {
    let mut last = (seen.distinct(), Instant::now());
    while seen.distinct() < outcome.events {
        if seen.distinct() > last.0 {
            last = (seen.distinct(), Instant::now());
        }
        if last.1.elapsed() > NO_PROGRESS_MAX {
            screen.say(&format!("          nothing new has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost"));
            return Ok(());
        }
        let elapsed = started.elapsed();
        torment.tick(elapsed, seen, screen)?;
        screen.picture(&Moment::new(elapsed, elapsed, outcome.events, seen, torment.killed(), torment.up()));
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}
