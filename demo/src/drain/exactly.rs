//! `demo exactly-once`: what Kafka's transactions cost, beside the same relay without them on the same backlog, round by round;
//! and what an event at a steady pace waits for them.

use std::fmt;

use clap::Args;
use serde::Serialize;
use xtask::services::Environment;

use crate::drain::backlog::{AGGREGATE_TYPES, Backlog};
use crate::drain::gauge::Gauge;
use crate::error::Result;
use crate::figures::{median, median_ratio, rounded, write_rates};
use crate::latency::{self, Connections};
use crate::screen::Screen;
use crate::topics::Topics;

/// The options of `demo exactly-once`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many transactions of one event each make the backlog
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// How many rounds; in each, the backlog is drained once with transactions and once without
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Events a second of the measurement of latency
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// Its length
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
}

/// What turns transactions on.
const DELIVERY: &str = "POSTRIDER_KAFKA_DELIVERY";

/// The two ways to deliver.
const WAYS: [&str; 2] = ["at-least-once", "exactly-once"];

/// What it came to.
#[derive(Debug)]
pub struct Report {
    /// Events a second, by way and round.
    rates: [Vec<f64>; 2],
    /// Commit to consumer, in milliseconds: the median and the 99th percentile.
    latencies: [(f64, f64); 2],
    events: u64,
    rate: u64,
}

/// The JSON form; its keys are a contract with those who read it.
#[derive(Debug, Serialize)]
struct Figures {
    events: u64,
    at_least_once_events_per_s: f64,
    exactly_once_events_per_s: f64,
    ratio: f64,
    rate: u64,
    at_least_once_p50_ms: f64,
    at_least_once_p99_ms: f64,
    exactly_once_p50_ms: f64,
    exactly_once_p99_ms: f64,
}

/// Measures both ways.
pub async fn bench(environment: &Environment, options: &Options, screen: &Screen) -> Result<Report> {
    let mut backlog = Backlog::open(environment).await?;
    backlog.prepare(environment, options.events, screen).await?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..options.runs {
        for turn in 0..2 {
            // Who begins changes from round to round.
            let index = (turn + round as usize) % 2;
            let rate = lap(environment, &backlog, WAYS[index], round).await?;
            screen.say(&format!("round {}  {:<28} {rate:>9.0} events/s", round + 1, WAYS[index]));
            rates[index].push(rate);
        }
    }
    backlog.clear().await?;
    let mut latencies = [(0.0, 0.0); 2];
    let steady = latency::Options { rate: options.rate, seconds: options.seconds, warm_up_seconds: 3, only: None };
    for (index, way) in WAYS.into_iter().enumerate() {
        let figures = latency::measure(Connections::Plain, &steady, &[(DELIVERY, way)], screen).await?;
        latencies[index] = (figures.p50_ms, figures.p99_ms);
        screen.say(&format!("{way:<28} p50 {} ms, p99 {} ms", figures.p50_ms, figures.p99_ms));
    }
    Ok(Report { rates, latencies, events: options.events, rate: options.rate })
}

/// From the first event to the confirmation of the last, which follows its commit in Kafka.
async fn lap(environment: &Environment, backlog: &Backlog, way: &str, round: u64) -> Result<f64> {
    let bootstrap = &environment.kafka.bootstrap;
    let slot = format!("{}_{}_{round}", backlog.name(), way.replace('-', "_"));
    backlog.copy_slot(&slot).await?;
    let topics = Topics::new(&slot, AGGREGATE_TYPES);
    topics.create(bootstrap).await?;
    let relay = backlog.relay(&environment.postgres, &slot, &topics, bootstrap)?.with(DELIVERY, way);
    let gauge = Gauge::new(&backlog.sql, &slot, backlog.end);
    let mut process = relay.start()?;
    let first = gauge.first().await?;
    let last = gauge.confirmed(|| process.check().map(|_| ())).await?;
    process.stop()?;
    topics.delete(bootstrap).await?;
    backlog.drop_slot(&slot).await?;
    Ok(backlog.events as f64 / last.duration_since(first).as_secs_f64())
}

impl Report {
    /// The figures as one line of JSON.
    pub fn json(&self) -> String {
        let [at_least, exactly] = &self.rates;
        let [at_least_latency, exactly_latency] = self.latencies;
        let figures = Figures {
            events: self.events,
            at_least_once_events_per_s: median(at_least).round(),
            exactly_once_events_per_s: median(exactly).round(),
            ratio: rounded(median_ratio(exactly, at_least)),
            rate: self.rate,
            at_least_once_p50_ms: at_least_latency.0,
            at_least_once_p99_ms: at_least_latency.1,
            exactly_once_p50_ms: exactly_latency.0,
            exactly_once_p99_ms: exactly_latency.1,
        };
        serde_json::to_string(&figures).expect("numbers are always JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  a backlog of {} events              events/s      slowest      fastest", self.events)?;
        for (way, rates) in WAYS.into_iter().zip(&self.rates) {
            write_rates(f, way, rates)?;
        }
        let [at_least, exactly] = &self.rates;
        writeln!(f, "  ratio {:.2}", median_ratio(exactly, at_least))?;
        writeln!(f, "\n  commit → consumer at {} events/s        p50 ms       p99 ms", self.rate)?;
        for (way, (p50, p99)) in WAYS.into_iter().zip(self.latencies) {
            writeln!(f, "  {way:<28} {p50:>14.1} {p99:>12.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::drain::exactly::Report;

    #[test]
    fn the_ratio_is_that_of_the_rounds() {
        let report = Report {
            rates: [vec![100.0, 50.0], vec![80.0, 40.0]],
            latencies: [(1.0, 2.0), (3.0, 4.0)],
            events: 10,
            rate: 1000,
        };
        let json = report.json();
        assert!(json.contains(r#""ratio":0.8"#) && json.contains(r#""exactly_once_p99_ms":4.0"#), "{json}");
        assert!(report.to_string().contains("ratio 0.80"), "{report}");
    }
}
