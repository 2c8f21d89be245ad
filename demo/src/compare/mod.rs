//! The real Debezium and the relay on the same database and broker, each with its own slot, publication and topics, and every record
//! of the one beside the other's: key, value, headers and order.
//!
//! # The walk
//! [`workload`] is made from a seed; [`place`] opens a database with it; [`debezium`] and [`ours`] start, make their snapshots and
//! stream while the workload is played; [`reader`] reads both sides' topics; [`ledger`] pairs the records and counts what no one of
//! [`rules`] explains. [`losses`] kills both where Debezium is known to lose changes.

pub(crate) mod debezium;
mod difference;
mod json;
mod ledger;
pub mod losses;
mod ours;
mod place;
mod reader;
mod record;
mod report;
mod rules;
mod workload;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use xtask::services::Environment;

use crate::compare::ledger::Ledger;
use crate::compare::place::{Place, Runner};
use crate::compare::reader::{Reader, Seen, Sources};
use crate::compare::workload::{MARKER_TOPIC, Player, Workload};
use crate::error::{Error, Result};
use crate::screen::Screen;

pub use report::Report;

/// How long neither side may deliver anything although something is awaited.
const STILL_MAX: Duration = Duration::from_secs(60);
/// How often it is looked how far the sides are.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The options of `demo compare`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Whom to compare with
    #[arg(value_enum)]
    pub peer: Peer,
    /// At least about how many records each side shall make
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Every key and value with its schema
    #[arg(long)]
    pub schemas: bool,
    /// A record at the begin and end of each transaction, and each change's place in its own
    #[arg(long)]
    pub transactions: bool,
    #[command(flatten)]
    pub(crate) modes: Modes,
    /// Where the random choices begin
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The major version of Postgres; if not given, the installed one
    #[arg(long)]
    pub postgres: Option<u16>,
    /// In place of the comparison: what each side loses where Debezium is known to lose changes
    #[arg(long)]
    pub losses: bool,
    /// Leave the rows out that are there already
    #[arg(long)]
    pub no_snapshot: bool,
    /// Compare the peer with itself, which shows what the comparison itself would make up
    #[arg(long)]
    pub itself: bool,
    /// Keep topics and logs also after a good verdict
    #[arg(long)]
    pub keep: bool,
}

/// How values are written that have more than one form: Debezium's names, which are ours too.
#[derive(Debug, Clone, Args)]
pub(crate) struct Modes {
    /// Debezium's `decimal.handling.mode`
    #[arg(long, value_parser = ["precise", "double", "string"], default_value = "precise")]
    decimal: String,
    /// Debezium's `time.precision.mode`, but for `nanoseconds`, where it ends at the edge values
    #[arg(long, value_parser = ["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds"], default_value = "adaptive")]
    time: String,
    /// Debezium's `interval.handling.mode`
    #[arg(long, value_parser = ["numeric", "string"], default_value = "numeric")]
    interval: String,
    /// Debezium's `binary.handling.mode`
    #[arg(long, value_parser = ["bytes", "base64", "base64-url-safe", "hex"], default_value = "bytes")]
    binary: String,
    /// Debezium's `hstore.handling.mode`
    #[arg(long, value_parser = ["json", "map"], default_value = "json")]
    hstore: String,
}

/// Another that does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Debezium's PostgreSQL connector
    Debezium,
}

/// Runs the comparison, and removes everything again after a good verdict.
pub async fn compare(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let started = Instant::now();
    let workload = Workload::new(options.seed, options.records);
    screen.say(&format!(
        "seed {}: {} rows, {} steps, {} topics",
        options.seed,
        workload.rows,
        workload.script.len(),
        workload.topics.len()
    ));
    let place = Place::open(environment, options.postgres, &workload.topics).await?;
    let findings = run(&place, options, &workload, screen).await;
    let report = findings.map(|findings| Report::new(options, &workload, findings, started.elapsed()));
    match &report {
        Ok(report) if report.passed() && !options.keep => place.clear().await?,
        _ => screen.say(&place.whereabouts()),
    }
    report
}

async fn run(place: &Place, options: &Options, workload: &Workload, screen: &Screen) -> Result<ledger::Findings> {
    let mut player = Player::new(&place.database).await?;
    player.prepare(workload).await?;
    let mut runners = place.start(options).await?;
    let sources = Sources {
        bootstrap: place.bootstrap.clone(),
        prefixes: place.prefixes.clone(),
        topics: workload.topics.iter().cloned().collect(),
        marker: MARKER_TOPIC.to_owned(),
    };
    let reader = Reader::start(sources, Ledger::new(workload.types.clone()))?;
    if options.no_snapshot {
        place.until_both_stream().await?;
    } else {
        until(&reader, &mut runners, |seen| seen.rows.iter().all(|rows| *rows >= workload.rows)).await?;
        screen.say(&format!("both snapshots have their {} rows", workload.rows));
    }
    for step in &workload.script {
        if let Some(marker) = player.play(step).await? {
            until(&reader, &mut runners, |seen| seen.marker.iter().all(|seen| *seen >= marker)).await?;
        }
    }
    for runner in runners {
        runner.stop()?;
    }
    place.expect_no_other_topics(workload)?;
    tokio::task::block_in_place(|| reader.end())
}

/// Waits until both sides have delivered enough.
async fn until(reader: &Reader, runners: &mut [Runner; 2], enough: impl Fn(Seen) -> bool) -> Result<()> {
    let mut moved = (Instant::now(), reader.seen());
    loop {
        let seen = reader.seen();
        if enough(seen) {
            return Ok(());
        }
        if seen.records != moved.1.records {
            moved = (Instant::now(), seen);
        }
        for runner in &mut *runners {
            runner.check()?;
        }
        if reader.is_over() || moved.0.elapsed() > STILL_MAX {
            return Err(Error::Relay(format!(
                "nothing more arrives: Debezium delivered {} records ({} of the snapshot, marker {}), the other {} ({}, {})",
                seen.records[0], seen.rows[0], seen.marker[0], seen.records[1], seen.rows[1], seen.marker[1]
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
