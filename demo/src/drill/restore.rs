//! An older backup is put back: what was committed since is gone from the database, and much of it was published. The relay refuses
//! to go on, and `postrider slot recover` names what was published and is gone, and begins a new history.

use std::time::{Duration, Instant};

use xtask::services::PrivatePostgres;

use crate::drill::incident::{judge, names_the_mend, recover, refuses};
use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Result};
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// More log than was lost, without a transaction.
const FILL: &str = "select pg_logical_emit_message(false, 'drill', repeat('x', 1048576)) from generate_series(1, 16)";

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let mut server = tokio::task::block_in_place(|| PrivatePostgres::start(None, &[]))?;
    let scene = Scene::open(&servers.on(server.environment()), "restore").await?;
    let relay = scene.relay("relay", "")?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 3;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    writers.write_more(events / 2, PATIENCE).await?;
    process.stop()?;
    // These are in the backup and not delivered when it is made.
    writers.write_more(events / 2, PATIENCE).await?;
    screen.say("          a backup is made, and the relay goes on");
    let backup = tokio::task::block_in_place(|| server.backup())?;
    let process = relay.start()?;
    let behind = writers.committed();
    writers.write_more(events, PATIENCE).await?;
    // What the record says of transactions is sampled once a second, and counts when the stream has passed it.
    ledger.reaches(behind + events, PATIENCE).await?;
    writers.write_more(events / 2, PATIENCE).await?;
    ledger.goes_on(PATIENCE).await?;

    screen.say("          the server is lost, and the backup is put back");
    let died = Instant::now();
    writers.hold().await;
    tokio::task::block_in_place(|| {
        server.stop_immediate();
        server.restore(&backup)?;
        server.start_again()
    })?;
    let words = refuses(process).await?;
    // Now the log does not end before what was delivered any more.
    let sql = scene.database.connect().await?;
    sql.batch_execute(FILL).await.doing("writing log")?;
    let grown = refuses(relay.start()?).await?;
    screen.say("          postrider slot recover --yes");
    let recovered = recover(&relay)?;
    writers.release();
    let process = relay.start()?;
    writers.write_more(events, PATIENCE).await?;
    let written = writers.stop().await?;
    let (report, counted) = judge("restore", ledger, (&written, &scene.database), died).await?;
    process.stop()?;

    let report = recovered
        .told(report, "other", &counted)
        .wanted(names_the_mend(&words), || format!("the relay names what helps; it said {words}"))
        .wanted(words.contains("lost in the database"), || format!("the relay names the range; it said {words}"))
        .wanted(grown.contains("next transaction"), || {
            format!("it knows an older copy that has grown; it said {grown}")
        });
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}
