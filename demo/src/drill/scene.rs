//! Where a drill takes place: a database, an outbox, a topic, and as many relays as it needs, each with a folder of its own.

use std::path::PathBuf;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use xtask::services::{Environment, Postgres};

use crate::config::Config;
use crate::database::Database;
use crate::drill::Ledger;
use crate::error::{Doing, Error, Result};
use crate::relay::Relay;
use crate::topics::admin;

/// Partitions of the drill's topic.
const PARTITIONS: i32 = 6;

/// The services that a drill plays on.
#[derive(Debug, Clone)]
pub struct Servers {
    /// Where the database is made: the shared server, or one of the drill's own.
    pub postgres: Postgres,
    /// Kafka's address.
    pub bootstrap: String,
}

impl Servers {
    /// The shared ones.
    pub fn shared(environment: &Environment) -> Self {
        Self { postgres: environment.postgres.clone(), bootstrap: environment.kafka.bootstrap.clone() }
    }

    /// The same with another Postgres.
    #[must_use]
    pub fn on(self, postgres: Postgres) -> Self {
        Self { postgres, ..self }
    }
}

/// Everything that a drill made.
#[derive(Debug)]
pub struct Scene {
    /// What everything is called: the database, the slot, the folder, and the beginning of every topic.
    pub name: String,
    /// The services.
    pub servers: Servers,
    /// The database.
    pub database: Database,
    folder: PathBuf,
}

impl Scene {
    /// A database, and the topic of its events.
    pub async fn open(servers: &Servers, what: &str) -> Result<Self> {
        let now = crate::watcher::now_us() / 1000 % 0x1000_0000;
        let name = format!("drill_{what}_{:x}_{now:x}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let database = Database::create(&servers.postgres, &name).await?;
        let scene = Self { name, servers: servers.clone(), database, folder };
        let topic = scene.topic();
        let wanted = [NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1))];
        let options = AdminOptions::new().operation_timeout(Some(std::time::Duration::from_secs(15)));
        let made = admin(&servers.bootstrap)?.create_topics(&wanted, &options).await.doing("creating the topic")?;
        match made.into_iter().find_map(std::result::Result::err) {
            Some((topic, code)) => Err(Error::Relay(format!("topic {topic} could not be created: {code}"))),
            None => Ok(scene),
        }
    }

    /// The topic of the events of [`Load`](crate::drill::Load)'s aggregate type.
    pub fn topic(&self) -> String {
        format!("{}.order", self.name)
    }

    /// The topic of the progress record.
    pub fn progress_topic(&self) -> String {
        format!("{}.progress", self.name)
    }

    /// A relay called `name`, configured for the scene, with `more` text after what a run needs. Each has its own file and log.
    pub fn relay(&self, name: &str, more: &str) -> Result<Relay> {
        self.relay_on(&self.servers.postgres, name, more)
    }

    /// The same for another server with this database.
    pub fn relay_on(&self, postgres: &Postgres, name: &str, more: &str) -> Result<Relay> {
        let config = Config {
            postgres,
            database: &self.name,
            slot: &self.name,
            topic: &format!("{}.{{aggregate_type}}", self.name),
            bootstrap_servers: &self.servers.bootstrap,
            progress_topic: &self.progress_topic(),
        };
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        Relay::with_file(&folder, &format!("{}\n{more}", config.toml()), config.admin_url())
    }

    /// Begins to read what arrives.
    pub fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.servers.bootstrap, &self.topic(), PARTITIONS)
    }

    /// A folder of the drill's own, for whatever it keeps.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Removes topics and folder, and the database unless its server is gone with the drill.
    pub async fn clear(self, drop_database: bool) -> Result<()> {
        let topics = [self.topic(), self.progress_topic()];
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let deleted = admin(&self.servers.bootstrap)?.delete_topics(&names, &AdminOptions::new()).await;
        deleted.doing("deleting the drill's topics")?;
        if drop_database {
            self.database.drop().await?;
        }
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad drill.
    pub fn whereabouts(&self) -> String {
        let Self { name, folder, .. } = self;
        format!(
            "          kept to look at: database {name}, slot {name}, topics {name}.*, logs below {}",
            folder.display()
        )
    }
}
