//! Where a run with captured tables takes place: a database, a slot, topics and a folder of its own.

use std::path::PathBuf;

use xtask::services::Environment;

use crate::config::Config;
use crate::database::Database;
use crate::error::{Doing, Result};
use crate::relay::Relay;
use crate::state::reader::TableTopics;

/// Everything that a run made.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) relay: Relay,
    bootstrap: String,
    folder: PathBuf,
}

impl Site {
    /// A new database, and a relay that is configured to capture all of its tables to topics that end in `topic`.
    pub(crate) async fn open(environment: &Environment, what: &str, topic: &str) -> Result<Self> {
        let now = crate::watcher::now_us() / 1000 % 0x1000_0000;
        let name = format!("{what}_{:x}_{now:x}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let database = Database::create(&environment.postgres, &name).await?;
        let config = Config {
            postgres: &environment.postgres,
            database: &name,
            slot: &name,
            topic: &format!("{name}.outbox.event.{{aggregate_type}}"),
            bootstrap_servers: &environment.kafka.bootstrap,
            progress_topic: &format!("{name}.progress"),
        };
        let relay = Relay::configure(&folder, &config)?
            .with("POSTRIDER_CAPTURE_TABLES", "public.*")
            .with("POSTRIDER_CAPTURE_TOPIC", &format!("{name}.cdc.{topic}"))
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data");
        Ok(Self { database, relay, bootstrap: environment.kafka.bootstrap.clone(), folder })
    }

    /// The publications and the slot, for the tables that there are.
    pub(crate) async fn init(&self) -> Result<()> {
        self.relay.complete("init")
    }

    /// The topics of these tables.
    pub(crate) fn topics(&self, tables: &[String]) -> TableTopics {
        TableTopics::new(&self.bootstrap, &format!("{}.cdc.", self.database.name()), tables)
    }

    /// Removes everything.
    pub(crate) async fn clear(self) -> Result<()> {
        TableTopics::new(&self.bootstrap, "", &[format!("{}.progress", self.database.name())]).delete().await?;
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad run.
    pub(crate) fn whereabouts(&self) -> String {
        let name = self.database.name();
        format!(
            "          kept to look at: database and slot {name}, topics {name}.*, relay log {}",
            self.relay.log().display()
        )
    }
}
