//! The primary dies under load, and its standby, which keeps the slot, is promoted: the relay, which knows both, goes on by itself.
//!
//! The primary answers no commit, and hands nothing to the relay, before the standby has it: so no event that a service was told of
//! is lost with it, and none is published that the new primary does not have.

use std::time::{Duration, Instant};

use crate::drill::pair::{Pair, STANDBY};
use crate::drill::{Load, Options, Report, Servers, Writers};
use crate::error::Result;
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `postrider check` must say before the standby keeps the slot for good: one of them.
const WARNINGS: [&str; 2] = ["standby-slot-missing", "standby-slot-temporary"];

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let settings = [("synchronized_standby_slots", STANDBY), ("synchronous_standby_names", STANDBY)];
    let mut pair = Pair::start(servers, "failover", &settings).await?;
    pair.relay.ask(&["init", "--failover"])?;
    let ledger = pair.scene.ledger()?;
    let warned = pair.findings()?;
    let mut process = pair.relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 3;
    let writers = Writers::start(&pair.scene.servers.postgres, &pair.scene.name, load);
    writers.write_more(events, PATIENCE).await?;
    let kept_after = pair.kept().await?;
    let ready = pair.findings()?;
    ledger.goes_on(PATIENCE).await?;

    screen.say("          the primary dies, and its standby is promoted");
    let died = Instant::now();
    pair.kill_primary();
    let there = pair.promote()?;
    let promoted_after = died.elapsed();
    writers.move_to(&there);
    writers.write_more(events, PATIENCE).await?;
    process.check()?;
    let committed = writers.stop().await?;
    let gap = ledger.longest_gap_since(died);
    let counted = ledger.settle(&committed).await?;
    process.stop()?;

    let before = WARNINGS.iter().any(|code| warned.contains(*code));
    let report = Report::new("failover", counted, gap)
        .with("slot_kept_after_s", kept_after.as_secs_f64())
        .with("promoted_after_s", promoted_after.as_secs_f64())
        .wanted(before, || format!("check warns of a slot that a promotion would lose; it said {warned:?}"))
        .wanted(ready.is_empty(), || format!("check is content before the promotion; it said {ready:?}"));
    if report.passed() && !options.keep {
        pair.scene.clear(false).await?;
    } else {
        screen.say(&pair.scene.whereabouts());
    }
    Ok(report)
}
