//! One run on a prepared site, from the first event to the verdict.

use std::time::{Duration, Instant};

use xtask::services::Environment;

use crate::chain::{Found, Restarts, Services, Workers};
use crate::error::{Error, Result};
use crate::nova::{self, ClientOptions, Crowd, Options as CrowdOptions, Outcome};
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
/// What the users' clients report in a second at most: as many events as Nova writes, if that is less.
const REPORTS_PER_S_MAX: f64 = 5_000.0;
/// Connections that keep transactions open for long.
const LINGERERS: u64 = 2;

/// Plays the run and judges it.
///
/// `services` are those of the run's own, if it has any; they are restarted while Nova writes.
pub(super) async fn play(
    environment: &Environment,
    services: &mut Option<Services>,
    site: &Site,
    options: &Options,
    screen: &Screen,
) -> Result<Report> {
    site.furnish(environment, screen).await?;
    let seed = options.seed.unwrap_or_else(|| now_us().unsigned_abs());
    screen.say(&greeting(options, seed));
    let reader = Reader::start(&site.tables)?;
    let watcher = Watcher::start(&environment.kafka.bootstrap, &site.topics)?;
    let plan = kills::plan(options.kills, options.seconds(), &mut Random::new(seed));
    let torment = Torment::start(&site.relay, plan)?;
    let steadfast = services.is_some();
    let mut cast = Cast { torment, workers: None, restarts: None, started: Instant::now(), screen };
    let crowd = enter(environment, site, options, (seed, steadfast), &mut cast).await?;
    cast.restarts = services.take().map(|services| services.restart(options.seconds(), seed)).transpose()?;

    let outcome = write(crowd, &mut cast, watcher.seen(), options, services).await?;
    let written_for = cast.started.elapsed();
    drain(&outcome, &mut cast, watcher.seen()).await?;
    let client = site.database.connect().await?;
    nova::fence(&client).await?;
    drain_tables(reader.read(), &mut cast, watcher.seen()).await?;
    let Cast { mut torment, workers, started, .. } = cast;
    let worked = match workers {
        Some(workers) => Some(workers.finish(started, screen).await?),
        None => None,
    };

    torment.tick(started.elapsed(), watcher.seen(), screen)?;
    let killed = torment.killed();
    let (usage, outages) = torment.stop()?;
    screen.judging();
    let mut judge = watcher.finish()?;
    outbox::settle(&mut site.database.connect().await?, &mut judge).await?;
    let (findings, deliveries) = judge.finish(&outcome.rolled_back);
    let (held, written) = (findings.committed, outcome.events);
    if !(written..=written + outcome.unsure).contains(&held) {
        return Err(Error::Relay(format!(
            "the outbox holds {held} events, but the writers committed {written}: the verdict would mean nothing"
        )));
    }
    let (folded, flaws) = reader.finish()?.fold();
    let comparison = Comparison::of(&client, &nova::tables(), &folded).await?;
    let captured = Captured { comparison, flaws };
    let found = match (&site.downstream, worked) {
        (Some(downstream), Some(worked)) => {
            Some(Found::judge(downstream, &site.database, &outcome.reported, worked).await?)
        }
        _ => None,
    };
    let played =
        Played { outcome, usage, outages, killed, written_for, captured, found, exactly_once: options.exactly_once };
    Ok(Report::new(findings, &deliveries, played))
}

/// Everything that is killed by plan, and where it is told.
struct Cast<'a> {
    torment: Torment,
    workers: Option<Workers>,
    restarts: Option<Restarts>,
    started: Instant,
    screen: &'a Screen,
}

impl Cast<'_> {
    /// Does what is due.
    fn tick(&mut self, seen: &Seen) -> Result<()> {
        let elapsed = self.started.elapsed();
        self.restarts.iter().flat_map(Restarts::said).for_each(|text| self.screen.say(&text));
        if let Some(workers) = &mut self.workers {
            workers.tick(elapsed, self.screen)?;
        }
        self.torment.tick(elapsed, seen, self.screen)
    }
}

fn greeting(options: &Options, seed: u64) -> String {
    let (rate, seconds, kills) = (options.rate, options.seconds(), options.kills);
    let whom = if options.relay_only { "the relay is" } else { "the relay and both workers are each" };
    format!("          Nova writes {rate} events/s for {seconds} s; {whom} killed {kills} times (seed {seed})")
}

/// Lets the writers begin and, where there is something behind Kafka, the workers, the clients and the readers of feeds.
async fn enter(
    environment: &Environment,
    site: &Site,
    options: &Options,
    (seed, steadfast): (u64, bool),
    cast: &mut Cast<'_>,
) -> Result<Crowd> {
    let events_per_s = options.rate as f64;
    let crowd = CrowdOptions { writers: WRITERS, lingerers: LINGERERS, events_per_s, seed, steadfast };
    cast.started = Instant::now();
    let mut crowd = Crowd::start(&site.database, crowd).await?;
    if let Some(downstream) = &site.downstream {
        let (bootstrap, topic) = (environment.kafka.bootstrap.clone(), downstream.events_topic());
        crowd.report(ClientOptions { bootstrap, topic, events_per_s: events_per_s.min(REPORTS_PER_S_MAX) });
        let mut workers = Workers::start(downstream, options.kills, options.seconds(), seed)?;
        workers.read(&site.database, downstream, &crowd.public(), seed).await?;
        cast.workers = Some(workers);
    }
    Ok(crowd)
}

/// Waits until the last row of the captured tables has arrived, or nothing new arrives any more.
async fn drain_tables(read: &Read, cast: &mut Cast<'_>, seen: &Seen) -> Result<()> {
    let mut last = (read.records(), Instant::now());
    while read.fences() == 0 {
        if read.records() > last.0 {
            last = (read.records(), Instant::now());
        }
        if last.1.elapsed() > NO_PROGRESS_MAX {
            cast.screen.say(&format!(
                "          no new change of a table has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost"
            ));
            return Ok(());
        }
        cast.tick(seen)?;
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// Lets the writers write for as long as the run lasts, and waits for the last restart; the services are handed back.
async fn write(
    mut crowd: Crowd,
    cast: &mut Cast<'_>,
    seen: &Seen,
    options: &Options,
    services: &mut Option<Services>,
) -> Result<Outcome> {
    let length = Duration::from_secs(options.seconds());
    while cast.started.elapsed() < length {
        cast.tick(seen)?;
        let (elapsed, committed, torment) = (cast.started.elapsed(), crowd.ledger().events(), &cast.torment);
        cast.screen.picture(&Moment::new(elapsed, length, committed, seen, torment.killed(), torment.up()));
        tokio::select! {
            error = crowd.failure() => return Err(error),
            () = tokio::time::sleep(TICK) => {}
        }
    }
    if let Some(restarts) = cast.restarts.take() {
        let (restarted, said) = restarts.finish().await?;
        said.iter().for_each(|text| cast.screen.say(text));
        *services = Some(restarted);
    }
    crowd.stop().await
}

/// Waits until everything that was committed has arrived, or nothing new arrives any more.
async fn drain(outcome: &Outcome, cast: &mut Cast<'_>, seen: &Seen) -> Result<()> {
    let mut last = (seen.distinct(), Instant::now());
    while seen.distinct() < outcome.events {
        if seen.distinct() > last.0 {
            last = (seen.distinct(), Instant::now());
        }
        if last.1.elapsed() > NO_PROGRESS_MAX {
            let text = format!("          nothing new has arrived for {NO_PROGRESS_MAX:?}: the rest counts as lost");
            cast.screen.say(&text);
            return Ok(());
        }
        cast.tick(seen)?;
        let (elapsed, torment) = (cast.started.elapsed(), &cast.torment);
        cast.screen.picture(&Moment::new(elapsed, elapsed, outcome.events, seen, torment.killed(), torment.up()));
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}
