//! Where a run takes place: a database, a slot, topics and a folder of its own, and what is behind Kafka.

use std::path::PathBuf;

use xtask::services::Environment;

use crate::chain::Downstream;
use crate::config::Config;
use crate::database::Database;
use crate::error::{Doing, Result};
use crate::nova;
use crate::relay::Relay;
use crate::screen::Screen;
use crate::state::reader::TableTopics;
use crate::topics::Topics;

/// Everything that a run made.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) database: Database,
    pub(super) topics: Topics,
    /// Of the captured tables.
    pub(super) tables: TableTopics,
    pub(super) relay: Relay,
    /// What is behind Kafka, unless the run ends there.
    pub(super) downstream: Option<Downstream>,
    folder: PathBuf,
}

impl Site {
    /// A new database, and a relay that is configured for it; with `chain`, the workers too.
    pub(super) async fn open(environment: &Environment, chain: bool, exactly_once: bool) -> Result<Self> {
        let name = name();
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let topics = Topics::new(&name, nova::AGGREGATE_TYPES);
        let database = Database::create(&environment.postgres, &name).await?;
        let config = Config {
            postgres: &environment.postgres,
            database: &name,
            slot: &name,
            topic: &topics.template(),
            bootstrap_servers: &environment.kafka.bootstrap,
            progress_topic: &topics.progress(),
        };
        let names: Vec<String> = nova::tables().iter().map(|table| table.name.to_owned()).collect();
        let captured: Vec<String> = names.iter().map(|name| format!("public.{name}")).collect();
        let relay = Relay::configure(&folder, &config)?
            .with("POSTRIDER_CAPTURE_TABLES", &captured.join(", "))
            .with("POSTRIDER_CAPTURE_TOPIC", &format!("{name}.cdc.{{table}}"));
        let relay = if exactly_once { relay.with("POSTRIDER_KAFKA_DELIVERY", "exactly-once") } else { relay };
        // The tables are empty when the slot is made: each row is a change, and what is behind Kafka hears of every change.
        let relay = if chain { relay.with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data") } else { relay };
        let tables = TableTopics::new(&environment.kafka.bootstrap, &format!("{name}.cdc."), &names);
        let downstream = match chain {
            true => Some(Downstream::open(environment, &name, &folder, &tables).await?),
            false => None,
        };
        Ok(Self { database, topics, tables, relay, downstream, folder })
    }

    /// The outbox, migrated by the relay, and Nova's tables; the publication and the slot; the topics.
    pub(super) async fn furnish(&self, environment: &Environment, screen: &Screen) -> Result<()> {
        let name = self.database.name();
        screen
            .say(&format!("          postrider migrate, postrider init (database, slot and topics are called {name})"));
        self.relay.complete("migrate")?;
        nova::create_schema(&self.database.connect().await?).await?;
        self.relay.complete("init")?;
        self.topics.create(&environment.kafka.bootstrap).await?;
        self.tables.create().await?;
        match &self.downstream {
            Some(downstream) => downstream.furnish().await,
            None => Ok(()),
        }
    }

    /// Removes everything.
    pub(super) async fn clear(self, environment: &Environment) -> Result<()> {
        self.topics.delete(&environment.kafka.bootstrap).await?;
        self.tables.delete().await?;
        if let Some(downstream) = &self.downstream {
            downstream.clear().await?;
        }
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad run.
    pub(super) fn whereabouts(&self) -> String {
        let (database, prefix) = (self.database.name(), self.topics.prefix());
        let relay = format!(
            "          kept to look at: database {database}, slot {database}, topics {prefix}*, relay log {}",
            self.relay.log().display()
        );
        match &self.downstream {
            Some(downstream) => format!("{relay}\n{}", downstream.whereabouts()),
            None => relay,
        }
    }
}

/// A name that no other run has: the process id and the time.
fn name() -> String {
    format!("demo_{:x}_{:x}", std::process::id(), crate::watcher::now_us() / 1000 % 0x1000_0000)
}
