//! The role `load`: Kafka's records fill tables of ClickHouse.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::info_span;

use crate::app::consumer::Reading;
use crate::app::dead_letters::Around;
use crate::app::worker::Worker;
use crate::app::{clickhouse, consumer};
use crate::config::load::TableKind;
use crate::config::worker::LoadConfig;
use crate::pipeline::{Assigned, DeadLetters, Ends, Error, Gathered, Limits, Progress, Status};
use crate::sinks::clickhouse::{ClickHouse, ClickHouseOptions, LoadOptions};
use crate::sinks::lots::KafkaLetters;
use crate::sources::kafka::{Cuts, KafkaSource, KafkaSourceOptions};
use crate::telemetry::Metrics;

/// Batches in flight at most: as many partitions as one process may reasonably have at once. Bytes are the bound under load.
const IN_FLIGHT_BATCHES_MAX: usize = 512;

/// Records and bytes of a batch, and how long they wait for each other: ClickHouse wants large inserts, and few.
const CUTS: Cuts = Cuts { records_max: 100_000, bytes_max: 48 << 20, age_max: Duration::from_secs(1) };

/// The same of topics that only append: encoded as it comes, a batch takes a third of the memory that its records had, and of large parts
/// ClickHouse merges fewer.
const CUTS_OF_PARTS: Cuts = Cuts { records_max: 500_000, bytes_max: 256 << 20, age_max: Duration::from_secs(1) };

/// Progress is kept by the consumer group: nothing is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// From Kafka to ClickHouse.
struct KafkaToClickHouse {
    source: KafkaSourceOptions,
    server: ClickHouseOptions,
    load: LoadOptions,
    dead_letters: Around,
    metrics: Arc<Metrics>,
}

impl Ends for KafkaToClickHouse {
    type Source = KafkaSource;
    type Sink = DeadLetters<ClickHouse, KafkaLetters>;

    async fn open_sink(&self) -> Result<(Self::Sink, Option<Progress>), Error> {
        let sink = ClickHouse::open(&self.server, self.load.clone(), Arc::clone(&self.metrics)).await?;
        Ok((self.dead_letters.open(sink, &self.metrics).await?, None))
    }

    async fn open_source(&self, _progress: Option<Progress>) -> Result<KafkaSource, Error> {
        KafkaSource::open(self.source.clone(), Arc::clone(&self.metrics)).await
    }
}

/// Loads until SIGTERM or SIGINT, then waits for what ClickHouse was given.
///
/// # Errors
/// What only a person can mend; all else is waited for and overcome.
pub async fn run(config: LoadConfig, accept_gap: bool) -> Result<(), Error> {
    let load = &config.load;
    let topics: BTreeSet<&str> = load.tables.iter().map(|table| table.topic.as_str()).collect();
    let names: Vec<&str> = topics.into_iter().collect();
    let group = load.group.clone();
    let status = Status::new(
        format!("group {group} of topics {}", names.join(", ")),
        format!("clickhouse {} database {}", config.clickhouse.url, config.clickhouse.database),
    );
    let worker = Worker::start(&config.process, status, &group, None).await?;
    let limits = Limits {
        in_flight_bytes_max: load.in_flight_bytes_max,
        in_flight_batches_max: IN_FLIGHT_BATCHES_MAX,
        progress_interval: PROGRESS_INTERVAL,
        drain_deadline: config.process.shutdown.drain_deadline,
    };
    let assigned = Assigned::default();
    let captured = load.tables.iter().map(|table| (table.topic.as_str(), table.kind == TableKind::Current));
    let dead_letters = Around::new((&config.kafka, &config.dead_letter), &group, captured, &assigned, &worker)?;
    // A value that was left out may be in an earlier record of the batch, so tables of current rows want it as a whole.
    let keeps = |topic: &str| load.tables.iter().any(|of| of.topic == topic && of.kind == TableKind::Current);
    let appending: Vec<&str> = names.iter().copied().filter(|topic| !keeps(topic)).collect();
    let gathered = Gathered::default();
    let reading = Reading {
        group: &group,
        topics: load.tables.iter().map(|table| (table.topic.as_str(), 0)).collect(),
        cuts: CUTS,
        in_parts: (&appending, CUTS_OF_PARTS),
        repeatable: true,
        accept_gap,
        assigned: assigned.clone(),
        gathered: gathered.clone(),
    };
    let source = consumer::options(&config.kafka, &config.consumer, reading);
    let (server, load) = (clickhouse::options(&config.clickhouse), clickhouse::load(load, assigned, gathered));
    clickhouse::watch_views(&server, &worker.metrics, worker.stop.clone());
    let ends = KafkaToClickHouse { source, server, load, dead_letters, metrics: Arc::clone(&worker.metrics) };
    let outcome = worker.work(&ends, limits, info_span!("load", group)).await;
    worker.end().await;
    outcome
}
