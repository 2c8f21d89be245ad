//! A table that is polled: a long queue drained by several relays, relays that are killed meanwhile, a steady stream beside the
//! database, and a transaction that stays open.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::drill::writers::Stamp;
use crate::drill::{Committed, Ledger, Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::relay::{Process, Relay};
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(600);

/// Keys of the queue; those of the writers begin behind them.
const KEYS: u64 = 10_000;

/// Events a second, unless another rate is asked for.
const RATE: u64 = 5_000;

/// The key of the transaction that stays open.
const OPEN_KEY: u64 = 90_000_000;

/// What polls.
const POLLING: &str = "[polling]\nlease_ms = 3000\n";

/// Relays that share the work.
const RELAYS: usize = 4;

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let scene = Scene::open(&servers, "polling").await?;
    let relays: Vec<Relay> = (0..RELAYS).map(|n| relay(&scene, n)).collect::<Result<_>>()?;
    relays[0].complete("migrate")?;
    relays[0].complete("init")?;
    let client = scene.database.connect().await?;
    let (rows, keys) = (options.rows.unwrap_or(700_000), options.keys.unwrap_or(KEYS));
    screen.say(&format!("          {rows} events of {keys} keys wait"));
    fill(&client, rows, keys).await?;
    let ledger = scene.ledger()?;
    let mut processes: Vec<Option<Process>> = Vec::new();
    for relay in &relays {
        processes.push(Some(relay.start()?));
    }
    let begun = Instant::now();
    drain(&ledger, rows, options, (&relays, &mut processes), screen).await?;
    let drained = begun.elapsed();
    screen.say(&format!("          drained in {:.1} s", drained.as_secs_f64()));
    let dead_after_drain = dead_tuples(&client).await?;

    let steady = steady(&scene, &client, &ledger, options, screen).await?;
    wait_until_noted(&client).await?;
    let dead = dead_tuples(&client).await?;
    let mut committed: Vec<Stamp> = queue(rows, keys).collect();
    committed.extend(steady.committed.iter().copied());
    let counted = ledger.settle(&committed.into_iter().collect()).await?;
    for process in processes.into_iter().flatten() {
        process.stop()?;
    }
    let report = Report::new("polling", counted, steady.gap)
        .with("drain_seconds", drained.as_secs_f64())
        .with("drain_events_per_s", rows as f64 / drained.as_secs_f64())
        .with("events_per_s", steady.events_per_s)
        .with("latency_p50_ms", steady.latency_ms.0)
        .with("latency_p99_ms", steady.latency_ms.1)
        .with("dead_tuples_after_drain", dead_after_drain)
        .with("dead_tuples", dead)
        .with("open_transaction_seconds", steady.open_for.as_secs_f64())
        .with("arrived_while_open", steady.arrived_while_open as f64)
        .wanted(steady.arrived_while_open > 0, || "events of others arrive while a transaction is open".into())
        .wanted(steady.held_back, || "the events of the open transaction come only when it commits".into());
    if report.passed() && !options.keep {
        scene.clear(true).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

fn relay(scene: &Scene, n: usize) -> Result<Relay> {
    // The section of the source is there already: the variable says the mode.
    Ok(scene.relay(&format!("relay{n}"), POLLING)?.with("POSTRIDER_SOURCE_MODE", "polling"))
}

/// The events of the queue: numbered within their key, in the order of insertion.
fn queue(rows: u64, keys: u64) -> impl Iterator<Item = Stamp> {
    (0..rows).map(move |row| Stamp { key: row % keys, n: row / keys + 1 })
}

async fn fill(client: &Client, rows: u64, keys: u64) -> Result<()> {
    const AT_ONCE: u64 = 20_000;
    for first in (0..rows).step_by(AT_ONCE as usize) {
        let last = (first + AT_ONCE).min(rows) - 1;
        let insert = format!(
            "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload)
             select 'order', 'key-' || r % {keys}, 'Happened',
                    jsonb_build_object('k', r % {keys}, 'n', r / {keys} + 1, 'text', repeat('x', 120))
             from generate_series({first}::bigint, {last}::bigint) r order by r"
        );
        client.batch_execute(&insert).await.doing("writing the queue")?;
    }
    Ok(())
}

/// Waits until the queue is drained; meanwhile relays are killed in turn and come back.
async fn drain(
    ledger: &Ledger,
    rows: u64,
    options: &Options,
    (relays, processes): (&[Relay], &mut [Option<Process>]),
    screen: &Screen,
) -> Result<()> {
    let kills = options.kills.unwrap_or(4);
    let (begun, mut killed) = (Instant::now(), 0);
    while ledger.distinct() < rows {
        if begun.elapsed() > PATIENCE {
            return Err(Error::Relay(format!(
                "only {} of {rows} events arrived within {PATIENCE:?}",
                ledger.distinct()
            )));
        }
        if killed < kills && ledger.distinct() > rows * (killed + 1) / (kills + 2) {
            let which = (killed as usize) % relays.len();
            screen.say(&format!("          relay {which} dies ({})", killed + 1));
            if let Some(process) = processes[which].take() {
                process.kill()?;
            }
            processes[which] = Some(relays[which].start()?);
            killed += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What a steady stream came to.
struct Steady {
    committed: Committed,
    events_per_s: f64,
    latency_ms: (f64, f64),
    gap: Duration,
    open_for: Duration,
    arrived_while_open: u64,
    held_back: bool,
}

/// Writes at a steady rate; in the middle of it a transaction stays open for a while.
async fn steady(scene: &Scene, client: &Client, ledger: &Ledger, options: &Options, screen: &Screen) -> Result<Steady> {
    let load = Load {
        rate: options.rate.unwrap_or(RATE),
        keys: KEYS,
        writers: 8,
        together: options.together.unwrap_or(1).max(1),
        first_key: 1_000_000,
        ..Load::default()
    };
    let rate = load.rate;
    let open_for = Duration::from_secs(options.seconds.unwrap_or(60));
    let warm_up = Duration::from_secs(5);
    let (begun, before) = (Instant::now(), ledger.distinct());
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    tokio::time::sleep(warm_up).await;
    let mut open = scene.database.connect().await?;
    let transaction = open.transaction().await.doing("opening a transaction")?;
    let insert = format!(
        "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload)
         values ('order', 'open', 'Happened', '{{\"k\": {OPEN_KEY}, \"n\": 1}}')"
    );
    transaction.batch_execute(&insert).await.doing("writing in a transaction")?;
    screen.say(&format!("          a transaction stays open for {} s, at {rate} events/s", open_for.as_secs()));
    let (at_open, opened) = (ledger.distinct(), Instant::now());
    tokio::time::sleep(open_for).await;
    let arrived_while_open = ledger.distinct() - at_open;
    let held_back = is_waiting(client).await?;
    transaction.commit().await.doing("committing late")?;
    let open_for = opened.elapsed();
    tokio::time::sleep(warm_up).await;
    let committed = writers.stop().await?;
    let (written, took) = (committed.len(), begun.elapsed());
    while ledger.distinct() < before + written + 1 && ledger.silent_for() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let delivered = (ledger.distinct() - before) as f64;
    let caught_up = begun.elapsed().max(took);
    let open_stamp = Stamp { key: OPEN_KEY, n: 1 };
    Ok(Steady {
        latency_ms: latency(client).await?,
        committed: committed.iter().copied().chain([open_stamp]).collect(),
        events_per_s: delivered / caught_up.as_secs_f64(),
        gap: ledger.longest_gap_since(begun),
        open_for,
        arrived_while_open,
        held_back,
    })
}

/// Whether nobody sees the event of the open transaction, which is not committed.
async fn is_waiting(client: &Client) -> Result<bool> {
    let sql = "select count(*) from public.outbox_events where aggregate_id = 'open'";
    let row = client.query_one(sql, &[]).await.doing("looking for the open transaction's event")?;
    Ok(row.get::<_, i64>(0) == 0)
}

/// From the beginning of the writing transaction until the row says that it was delivered, at the median and the 99th percentile,
/// of the newest hundred thousand rows but for that of the open transaction.
async fn latency(client: &Client) -> Result<(f64, f64)> {
    let sql = "select coalesce(percentile_cont(0.5) within group (order by ms), 0)::float8,
                      coalesce(percentile_cont(0.99) within group (order by ms), 0)::float8
               from (select extract(epoch from published_at - created_at) * 1000 as ms from public.outbox_events
                     where published_at is not null and aggregate_id <> 'open' order by seq desc limit 100000) newest";
    let row = client.query_one(sql, &[]).await.doing("reading the latencies")?;
    Ok((row.get(0), row.get(1)))
}

async fn wait_until_noted(client: &Client) -> Result<()> {
    let begun = Instant::now();
    let sql = "select exists (select from public.outbox_events where published_at is null)";
    while client.query_one(sql, &[]).await.doing("looking for rows that wait")?.get(0) {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(Error::Relay("rows still wait a minute after they arrived".into()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn dead_tuples(client: &Client) -> Result<f64> {
    // The counters are brought together once in a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sql = "select n_dead_tup::float8 from pg_stat_user_tables where relid = 'public.outbox_events'::regclass";
    Ok(client.query_one(sql, &[]).await.doing("reading the statistics")?.get(0))
}
