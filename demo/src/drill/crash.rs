//! The server dies under load, as in a power cut, and comes back: nothing is told to anybody, and nothing is done.

use std::time::{Duration, Instant};

use xtask::services::PrivatePostgres;

use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::Result;
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let settings = [("wal_level", "logical"), ("fsync", "on")];
    let mut server = tokio::task::block_in_place(|| PrivatePostgres::start(None, &settings))?;
    let scene = Scene::open(&servers.on(server.environment()), "crash").await?;
    let relay = scene.relay("relay", "")?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let mut process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 2;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    let begun = Instant::now();
    for kill in 0..options.kills.unwrap_or(3) {
        writers.write_more(events, PATIENCE).await?;
        ledger.goes_on(PATIENCE).await?;
        screen.say(&format!("          Postgres dies ({})", kill + 1));
        tokio::task::block_in_place(|| {
            server.stop_immediate();
            server.start_again()
        })?;
        process.check()?;
    }
    writers.write_more(events, PATIENCE).await?;
    let committed = writers.stop().await?;
    let gap = ledger.longest_gap_since(begun);
    let counted = ledger.settle(&committed).await?;
    process.stop()?;
    let report = Report::new("crash", counted, gap);
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}
