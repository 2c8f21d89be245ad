//! Where a measurement takes place: servers of its own, with or without TLS, and a relay configured for them.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use xtask::services::{PrivateKafka, PrivatePostgres};

use crate::config::Config;
use crate::database::Database;
use crate::error::{Doing, Result};
use crate::latency::bench::Connections;
use crate::relay::Relay;
use crate::topics::Topics;
use crate::watcher::now_us;

/// The kinds of things that events are about.
const AGGREGATE_TYPES: &[&str] = &["order"];

/// Settings of the server: what is acknowledged is on the disk, and the time of each commit is kept to the microsecond.
const POSTGRES: &[(&str, &str)] = &[("fsync", "on"), ("track_commit_timestamp", "on")];

/// Everything that a measurement needs.
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) topics: Topics,
    pub(super) relay: Relay,
    bootstrap: String,
    folder: PathBuf,
    /// Last, so that they outlive what is connected to them.
    _servers: (PrivatePostgres, PrivateKafka),
}

impl Place {
    /// Starts the servers, and sets up outbox, slot and topics.
    pub(super) async fn open(_connections: Connections) -> Result<Self> {
        let name = format!("latency_{:x}_{:x}", std::process::id(), now_us() / 1000 % 0x1000_0000);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let postgres = PrivatePostgres::start(None, POSTGRES)?;
        let kafka = PrivateKafka::start(&[])?;
        let (server, bootstrap) = (postgres.environment(), kafka.bootstrap());
        let topics = Topics::new(&name, AGGREGATE_TYPES);
        let database = Database::create(&server, &name).await?;
        let config = Config {
            postgres: &server,
            database: &name,
            slot: &name,
            topic: &topics.template(),
            bootstrap_servers: &bootstrap,
            progress_topic: &topics.progress(),
        };
        let relay = Relay::configure(&folder, &config)?;
        relay.complete("migrate")?;
        relay.complete("init")?;
        topics.create(&bootstrap).await?;
        Ok(Self { database, topics, relay, bootstrap, folder, _servers: (postgres, kafka) })
    }

    /// What a Kafka client needs to connect as the relay does.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }
}
