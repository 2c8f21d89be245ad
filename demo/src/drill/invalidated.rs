//! The relay is away while the server writes more log than it may keep for a slot: the slot is invalidated, the relay refuses to
//! start, and `postrider slot recover` publishes from the table what was not delivered.

use std::time::{Duration, Instant};

use xtask::services::PrivatePostgres;

use crate::drill::incident::{names_the_mend, recover, refuses};
use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// So little that a busy hour of another service is soon too much.
const SETTINGS: &[(&str, &str)] =
    &[("max_slot_wal_keep_size", "32MB"), ("min_wal_size", "32MB"), ("max_wal_size", "64MB")];

/// Four mebibytes of log that are no event.
const FILL: &str = "select pg_logical_emit_message(false, 'drill', repeat('x', 1048576)) from generate_series(1, 4)";

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let server = tokio::task::block_in_place(|| PrivatePostgres::start(None, SETTINGS))?;
    let scene = Scene::open(&servers.on(server.environment()), "invalidated").await?;
    let relay = scene.relay("relay", "")?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 3;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    writers.write_more(events, PATIENCE).await?;

    screen.say("          the relay is killed, and the log grows beyond what is kept for it");
    let died = Instant::now();
    process.kill()?;
    let filled = fill(&scene).await?;
    let lost_after = died.elapsed();
    let words = refuses(relay.start()?).await?;
    screen.say("          postrider slot recover --yes");
    let recovered = recover(&relay)?;
    let process = relay.start()?;
    writers.write_more(events, PATIENCE).await?;
    let committed = writers.stop().await?;
    let gap = ledger.longest_gap_since(died);
    let counted = ledger.settle(&committed).await?;
    process.stop()?;

    let report = Report::new("invalidated", counted, gap)
        .with("invalidated_after_s", lost_after.as_secs_f64())
        .with("log_mib", filled as f64);
    // Of a kill some batches in flight may come again, whatever the slot does.
    let report = recovered
        .told(report, "same", &counted)
        .wanted(names_the_mend(&words), || format!("the relay names what helps; it said {words}"));
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

/// Writes log until the slot is lost; how much, in mebibytes.
async fn fill(scene: &Scene) -> Result<u64> {
    let (sql, begun) = (scene.database.connect().await?, Instant::now());
    let mut mebibytes = 0;
    while begun.elapsed() < PATIENCE {
        sql.batch_execute(FILL).await.doing("writing log")?;
        mebibytes += 4;
        sql.batch_execute("checkpoint").await.doing("making a checkpoint")?;
        let status = "select wal_status from pg_replication_slots where slot_name = $1";
        let row = sql.query_one(status, &[&scene.name]).await.doing("looking at the slot")?;
        if row.get::<_, Option<String>>(0).as_deref() == Some("lost") {
            return Ok(mebibytes);
        }
    }
    Err(Error::Relay(format!("the slot outlives {mebibytes} MiB of log")))
}
