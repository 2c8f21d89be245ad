//! Where it takes place: servers of its own, records as a relay publishes them, and an invalidator with rules.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use redis::aio::MultiplexedConnection;
use xtask::services::PrivateRedis;

use crate::chain::Group;
use crate::config::quoted;
use crate::error::{Doing, Error, Result};
use crate::latency::Connections;
use crate::latency::place::Place;
use crate::loader::Metrics;
use crate::relay::{Process, Relay};
use crate::topics::{self, PARTITIONS};

/// How long the invalidator may make no progress.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);

/// How long the producer may take over its last records.
const FLUSH_MAX: Duration = Duration::from_secs(120);

/// The servers.
pub(super) struct Scene {
    pub(super) place: Place,
    pub(super) redis: PrivateRedis,
    folder: PathBuf,
}

/// An invalidator at work.
pub(super) struct Worker {
    pub(super) process: Process,
    group: Group,
    metrics_url: String,
}

impl Scene {
    pub(super) async fn open() -> Result<Self> {
        let place = Place::open(Connections::Plain).await?;
        // No log of commands: what is measured is the cache that most services have. Removals are told to who asks.
        let settings = [("appendonly", "no"), ("notify-keyspace-events", "Eg")];
        let redis = crate::chain::blocking(move || Ok(PrivateRedis::start(&settings)?)).await?;
        let folder = place.folder().join("invalidate");
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        Ok(Self { place, redis, folder })
    }

    pub(super) async fn clear(self) -> Result<()> {
        self.place.clear().await
    }

    /// A connection to Redis.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.redis.url()).doing("reading the address of Redis")?;
        client.get_multiplexed_async_connection().await.doing("connecting to Redis")
    }

    /// Forgets everything in Redis.
    pub(super) async fn flush(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        redis::cmd("FLUSHALL").arg("ASYNC").query_async::<()>(&mut connection).await.doing("emptying Redis")
    }

    /// The name of a topic of this run.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.place.topics.prefix())
    }

    /// Makes a topic.
    pub(super) async fn create(&self, topic: &str) -> Result<()> {
        topics::create(self.place.bootstrap(), &[topic.to_owned()], PARTITIONS).await
    }

    /// Starts an invalidator that belongs to the group `name` and reads these topics by these rules.
    pub(super) fn start(&self, name: &str, topics: &[&str], rules: &str) -> Result<Worker> {
        let group = self.topic(name);
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).doing("choosing a port")?.port();
        let toml = format!(
            "[kafka]\nbootstrap_servers = {}\n\n[redis]\nurl = {}\n\n[invalidate]\ngroup = {}\nsweep_keys_per_second = 100000000\n\n\
             [admin]\nlisten = \"127.0.0.1:{port}\"\n\n{rules}",
            quoted(self.place.bootstrap()),
            quoted(self.redis.url().trim_end_matches('/')),
            quoted(&group),
        );
        let process = Relay::worker(&self.folder, Relay::INVALIDATE, &toml)?.start()?;
        let partitions =
            topics.iter().flat_map(|topic| (0..PARTITIONS).map(|partition| ((*topic).to_owned(), partition))).collect();
        let group = Group::new(self.place.bootstrap(), &group, partitions);
        Ok(Worker { process, group, metrics_url: format!("http://127.0.0.1:{port}/metrics") })
    }
}

impl Worker {
    /// How many records it has not committed.
    pub(super) async fn behind(&mut self) -> Result<u64> {
        self.process.check()?;
        self.group.behind().await
    }

    /// Waits until no more than so many records are not committed; how many are not, and when that was.
    pub(super) async fn until(&mut self, at_most: u64) -> Result<(u64, Instant)> {
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let behind = self.behind().await?;
            let now = Instant::now();
            if behind <= at_most {
                return Ok((behind, now));
            }
            if behind < last {
                (last, moved) = (behind, now);
            }
            if moved.elapsed() > NO_PROGRESS_MAX {
                return Err(Error::Relay(format!("the invalidator makes no progress: {behind} records to go")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its metrics now.
    pub(super) async fn metrics(&self) -> Result<Metrics> {
        let metrics = Metrics::ask(&self.metrics_url).await;
        metrics.ok_or_else(|| Error::Relay("the invalidator does not answer for its metrics".to_owned()))
    }
}

/// A producer of records as the relay publishes them.
pub(super) struct Records {
    producer: ThreadedProducer<DefaultProducerContext>,
    sent: u64,
}

impl Records {
    pub(super) fn new(scene: &Scene) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", scene.place.bootstrap())
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .create()
            .doing("starting a producer")?;
        Ok(Self { producer, sent: 0 })
    }

    /// Hands over a created row, in the envelope of a change, with a position after all before.
    pub(super) async fn created(&mut self, topic: &str, table: &str, key: &str, row: &str) -> Result<()> {
        self.sent += 1;
        let value = format!(
            r#"{{"before":null,"after":{row},"source":{{"version":"1","connector":"postgresql","name":"nova","ts_ms":1760783445123,"snapshot":"false","db":"nova","sequence":null,"schema":"public","table":"{table}","txId":{0},"lsn":{0},"xmin":null}},"op":"c","ts_ms":1760783445123,"transaction":null}}"#,
            self.sent
        );
        let position = format!("{:032x}", u128::from(self.sent) << 48);
        loop {
            let headers = OwnedHeaders::new().insert(Header { key: "postrider-position", value: Some(&position) });
            match self.producer.send(BaseRecord::to(topic).key(key).payload(&value).headers(headers)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error).doing("producing a record"),
            }
        }
    }

    /// Waits until all were acknowledged.
    pub(super) async fn flush(&self) -> Result<()> {
        let producer = self.producer.clone();
        crate::chain::blocking(move || producer.flush(FLUSH_MAX).doing("producing the last records")).await
    }
}
