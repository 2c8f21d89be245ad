//! ClickHouse away for minutes: the loader's breaker opens, its memory stays flat, nothing becomes a dead letter, nobody leaves the group,
//! and it catches up by itself.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use xtask::services::Environment;

use crate::error::Result;
use crate::figures::rounded;
use crate::loader::events::{Events, good};
use crate::loader::site::{Metrics, Site};
use crate::pace::Pace;
use crate::procfs::Usage;
use crate::relay::Process;
use crate::screen::Screen;

/// Events a second, before, during and after the outage.
const EVENTS_PER_S: f64 = 2_000.0;
/// How long the loader works undisturbed before.
const BEFORE: Duration = Duration::from_secs(15);
/// How long ClickHouse is away, unless somebody says otherwise, in seconds.
const AWAY_S: u64 = 120;
/// Within which time the breaker must be open: its failures, and the waits between them.
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// How much higher the peak of the memory may be after the outage than before it, in MiB.
const GROWTH_MAX_MIB: f64 = 48.0;
/// Of the time of the outage, how much processor time may be used: the loader waits, it does not spin.
const CPU_SHARE_MAX: f64 = 0.2;
/// How often the run looks around.
const LOOK: Duration = Duration::from_millis(100);
/// What `postrider_breaker_state` is where the breaker is open.
const OPEN: f64 = 2.0;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    produced: u64,
    rows: u64,
    distinct: u64,
    away_s: f64,
    opened_after_s: Option<f64>,
    rss_before_mb: f64,
    rss_after_mb: f64,
    cpu_share: f64,
    rebalances: f64,
    dead_letters: u64,
    not_loaded: u64,
    caught_up_after_s: f64,
    verdict: &'static str,
}

/// A loader at one moment of the outage.
struct Moment {
    usage: Usage,
    metrics: Metrics,
}

impl Moment {
    async fn now(site: &Site, process: &mut Process) -> Result<Self> {
        Ok(Self { usage: process.check()?, metrics: site.metrics().await.unwrap_or_default() })
    }

    fn rebalances(&self) -> f64 {
        self.metrics.sum("postrider_consumer_rebalances_total", "")
    }
}

/// Plays one run from nothing to the verdict; ClickHouse is away for `seconds`.
pub async fn run(environment: &Environment, seconds: Option<u64>, keep: bool, screen: &Screen) -> Result<Report> {
    let mut site = Site::open(environment, "outage").await?;
    let played = play(&mut site, Duration::from_secs(seconds.unwrap_or(AWAY_S)), screen).await;
    match &played {
        Ok(report) if report.passed() && !keep => site.clear().await?,
        _ => screen.say(&site.whereabouts()),
    }
    played
}

async fn play(site: &mut Site, away: Duration, screen: &Screen) -> Result<Report> {
    let mut process = site.load.start()?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let producing = tokio::spawn(produce(Events::new(&site.bootstrap, &site.topic())?, stopped));
    screen.say(&format!("          {EVENTS_PER_S} events/s; ClickHouse goes away in {BEFORE:?}, for {away:?}"));
    tokio::time::sleep(BEFORE).await;
    let before = Moment::now(site, &mut process).await?;

    let gone = Instant::now();
    site.server.stop();
    let mut opened = None;
    while gone.elapsed() < away {
        let metrics = Moment::now(site, &mut process).await?.metrics;
        if opened.is_none() && metrics.sum("postrider_breaker_state", "sink") >= OPEN {
            opened = Some(gone.elapsed());
            screen.say(&format!("          the breaker opened after {:.1} s", gone.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let after = Moment::now(site, &mut process).await?;
    site.server.start_again()?;
    let back = Instant::now();
    screen.say("          ClickHouse is back");
    stop.send_replace(true);
    let produced = producing.await.unwrap_or_else(|error| Err(crate::loader::site::impossible(&error.to_string())))?;
    let not_loaded = site.catch_up(&mut process, screen).await?;
    let caught_up = back.elapsed();
    let end = Moment::now(site, &mut process).await?;
    process.stop()?;
    let (rows, distinct) = site.rows().await?;
    let cpu = after.usage.cpu.saturating_sub(before.usage.cpu).as_secs_f64();
    let mut report = Report {
        produced,
        rows,
        distinct,
        away_s: rounded(away.as_secs_f64()),
        opened_after_s: opened.map(|opened| rounded(opened.as_secs_f64())),
        rss_before_mb: rounded(before.usage.rss_peak_mib()),
        rss_after_mb: rounded(after.usage.rss_peak_mib()),
        cpu_share: rounded(cpu / away.as_secs_f64()),
        rebalances: end.rebalances() - before.rebalances(),
        dead_letters: site.given_up().await?,
        not_loaded,
        caught_up_after_s: rounded(caught_up.as_secs_f64()),
        verdict: "fail",
    };
    if report.good() {
        report.verdict = "pass";
    }
    Ok(report)
}

/// Produces at a steady pace until it is told to stop; how many events.
async fn produce(events: Events, stopped: tokio::sync::watch::Receiver<bool>) -> Result<u64> {
    let (pace, mut number) = (Pace::new(EVENTS_PER_S), 0);
    while !*stopped.borrow() {
        pace.wait_for(1).await;
        events.send(number, good(number).as_bytes()).await?;
        number += 1;
    }
    events.flush().await?;
    Ok(number)
}

impl Report {
    fn good(&self) -> bool {
        let opened = self.opened_after_s.is_some_and(|after| after <= OPENS_WITHIN.as_secs_f64());
        let flat = self.rss_after_mb - self.rss_before_mb <= GROWTH_MAX_MIB && self.cpu_share <= CPU_SHARE_MAX;
        let complete = self.rows == self.produced && self.distinct == self.produced && self.not_loaded == 0;
        opened && flat && complete && self.rebalances == 0.0 && self.dead_letters == 0
    }

    /// Whether the loader kept its promises.
    pub fn passed(&self) -> bool {
        self.verdict == "pass"
    }

    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and a name are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opened =
            self.opened_after_s.map_or("never".to_owned(), |after| format!("{after:.1} s after the first failure"));
        writeln!(f)?;
        writeln!(f, "  produced      {:>12}   at {EVENTS_PER_S} events/s", self.produced)?;
        writeln!(
            f,
            "  in the table  {:>12}   rows, of {} events; {} never arrived",
            self.rows, self.distinct, self.not_loaded
        )?;
        writeln!(f, "  dead letters  {:>12}", self.dead_letters)?;
        writeln!(f, "  rebalances    {:>12}", self.rebalances)?;
        writeln!(f, "  breaker open  {opened}; within {OPENS_WITHIN:?} is wanted")?;
        writeln!(
            f,
            "  memory        {:.1} MiB at most before, {:.1} MiB after {:.0} s without ClickHouse; {:.1} % of a processor meanwhile",
            self.rss_before_mb,
            self.rss_after_mb,
            self.away_s,
            self.cpu_share * 100.0
        )?;
        writeln!(f, "  caught up     {:.1} s after ClickHouse was back\n", self.caught_up_after_s)?;
        match self.passed() {
            true => write!(f, "  PASS  the outage was waited out, and everything arrived once"),
            false => write!(f, "  FAIL  the outage was not waited out as it must be"),
        }
    }
}
