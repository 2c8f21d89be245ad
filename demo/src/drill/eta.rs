//! An abandoned slot, a limit, and a log that grows steadily: is the time that `postrider slot list` tells the time that it takes?
//!
//! Beside it a relay reads its own slot and keeps up, so that it must be told no time at all.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use xtask::services::PrivatePostgres;

use crate::drill::{Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Error, Result};
use crate::relay::Relay;
use crate::screen::Screen;

/// How fast the log grows, in bytes a second, beside the events.
const RATE: u64 = 8 << 20;
/// How often a part of it is written.
const PART: Duration = Duration::from_millis(50);
/// How long the drill takes if nobody says, in seconds.
const SECONDS: u64 = 60;
/// A segment of the log, in bytes.
const SEGMENT: u64 = 16 << 20;
/// How long the log grows before the first question, so that its rate is steady.
const STEADY: Duration = Duration::from_secs(2);
/// How often the slot's end is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The slot that nobody reads.
const ABANDONED: &str = "abandoned";
/// How far a prediction may be off, in percent of the time that was left.
const ERROR_MAX: f64 = 20.0;
/// Predictions count while so much of the time is left: later, the wait for the next checkpoint is most of it.
const COUNTED_SHARE: f64 = 0.25;

/// What was told at a moment, both in seconds of the server's clock.
#[derive(Debug, Clone, Copy)]
struct Prediction {
    at: f64,
    left: f64,
}

/// When the slot came to its end, in seconds of the server's clock.
#[derive(Debug, Clone, Copy)]
struct End {
    /// When it had written as much as `max_slot_wal_keep_size` allows.
    limit: f64,
    /// When the server gave it up.
    lost: f64,
}

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let seconds = options.seconds.unwrap_or(SECONDS).max(20);
    let keep = format!("{}MB", (RATE * seconds - SEGMENT) >> 20);
    // Frequent checkpoints: it is a checkpoint that gives a slot up.
    let settings = [
        ("wal_level", "logical"),
        ("max_slot_wal_keep_size", &keep),
        ("max_wal_size", "32MB"),
        ("min_wal_size", "32MB"),
    ];
    let server = tokio::task::block_in_place(|| PrivatePostgres::start(None, &settings))?;
    let scene = Scene::open(&servers.on(server.environment()), "eta").await?;
    let relay = scene.relay("relay", "")?;
    relay.complete("migrate")?;
    relay.complete("init")?;
    let ledger = scene.ledger()?;
    let process = relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(200), ..Load::default() };
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);
    let client = scene.database.connect().await?;
    let create = format!("select pg_create_logical_replication_slot('{ABANDONED}', 'pgoutput')");
    client.batch_execute(&create).await.doing("creating the slot that nobody reads")?;
    let filler = fill(scene.database.connect().await?);
    tokio::time::sleep(STEADY).await;
    let end = tokio::spawn(watch(client));
    let (predictions, kept_up) = predict(&relay, &scene.name, &end, screen).await?;
    let end = end.await.map_err(|error| Error::Relay(format!("the watch over the slot ended: {error}")))??;
    filler.abort();
    let committed = writers.stop().await?;
    let counted = ledger.settle(&committed).await?;
    process.stop()?;
    let report = judge(Report::new("eta", counted, Duration::ZERO), &predictions, end, kept_up);
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

/// Writes to the log, steadily, until it is told to stop.
fn fill(client: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        let part = RATE * PART.as_millis() as u64 / 1000;
        let sql = format!("select pg_logical_emit_message(false, 'filler', repeat('x', {part}))");
        let mut ticks = tokio::time::interval(PART);
        loop {
            ticks.tick().await;
            if client.batch_execute(&sql).await.is_err() {
                return;
            }
        }
    })
}

/// Looks at the abandoned slot until it is lost.
async fn watch(client: Client) -> Result<End> {
    let sql = "select coalesce(safe_wal_size <= 0, false) or wal_status = 'lost', wal_status = 'lost', \
               extract(epoch from clock_timestamp())::float8 \
               from pg_replication_slots where slot_name = $1";
    let mut limit = None;
    loop {
        let row = client.query_one(sql, &[&ABANDONED]).await.doing("looking at the slot")?;
        let (reached, lost, clock): (bool, bool, f64) = (row.get(0), row.get(1), row.get(2));
        limit = limit.or(reached.then_some(clock));
        if let (true, Some(limit)) = (lost, limit) {
            return Ok(End { limit, lost: clock });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks again and again how long the slot lasts; and whether the relay's own, by its name, was told to keep up each time.
async fn predict(
    relay: &Relay,
    own: &str,
    end: &JoinHandle<Result<End>>,
    screen: &Screen,
) -> Result<(Vec<Prediction>, bool)> {
    let (mut predictions, mut kept_up) = (Vec::new(), true);
    while !end.is_finished() {
        let words = ["slot", "list", "--output", "json", "--sample", "2s", ABANDONED, own];
        let text = tokio::task::block_in_place(|| relay.ask(&words))?;
        let listing: Value =
            serde_json::from_str(&text).map_err(|error| Error::Relay(format!("slot list printed no JSON: {error}")))?;
        let server = &listing["servers"][0];
        let slot = |name: &str| server["slots"].as_array()?.iter().find(|slot| slot["name"] == name);
        kept_up &= slot(own).is_some_and(|slot| slot["keeps_up"] == true);
        let left = slot(ABANDONED).and_then(|slot| slot["seconds_to_limit"].as_f64());
        if let Some((at, left)) = server["server"]["clock"].as_f64().zip(left).filter(|(_, left)| *left > 0.0) {
            screen.say(&format!("          {left:.0} s are left, it says"));
            predictions.push(Prediction { at, left });
        }
    }
    Ok((predictions, kept_up))
}

/// How far the predictions were off, in percent of what was left, as the mean and at most.
fn errors(predictions: &[Prediction], end: f64) -> Option<(f64, f64)> {
    let first = predictions.first()?;
    let counted = predictions.iter().filter(|one| end - one.at >= COUNTED_SHARE * (end - first.at));
    let errors: Vec<f64> = counted.map(|one| ((one.at + one.left - end) / (end - one.at)).abs() * 100.0).collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    Some((mean, errors.iter().copied().fold(0.0, f64::max)))
}

fn judge(report: Report, predictions: &[Prediction], end: End, kept_up: bool) -> Report {
    let (of_limit, of_loss) = (errors(predictions, end.limit), errors(predictions, end.lost));
    let (mean, max) = of_loss.unwrap_or((f64::NAN, f64::NAN));
    let (limit_mean, limit_max) = of_limit.unwrap_or((f64::NAN, f64::NAN));
    report
        .with("predictions", predictions.len() as f64)
        .with("eta_error_mean_percent", mean)
        .with("eta_error_max_percent", max)
        .with("limit_error_mean_percent", limit_mean)
        .with("limit_error_max_percent", limit_max)
        .with("seconds_from_limit_to_loss", end.lost - end.limit)
        .wanted(predictions.len() > 5, || format!("more than five predictions, not {}", predictions.len()))
        .wanted(max <= ERROR_MAX, || format!("a time that is right within {ERROR_MAX} %, not {max:.1} %"))
        .wanted(kept_up, || "that the relay's own slot keeps up all the time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Prediction, errors};

    #[test]
    fn an_error_is_a_share_of_what_was_left_and_late_predictions_do_not_count() {
        let predictions = [(0.0, 110.0), (50.0, 40.0), (90.0, 1000.0)].map(|(at, left)| Prediction { at, left });
        let (mean, max) = errors(&predictions, 100.0).unwrap();
        assert!((mean - 15.0).abs() < 1e-9 && (max - 20.0).abs() < 1e-9, "{mean} {max}");
        assert!(errors(&[], 100.0).is_none());
    }
}
