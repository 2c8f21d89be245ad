//! The topic, the files, and a server of the bench's own with the table that everyone's are made like.

use std::path::PathBuf;
use std::time::Instant;

use xtask::services::{Environment, PrivateClickhouse};

use crate::chain::{ClickHouse, blocking};
use crate::error::{Doing, Result};
use crate::load::records;
use crate::relay::Relay;
use crate::screen::Screen;
use crate::state::reader::TableTopics;

/// The table of which everyone fills one of his own.
pub(super) const MODEL: &str = "post_events";

/// The columns that are given; the others have their defaults.
pub(super) const COLUMNS: &str = "event_time, event_id, user_id, post_id, author_id, action, dwell_ms, device, app_ver";

/// The events as they came, for the file of the engine's own format.
const ARRIVED: &str = "arrived";

/// Everything that the bench made.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) bootstrap: String,
    pub(super) server: PrivateClickhouse,
    pub(super) clickhouse: ClickHouse,
    pub(super) folder: PathBuf,
    topics: TableTopics,
}

impl Site {
    /// Starts the server, migrates it as a user does, and makes the topic.
    pub(super) async fn open(environment: &Environment) -> Result<Self> {
        let now = crate::watcher::now_us() / 1000 % 0x1000_0000;
        let name = format!("load_{:x}_{now:x}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let server = blocking(|| Ok(PrivateClickhouse::start()?)).await?;
        migrate(&server, &name, &folder)?;
        let clickhouse = ClickHouse::new(&server.url(), &name);
        let bootstrap = environment.kafka.bootstrap.clone();
        let topics = TableTopics::new(&bootstrap, &format!("{name}."), &[MODEL.to_owned()]);
        topics.create().await?;
        Ok(Self { name, bootstrap, server, clickhouse, folder, topics })
    }

    /// The topic.
    pub(super) fn topic(&self) -> String {
        format!("{}.{MODEL}", self.name)
    }

    /// The rows as JSON lines.
    pub(super) fn json(&self) -> PathBuf {
        self.folder.join("rows.json")
    }

    /// The rows in the engine's own format.
    pub(super) fn native(&self) -> PathBuf {
        self.folder.join("rows.native")
    }

    /// Fills the topic and both files. Returns the bytes of a record's value, on average.
    pub(super) async fn fill(&self, rows: u64, screen: &Screen) -> Result<f64> {
        screen.say(&format!("          writing {rows} events"));
        let begun = Instant::now();
        let (bootstrap, topic, file) = (self.bootstrap.clone(), self.topic(), self.json());
        let bytes = blocking(move || records::write(&bootstrap, &topic, &file, rows)).await?;
        let (json, native) = (self.json(), self.native());
        // In the order in which they came, which is not the table's.
        self.clickhouse.run(&format!("create table {ARRIVED} as {MODEL} engine = Log")).await?;
        self.clickhouse.run(&from_file(ARRIVED, &json.display().to_string(), "JSONEachRow")).await?;
        let out = format!("select {COLUMNS} from {ARRIVED} into outfile '{}' truncate format Native", native.display());
        self.clickhouse.run(&out).await?;
        self.clickhouse.run(&format!("drop table {ARRIVED} sync")).await?;
        screen.say(&format!("          written in {:.0} s", begun.elapsed().as_secs_f64()));
        Ok(bytes)
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        self.topics.delete().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a bad run.
    pub(super) fn whereabouts(&self) -> String {
        format!("          kept to look at: topics {}.*, files in {}", self.name, self.folder.display())
    }
}

/// The engine's own way to load a file. Times are of ISO 8601 form, as the loader reads them too.
pub(super) fn from_file(table: &str, file: &str, format: &str) -> String {
    format!(
        "insert into {table} ({COLUMNS}) from infile '{file}' compression 'none' \
         settings date_time_input_format = 'best_effort', async_insert = 0 format {format}"
    )
}

/// Nova's tables, in a database called `name`.
pub(crate) fn migrate(server: &PrivateClickhouse, name: &str, folder: &std::path::Path) -> Result<()> {
    let toml = format!("[clickhouse]\nurl = \"{}\"\ndatabase = \"{name}\"\n", server.url());
    let files = xtask::root().join("clickhouse").display().to_string();
    Relay::worker(folder, Relay::LOAD, &toml)?.ask(&["migrate", "--clickhouse", &files]).map(drop)
}
