//! Where a comparison takes place: a Postgres and a database of its own, a publication and topics for each side.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use xtask::services::{Environment, Postgres, PrivatePostgres};

use crate::compare::debezium::Engine;
use crate::compare::workload::Workload;
use crate::compare::{LOOK_EVERY, Options, ours};
use crate::database::Database;
use crate::error::{Doing, Error, Result};
use crate::relay::Process;
use crate::topics;
use crate::watcher::now_us;

/// How long a request about topics may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// Everything that a comparison needs.
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) bootstrap: String,
    /// What the topics of each side begin with.
    pub(super) prefixes: [String; 2],
    folder: PathBuf,
    topics: Vec<String>,
    /// Last, so that it outlives what is connected to it.
    _server: PrivatePostgres,
}

/// Somebody who reads the log.
pub(super) enum Runner {
    Debezium(Engine),
    Ours(Process),
}

impl Runner {
    /// An error if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self {
            Self::Debezium(engine) => engine.check(),
            Self::Ours(process) => process.check().map(drop),
        }
    }

    /// Lets it deliver what it has, and end.
    pub(super) fn stop(self) -> Result<()> {
        match self {
            Self::Debezium(engine) => engine.stop(),
            Self::Ours(process) => process.stop().map(drop),
        }
    }
}

impl Place {
    /// Starts the server, makes the database and every topic, each of one partition: so a topic's order is the order of changes.
    pub(super) async fn open(
        environment: &Environment,
        postgres: Option<u16>,
        topics: &BTreeSet<String>,
    ) -> Result<Self> {
        let run = format!("compare_{:x}_{:x}", std::process::id(), now_us() / 1000 % 0x1000_0000);
        let folder = std::env::temp_dir().join(&run);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let server = PrivatePostgres::start(postgres, &[("max_wal_senders", "10"), ("lc_monetary", "C")])?;
        let database = Database::create(&server.environment(), &run).await?;
        let prefixes = ["debezium", "other"].map(|side| format!("{run}_{side}"));
        let names = prefixes.iter().flat_map(|prefix| topics.iter().map(move |topic| format!("{prefix}.{topic}")));
        let topics: Vec<String> = names.collect();
        let bootstrap = environment.kafka.bootstrap.clone();
        topics::create(&bootstrap, &topics, 1).await?;
        Ok(Self { database, bootstrap, prefixes, folder, topics, _server: server })
    }

    /// Starts both sides.
    pub(super) async fn start(&self, options: &Options) -> Result<[Runner; 2]> {
        self.publish().await?;
        let left = Runner::Debezium(Engine::start(self, &self.prefixes[0], options)?);
        let right = match options.itself {
            true => Runner::Debezium(Engine::start(self, &self.prefixes[1], options)?),
            false => Runner::Ours(ours::start(self, &self.prefixes[1], options)?),
        };
        Ok([left, right])
    }

    /// Makes a publication of all tables for each side.
    pub(super) async fn publish(&self) -> Result<()> {
        let sql = self.database.connect().await?;
        for prefix in &self.prefixes {
            let publication = format!("create publication {prefix} for all tables");
            sql.batch_execute(&publication).await.doing("creating the publications")?;
        }
        Ok(())
    }

    /// Waits until both sides read the log.
    pub(super) async fn until_both_stream(&self) -> Result<()> {
        let sql = self.database.connect().await?;
        let deadline = Instant::now() + REQUEST_MAX;
        while Instant::now() < deadline {
            let count = "select count(*) from pg_replication_slots where active and database = current_database()";
            let active: i64 = sql.query_one(count, &[]).await.doing("looking at the slots")?.get(0);
            if active == 2 {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Error::Relay(format!("not both sides read the log after {REQUEST_MAX:?}")))
    }

    /// The server, as its clients see it.
    pub(super) fn server(&self) -> &Postgres {
        self.database.server()
    }

    /// A folder for a side's files.
    pub(super) fn folder(&self, side: &str) -> Result<PathBuf> {
        let folder = self.folder.join(side);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// An error if a side has written to a topic that the workload does not know.
    pub(super) fn expect_no_other_topics(&self, workload: &Workload) -> Result<()> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().doing("connecting to Kafka")?;
        let metadata = consumer.fetch_metadata(None, REQUEST_MAX).doing("listing the topics")?;
        let names = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
        let side = |name: &str| {
            self.prefixes.iter().find_map(|prefix| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned()))
        };
        let others: Vec<&str> =
            names.filter(|name| side(name).is_some_and(|name| !workload.topics.contains(&name))).collect();
        match others.is_empty() {
            true => Ok(()),
            false => Err(Error::Relay(format!("topics that nobody expected: {}", others.join(", ")))),
        }
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        self.database.drop().await?;
        let progress = self.prefixes.iter().map(|prefix| ours::progress_topic(prefix));
        let names: Vec<String> = self.topics.iter().cloned().chain(progress).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        topics::admin(&self.bootstrap)?
            .delete_topics(&names, &AdminOptions::new())
            .await
            .doing("deleting the topics")?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad verdict.
    pub(super) fn whereabouts(&self) -> String {
        format!(
            "logs are in {}, the records in the topics {}.* and {}.*",
            self.folder.display(),
            self.prefixes[0],
            self.prefixes[1]
        )
    }
}
