//! The role `invalidate`: Kafka's records make what is cached in Redis stale.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::info_span;

use crate::app::consumer::Reading;
use crate::app::dead_letters::Around;
use crate::app::worker::Worker;
use crate::app::{consumer, redis};
use crate::config::worker::InvalidateConfig;
use crate::pipeline::{Assigned, DeadLetters, Ends, Error, Gathered, Limits, Progress, Status};
use crate::sinks::lots::KafkaLetters;
use crate::sinks::redis::audit::Auditor;
use crate::sinks::redis::{Once, OnceOptions};
use crate::sinks::{InvalidatorOptions, Redis};
use crate::sources::kafka::{Cuts, KafkaSource, KafkaSourceOptions};
use crate::telemetry::Metrics;

/// Batches in flight at most. Each waits for its second pass, and at a low rate a batch is a single record: this holds what
/// comes in some seconds. Bytes are the bound under load.
const IN_FLIGHT_BATCHES_MAX: usize = 1 << 16;

/// Records and bytes of a batch: several are taken together anyway, so that a small one is not slower.
const CUTS: Cuts = Cuts { records_max: 5_000, bytes_max: 4 << 20, age_max: Duration::ZERO };

/// Progress is kept by the consumer group: nothing is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// From Kafka to Redis.
struct KafkaToRedis {
    source: KafkaSourceOptions,
    sink: InvalidatorOptions,
    once: OnceOptions,
    dead_letters: Around,
    metrics: Arc<Metrics>,
}

impl Ends for KafkaToRedis {
    type Source = KafkaSource;
    type Sink = DeadLetters<Once<Redis>, KafkaLetters>;

    async fn open_sink(&self) -> Result<(Self::Sink, Option<Progress>), Error> {
        let sink = Redis::open(self.sink.clone(), Arc::clone(&self.metrics)).await?;
        let sink = Once::new(sink, self.once.clone(), Arc::clone(&self.metrics));
        Ok((self.dead_letters.open(sink, &self.metrics).await?, None))
    }

    async fn open_source(&self, _progress: Option<Progress>) -> Result<KafkaSource, Error> {
        KafkaSource::open(self.source.clone(), Arc::clone(&self.metrics)).await
    }
}

/// Invalidates until SIGTERM or SIGINT, then waits for what needs its second pass.
///
/// # Errors
/// What only a person can mend; all else is waited for and overcome.
pub async fn run(config: InvalidateConfig, accept_gap: bool) -> Result<(), Error> {
    let (sink, audit) = (redis::invalidator(&config)?, redis::audit(&config)?);
    let group = config.invalidate.group.clone();
    let topics = sink.rules.topics();
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let servers: Vec<String> = config.redis.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    let status =
        Status::new(format!("group {group} of topics {}", names.join(", ")), format!("redis {}", servers.join(",")));
    let worker = Worker::start(&config.process, status, &group, None).await?;
    let limits = Limits {
        in_flight_bytes_max: sink.pending_bytes_max,
        in_flight_batches_max: IN_FLIGHT_BATCHES_MAX,
        progress_interval: PROGRESS_INTERVAL,
        drain_deadline: config.process.shutdown.drain_deadline,
    };
    let assigned = Assigned::default();
    // What makes a key stale does so in any order: nothing waits for a letter, or what it would invalidate stayed stale.
    let unordered = names.iter().map(|name| (*name, false));
    let dead_letters = Around::new((&config.kafka, &config.dead_letter), &group, unordered, &assigned, &worker)?;
    let reading = Reading {
        group: &group,
        topics: names.iter().map(|name| (*name, 0)).collect(),
        cuts: CUTS,
        in_parts: (&[], CUTS),
        repeatable: false,
        accept_gap,
        assigned,
        gathered: Gathered::default(),
    };
    let source = consumer::options(&config.kafka, &config.consumer, reading);
    let once = redis::once(&config);
    // Ends with the worker.
    let mut beside = JoinSet::new();
    if let Some(audit) = audit {
        beside.spawn(Auditor::new(audit, Arc::clone(&worker.metrics)).run());
    }
    let ends = KafkaToRedis { source, sink, once, dead_letters, metrics: Arc::clone(&worker.metrics) };
    let outcome = worker.work(&ends, limits, info_span!("invalidate", group)).await;
    worker.end().await;
    outcome
}
