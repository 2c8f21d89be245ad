//! Two relays for one slot under load: the one that reads it is killed again and again, and then frozen for longer than its lease.
//!
//! The gap of a kill is the longest time without anything new in Kafka that reaches into the time after it, until the other relay has
//! delivered for a while.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::drill::{Counted, Ledger, Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::figures::ms;
use crate::random::Random;
use crate::relay::{Process, Relay};
use crate::screen::Screen;

/// Times that the active relay is killed.
const KILLS: u64 = 100;
/// Of these, how many are repeated where each event comes once.
const KILLS_ONCE: u64 = 20;
/// The key that says how often an event may be published.
const DELIVERY: &str = "POSTRIDER_KAFKA_DELIVERY";
/// Times that it is frozen.
const FREEZES: u64 = 3;
/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at that has no other way to tell.
const LOOK: Duration = Duration::from_millis(5);
/// Events that the new one has delivered when it counts as at work.
const AT_WORK: u64 = 500;
/// Gaps that are wanted at most, of half and of almost all takeovers.
const GAP_P50_MS: f64 = 1000.0;
const GAP_P99_MS: f64 = 2000.0;

/// A relay of the two, and its present process.
struct Side {
    relay: Relay,
    process: Option<Process>,
}

/// The two relays, and what they work on.
struct Pair<'a> {
    sides: [Side; 2],
    client: Client,
    lease: String,
    ledger: &'a Ledger,
}

/// One way of delivering, played through.
struct Played {
    counted: Counted,
    longest: Duration,
    /// How long nothing new came after each kill, in milliseconds.
    killed: Vec<f64>,
    /// The same of each freeze, and how many records came twice once the frozen relay went on.
    frozen: Vec<(f64, u64)>,
}

/// At least once with as many kills as wanted, and then exactly once with a few.
pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let kills = options.kills.unwrap_or(KILLS);
    let default = play(&servers, ("takeover", "at-least-once", kills), options, screen).await?;
    screen.say("          the same, exactly once");
    let once = play(&servers, ("takeover_once", "exactly-once", kills.min(KILLS_ONCE)), options, screen).await?;
    Ok(judged(default, &once))
}

/// Plays kills and freezes on a scene of its own.
async fn play(
    servers: &Servers,
    (name, delivery, kills): (&str, &str, u64),
    options: &Options,
    screen: &Screen,
) -> Result<Played> {
    let scene = Scene::open(servers, name).await?;
    let relay = |name| Ok::<_, Error>(scene.relay(name, "")?.with(DELIVERY, delivery));
    let (a, b) = (relay("a")?, relay("b")?);
    a.complete("migrate")?;
    a.complete("init")?;
    let ledger = scene.ledger()?;
    let client = scene.database.connect().await?;
    let sides = [a, b].map(|relay| Side { relay, process: None });
    let mut pair = Pair { sides, client, lease: format!("slot/{}", scene.name), ledger: &ledger };
    for side in 0..2 {
        pair.start(side).await?;
    }
    let load = Load { rate: options.rate.unwrap_or(2000), keys: options.keys.unwrap_or(1000), ..Load::default() };
    let rate = load.rate;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    let mut random = Random::new(rate);
    let begun = Instant::now();
    let (mut killed, mut frozen) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        // Not always at the same place between two progress records.
        writers.write_more(rate / 4 + random.below(rate / 4), PATIENCE).await?;
        let gap = ms(pair.kill_the_active().await?);
        screen.say(&format!("          kill {} of {kills}: nothing new for {gap:.0} ms", kill + 1));
        killed.push(gap);
    }
    for freeze in 0..FREEZES {
        writers.write_more(rate, PATIENCE).await?;
        let (gap, repeated) = pair.freeze_the_active().await?;
        let (number, gap) = (freeze + 1, ms(gap));
        screen
            .say(&format!("          frozen {number} of {FREEZES}: nothing new for {gap:.0} ms, {repeated} repeated"));
        frozen.push((gap, repeated));
    }
    writers.write_more(rate, PATIENCE).await?;
    let committed = writers.stop().await?;
    pair.stop()?;
    let longest = ledger.longest_gap_since(begun);
    let counted = ledger.settle(&committed).await?;
    if counted.lost == 0 && counted.reordered == 0 && !options.keep {
        scene.clear(true).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(Played { counted, longest, killed, frozen })
}

/// The report with the gaps, and whether they are as short as they should be.
fn judged(default: Played, once: &Played) -> Report {
    let mut gaps = default.killed;
    gaps.sort_by(f64::total_cmp);
    let (p50, p99) = (quantile(&gaps, 0.5), quantile(&gaps, 0.99));
    let longest = |frozen: &[(f64, u64)]| frozen.iter().map(|(gap, _)| *gap).fold(0.0, f64::max);
    let repeated: u64 = default.frozen.iter().map(|(_, repeated)| repeated).sum();
    let both = Counted {
        committed: default.counted.committed + once.counted.committed,
        delivered: default.counted.delivered + once.counted.delivered,
        lost: default.counted.lost + once.counted.lost,
        duplicated: default.counted.duplicated + once.counted.duplicated,
        reordered: default.counted.reordered + once.counted.reordered,
        unknown: default.counted.unknown + once.counted.unknown,
    };
    let twice = once.counted.duplicated;
    Report::new("takeover", both, default.longest.max(once.longest))
        .with("kills", gaps.len() as f64)
        .with("gap_p50_ms", p50)
        .with("gap_p99_ms", p99)
        .with("gap_max_ms", gaps.last().copied().unwrap_or_default())
        .with("freezes", default.frozen.len() as f64)
        .with("freeze_gap_max_ms", longest(&default.frozen))
        .with("zombies_repeated", repeated as f64)
        .with("exactly_once_kills", once.killed.len() as f64)
        .with("exactly_once_gap_max_ms", once.killed.iter().copied().fold(0.0, f64::max))
        .with("exactly_once_freeze_gap_max_ms", longest(&once.frozen))
        .with("exactly_once_duplicated", twice as f64)
        .wanted(p50 < GAP_P50_MS, || format!("a gap of less than {GAP_P50_MS} ms at half of the kills, not {p50:.0}"))
        .wanted(p99 < GAP_P99_MS, || format!("a gap of less than {GAP_P99_MS} ms at 99 of 100 kills, not {p99:.0}"))
        .wanted(twice == 0, || format!("nothing twice to a reader of the committed, not {twice}"))
}

/// The figure below or at which this share of the sorted figures is.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl Pair<'_> {
    /// Starts a relay, and waits until it works or stands by.
    async fn start(&mut self, side: usize) -> Result<()> {
        let stood = self.stood(side);
        let process = self.sides[side].relay.start()?;
        let pid = process.pid();
        self.sides[side].process = Some(process);
        self.until("a relay works or stands by", async |pair| {
            Ok(pair.holder().await? == Some(pid) || pair.stood(side) > stood)
        })
        .await
    }

    /// Kills the relay that reads the slot, and starts it again once the other is at work: how long nothing new came.
    async fn kill_the_active(&mut self) -> Result<Duration> {
        let (side, pid) = self.active().await?;
        let process = self.sides[side].process.take();
        let begun = Instant::now();
        process.ok_or_else(|| Error::Relay("the active relay is not running".into()))?.kill()?;
        self.other_is_at_work(pid).await?;
        let gap = self.ledger.longest_gap_since(begun);
        self.start(side).await?;
        Ok(gap)
    }

    /// Freezes it until the other is at work, and lets it go on: how long nothing new came, and how many records came twice since.
    async fn freeze_the_active(&mut self) -> Result<(Duration, u64)> {
        let (side, pid) = self.active().await?;
        let stood = self.stood(side);
        let begun = Instant::now();
        signal(pid, "-STOP")?;
        let frozen = self.other_is_at_work(pid).await;
        let repeated = self.repeated();
        signal(pid, "-CONT")?;
        frozen?;
        let gap = self.ledger.longest_gap_since(begun);
        self.until("the relay that was frozen stands by", async |pair| Ok(pair.stood(side) > stood)).await?;
        self.delivers().await?;
        Ok((gap, self.repeated().saturating_sub(repeated)))
    }

    fn repeated(&self) -> u64 {
        self.ledger.records().saturating_sub(self.ledger.distinct())
    }

    async fn other_is_at_work(&self, than: u32) -> Result<()> {
        self.until("the other relay takes over", async |pair| {
            Ok(pair.holder().await?.is_some_and(|holder| holder != than))
        })
        .await?;
        self.delivers().await
    }

    async fn delivers(&self) -> Result<()> {
        let before = self.ledger.distinct();
        self.until("events arrive", async |pair| Ok(pair.ledger.distinct() > before + AT_WORK)).await
    }

    /// Which of the two has the lease, and its process id.
    async fn active(&self) -> Result<(usize, u32)> {
        let holder = self.holder().await?;
        let of = |side: &Side| side.process.as_ref().map(Process::pid);
        let side = self.sides.iter().position(|side| holder.is_some() && of(side) == holder);
        side.zip(holder).ok_or_else(|| Error::Relay(format!("neither relay has the lease, but process {holder:?}")))
    }

    /// The process that has the lease.
    async fn holder(&self) -> Result<Option<u32>> {
        let sql = "select (detail ->> 'process')::bigint from postrider.leases where name = $1 and holder is not null";
        let row = self.client.query_opt(sql, &[&self.lease]).await.doing("asking who has the lease")?;
        Ok(row.and_then(|row| u32::try_from(row.get::<_, i64>(0)).ok()))
    }

    /// How often a relay said that it stands by.
    fn stood(&self, side: usize) -> usize {
        let log = std::fs::read_to_string(self.sides[side].relay.log()).unwrap_or_default();
        log.matches("standing by").count()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !holds(self).await? {
            if begun.elapsed() > PATIENCE {
                return Err(Error::Relay(format!("{what}: not within {PATIENCE:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.sides.into_iter().filter_map(|side| side.process).try_for_each(|process| process.stop().map(drop))
    }
}

fn signal(pid: u32, signal: &str) -> Result<()> {
    Command::new("kill").args([signal, &pid.to_string()]).status().doing("signalling a relay").map(drop)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (50.0, 99.0));
        assert_eq!((quantile(&sorted[..3], 0.99), quantile(&[], 0.5)), (3.0, 0.0));
    }
}
