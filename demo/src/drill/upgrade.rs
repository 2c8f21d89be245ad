//! A major upgrade by dump: a database of PostgreSQL 15 with events that were not delivered yet is dumped, restored on a server of
//! PostgreSQL 18, and the services move there. Transactions and places in the log are counted anew on it: `postrider slot recover`.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::services::PrivatePostgres;

use crate::database::Database;
use crate::drill::incident::{names_the_mend, recover, refuses};
use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// From and to.
const MAJORS: [u16; 2] = [15, 18];

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let [old, new] = MAJORS.map(|major| tokio::task::block_in_place(|| PrivatePostgres::start(Some(major), &[])));
    let (old, new) = (old?, new?);
    let scene = Scene::open(&servers.on(old.environment()), "upgrade").await?;
    let relay = scene.relay("old", "")?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 3;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    writers.write_more(events, PATIENCE).await?;

    screen.say("          the relay is killed; services write on, and then wait for the new server");
    let began = Instant::now();
    process.kill()?;
    writers.write_more(events / 3, PATIENCE).await?;
    writers.hold().await;
    let held = Instant::now();
    screen.say(&format!("          pg_dump of PostgreSQL {}, psql to PostgreSQL {}", MAJORS[0], MAJORS[1]));
    let (there, dump) = (new.environment(), scene.folder().join("dump.sql"));
    let database = Database::create(&there, &scene.name).await?;
    tokio::task::block_in_place(|| {
        // The roles: all but the superuser, who is there.
        run_to(old.program("pg_dumpall")?.arg("--roles-only"), &dump)?;
        run_from(old.program("psql")?.env("PGHOST", &there.socket_dir).env("PGPORT", there.port.to_string()), &dump)?;
        run_to(old.program("pg_dump")?.args(["--dbname", &scene.name]), &dump)?;
        let mut psql = old.program("psql")?;
        psql.env("PGHOST", &there.socket_dir).env("PGPORT", there.port.to_string());
        run_from(psql.args(["--set", "ON_ERROR_STOP=1", "--dbname", &scene.name]), &dump)
    })?;
    drop(old);
    let relay = scene.relay_on(&there, "new", "")?;
    let words = refuses(relay.start()?).await?;
    writers.move_to(&there);
    writers.release();
    let moved_after = held.elapsed();
    writers.write_more(events / 3, PATIENCE).await?;
    screen.say("          postrider slot recover --yes");
    let recovered = recover(&relay)?;
    let process = relay.start()?;
    writers.write_more(events, PATIENCE).await?;
    let committed = writers.stop().await?;
    let gap = ledger.longest_gap_since(began);
    let counted = ledger.settle(&committed).await?;
    process.stop()?;

    let report = Report::new("upgrade", counted, gap).with("services_waited_s", moved_after.as_secs_f64());
    let report = recovered
        .told(report, "other", &counted)
        .wanted(names_the_mend(&words), || format!("the relay names what helps; it said {words}"));
    if report.passed() && !options.keep {
        drop(database);
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

/// Runs a program, its output into a file.
fn run_to(command: &mut Command, file: &std::path::Path) -> Result<()> {
    let output = File::create(file).doing(format!("creating {}", file.display()))?;
    finish(command.stdin(Stdio::null()).stdout(output))
}

/// Runs a program on what a file holds.
fn run_from(command: &mut Command, file: &std::path::Path) -> Result<()> {
    let input = File::open(file).doing(format!("opening {}", file.display()))?;
    finish(command.stdin(input).stdout(Stdio::null()))
}

fn finish(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stderr(Stdio::piped()).spawn().doing(format!("starting {name}"))?;
    let output = child.wait_with_output().doing(format!("waiting for {name}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Relay(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}
