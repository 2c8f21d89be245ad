//! `demo latency`: events at a steady rate, each timed from its commit until an independent consumer has it.
//!
//! The loop is open: an event is due when its turn comes, whatever became of those before it, so a stall is counted for every
//! event that it held up. Postgres and Kafka are instances of the run's own, with the disk's honest `fsync`.

use std::collections::HashMap;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::error::{Doing, Error, Result};
use crate::latency::Latencies;
use crate::latency::arrivals::Arrivals;
use crate::latency::place::Place;
use crate::latency::report::{Figures, Report};
use crate::latency::writers::{Schedule, write};
use crate::screen::Screen;

/// The options of `demo latency`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Events a second, each a transaction of its own
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// How many seconds are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warm_up_seconds: u64,
    /// Which connections; both if not given
    #[arg(long, value_enum)]
    pub only: Option<Connections>,
}

/// How the relay is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Connections {
    /// Postgres by its Unix socket, Kafka without encryption.
    Plain,
    /// Postgres by TCP with TLS and `verify-full`, Kafka by TLS.
    Tls,
}

impl Connections {
    /// As the table says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
        }
    }
}

/// Measures each kind of connections in turn.
pub async fn bench(options: &Options, screen: &Screen) -> Result<Report> {
    let mut measured = Vec::new();
    for connections in [Connections::Plain, Connections::Tls] {
        if options.only.is_none_or(|only| only == connections) {
            measured.push((connections, measure(connections, options, &[], screen).await?));
        }
    }
    Ok(Report::new(measured))
}

/// Measures a relay with these variables.
pub(crate) async fn measure(
    connections: Connections,
    options: &Options,
    variables: &[(&str, &str)],
    screen: &Screen,
) -> Result<Figures> {
    screen.say(&format!("{}: starting a Postgres, a Kafka and the relay", connections.name()));
    let place = Place::open(connections).await?;
    let relay = variables.iter().fold(place.relay.clone(), |relay, (name, value)| relay.with(name, value));
    let mut relay = relay.start()?;
    let arrivals = Arrivals::start(&place)?;
    // One event, to know that all is connected and subscribed before the first that counts is due.
    write(&place, Schedule::at_once(1)).await?;
    arrivals.wait_for(1, Duration::from_secs(60)).await?;
    let length = Duration::from_secs(options.warm_up_seconds + options.seconds);
    screen.say(&format!("{}: {} events a second for {} s", connections.name(), options.rate, length.as_secs()));
    let schedule = Schedule::from_now(options.rate, options.rate * length.as_secs());
    let written = write(&place, schedule).await?;
    arrivals.wait_for(1 + schedule.events, Duration::from_secs(60)).await?;
    let received = arrivals.finish()?;
    relay.check()?;
    let usage = relay.stop()?;
    let committed = committed(&place).await?;
    place.clear().await?;

    let counted_from = options.rate * options.warm_up_seconds;
    let (mut from_commit, mut from_due) = (Latencies::default(), Latencies::default());
    for n in counted_from..schedule.events {
        let (Some(received), Some(committed)) = (received.get(&schedule.number(n)), committed.get(&schedule.number(n)))
        else {
            return Err(Error::Relay(format!("event {n} was written and did not arrive")));
        };
        // Both by the clock of this host.
        from_commit.record(u64::try_from(received - committed).unwrap_or(0));
        from_due.record(u64::try_from(received - schedule.due_us(n)).unwrap_or(0));
    }
    let seconds = written.as_secs_f64();
    let rate = schedule.events as f64 / seconds;
    Ok(Figures::new(rate, &from_commit.percentiles(), &from_due.percentiles(), usage))
}

/// When each event's transaction committed, in microseconds since 1970, by its number.
pub(crate) async fn committed(place: &Place) -> Result<HashMap<u64, i64>> {
    let client = place.database.connect().await?;
    let sql = "select (payload ->> 'n')::bigint, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
               from outbox_events";
    let rows = client.query(sql, &[]).await.doing("reading when each event was committed")?;
    Ok(rows.iter().map(|row| (row.get::<_, i64>(0).unsigned_abs(), row.get(1))).collect())
}
