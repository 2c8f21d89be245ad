//! The broker goes away while the database goes on writing: the guard releases the slot before it holds back more than the server
//! allows, and all that waits in the table arrives when the broker is back. Nobody does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use xtask::services::{PrivateKafka, PrivatePostgres};

use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::screen::Screen;

/// What the server may keep for a slot, in MiB.
const KEEP_MIB: u64 = 256;
/// The share of it at which the guard acts, in percent: what is written until the server removes segments comes on top.
const PERCENT: u64 = 50;
/// What the rest of the database writes each second, in MiB: a budget is used up in seconds and not in hours.
const BALLAST_MIB: u64 = 8;
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let keep = format!("{KEEP_MIB}MB");
    let settings = [("wal_level", "logical"), ("max_slot_wal_keep_size", keep.as_str()), ("max_wal_size", "128MB")];
    let server = tokio::task::block_in_place(|| PrivatePostgres::start(None, &settings))?;
    let mut kafka = tokio::task::block_in_place(|| PrivateKafka::start(&[]))?;
    let servers = Servers { bootstrap: kafka.bootstrap(), ..servers.on(server.environment()) };
    let scene = Scene::open(&servers, "guard").await?;
    let more = format!("[guard]\naction = \"release\"\nwal_percent_max = {PERCENT}\ninterval_ms = 500\n");
    let relay = scene.relay("relay", &more)?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let mut process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(1000), ..Load::default() };
    let events = load.rate;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    writers.write_more(events, PATIENCE).await?;
    ledger.goes_on(PATIENCE).await?;

    let watch = Watch::start(scene.database.connect().await?, scene.database.connect().await?, &scene.name);
    screen.say("          the broker is gone; the database writes on");
    tokio::task::block_in_place(|| kafka.stop());
    let gone = Instant::now();
    watch.released(gone).await?;
    let released_in = gone.elapsed();
    screen.say(&format!("          the slot was released after {:.1} s", released_in.as_secs_f64()));
    // Longer than the server would have kept the slot.
    let away = Duration::from_secs(options.seconds.unwrap_or(60));
    while gone.elapsed() < away {
        process.check()?;
        tokio::time::sleep(LOOK).await;
    }
    screen.say("          the broker is back");
    tokio::task::block_in_place(|| kafka.start_again())?;
    let back = Instant::now();
    ledger.goes_on(PATIENCE).await?;
    writers.write_more(events, PATIENCE).await?;
    let committed = writers.stop().await?;
    let counted = ledger.settle(&committed).await?;
    let recovered = back.elapsed();
    let (peak, written) = watch.stop().await?;
    process.stop()?;
    let allowed = KEEP_MIB << 20;
    let report = Report::new("guard", counted, recovered)
        .with("retained_peak_bytes", peak as f64)
        .with("retained_allowed_bytes", allowed as f64)
        .with("wal_written_bytes", written as f64)
        .with("released_after_s", released_in.as_secs_f64())
        .wanted(peak <= allowed, || format!("the slot never holds back more than {KEEP_MIB} MiB"))
        .wanted(written > allowed, || format!("more than {KEEP_MIB} MiB were written meanwhile"));
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

/// Writes what the rest of a database writes, and looks what the slot holds back.
struct Watch {
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<Result<()>>; 2],
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    peak: AtomicU64,
    written: AtomicU64,
    missing: AtomicBool,
}

impl Watch {
    fn start(looking: Client, writing: Client, slot: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let look = tokio::spawn(look(looking, slot.to_owned(), Arc::clone(&shared)));
        let write = tokio::spawn(write(writing, Arc::clone(&shared)));
        Self { shared, tasks: [look, write] }
    }

    /// Waits until the slot is not there.
    async fn released(&self, since: Instant) -> Result<()> {
        while !self.shared.missing.load(Ordering::Relaxed) {
            if since.elapsed() > PATIENCE {
                return Err(Error::Relay(format!("the slot was not released within {PATIENCE:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The most that the slot held back, and what was written in all, in bytes.
    async fn stop(self) -> Result<(u64, u64)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.map_err(|error| Error::Relay(format!("the drill's watch ended badly: {error}")))??;
        }
        Ok((self.shared.peak.load(Ordering::Relaxed), self.shared.written.load(Ordering::Relaxed)))
    }
}

async fn look(client: Client, slot: String, shared: Arc<Shared>) -> Result<()> {
    let position = "select (pg_current_wal_lsn() - '0/0')::bigint";
    let retained = "select (pg_current_wal_lsn() - restart_lsn)::bigint from pg_replication_slots where slot_name = $1";
    let begun: i64 = client.query_one(position, &[]).await.doing("asking for the end of the log")?.get(0);
    while !shared.stop.load(Ordering::Relaxed) {
        let row = client.query_opt(retained, &[&slot]).await.doing("asking what the slot holds back")?;
        shared.missing.store(row.is_none(), Ordering::Relaxed);
        let held: Option<i64> = row.and_then(|row| row.get(0));
        shared.peak.fetch_max(held.unwrap_or(0).unsigned_abs(), Ordering::Relaxed);
        let now: i64 = client.query_one(position, &[]).await.doing("asking for the end of the log")?.get(0);
        shared.written.store((now - begun).unsigned_abs(), Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn write(client: Client, shared: Arc<Shared>) -> Result<()> {
    let ballast = format!(
        "select pg_logical_emit_message(false, 'ballast', repeat('x', 1048576)) from generate_series(1, {BALLAST_MIB})"
    );
    while !shared.stop.load(Ordering::Relaxed) {
        let next = Instant::now() + Duration::from_secs(1);
        client.batch_execute(&ballast).await.doing("writing what the rest of the database writes")?;
        tokio::time::sleep_until(next.into()).await;
    }
    Ok(())
}
