//! A database of one test in the shared ClickHouse, dropped at its end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use postrider_relay::sinks::clickhouse::migrations::{self, MigrateError, Migration};
use postrider_relay::sinks::clickhouse::{ClickHouseOptions, Client};
use xtask::services::{self, Service, UpOptions};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The database, and how it is reached.
pub(crate) struct Database {
    pub(crate) options: ClickHouseOptions,
    pub(crate) client: Client,
}

impl Database {
    /// A name for it; the first migration makes it.
    pub(crate) fn named(test: &str) -> Self {
        let only = vec![Service::Postgres, Service::Kafka, Service::Clickhouse];
        let environment = services::obtain(&UpOptions { only, ..UpOptions::default() }).expect("services");
        let url = environment.clickhouse_url.expect("ClickHouse is among the services");
        let name = format!("{test}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let options = ClickHouseOptions::new(url, name);
        Self { client: Client::new(&options).expect("a client"), options }
    }

    /// With Nova's tables.
    pub(crate) async fn of_nova(test: &str) -> Self {
        let database = Self::named(test);
        database.migrate(&nova()).await.expect("Nova's migrations");
        database
    }

    pub(crate) async fn migrate(&self, files: &[Migration]) -> Result<Vec<String>, MigrateError> {
        migrations::run(&self.options, files).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.command("test", sql).await.expect(sql);
    }

    /// The answer as lines of tab-separated values.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let bytes = self.client.bytes("test", sql, "TabSeparated", &[]).await.expect(sql);
        String::from_utf8(bytes.to_vec()).expect("text").trim_end().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (client, name) = (self.client.clone(), self.options.database.clone());
        // A test that failed must clean up too, and its own runtime may be on its way out.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let sql = format!("drop database if exists `{name}` sync");
            drop(runtime.block_on(client.command("drop", &sql)));
        });
        drop(dropping.join());
    }
}

/// The folder of Nova's migrations.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../clickhouse")
}

/// Nova's migrations.
pub(crate) fn nova() -> Vec<Migration> {
    migrations::read(&folder()).expect("a folder of migrations")
}
