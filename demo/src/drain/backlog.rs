//! The backlog: one slot, created before the events, that is copied for every reader and never advanced itself.

use std::path::PathBuf;
use std::time::Instant;

use tokio_postgres::Client;
use xtask::services::{Environment, Postgres};

use crate::config::Config;
use crate::database::Database;
use crate::error::{Doing, Result};
use crate::relay::Relay;
use crate::screen::Screen;
use crate::topics::Topics;
use crate::watcher::now_us;

/// Connections that fill the outbox; two cores are what a small machine has.
const FILLERS: u64 = 2;
/// Changes that are looked at for the size of a message.
const SAMPLED_CHANGES: i32 = 3_000;

const PROCEDURE: &str = include_str!("../../sql/backlog.sql");
/// Every aggregate type of the backlog.
pub(super) const AGGREGATE_TYPES: &[&str] = &["order"];

/// A filled outbox and the slot that still has all of it to deliver.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) database: Database,
    pub(super) sql: Client,
    pub(super) events: u64,
    /// Bytes of a row's message on the replication connection, on average.
    pub(super) message_bytes: f64,
    /// The log's end after the last event.
    pub(super) end: u64,
    folder: PathBuf,
}

impl Backlog {
    /// A new database, empty yet.
    pub(super) async fn open(environment: &Environment) -> Result<Self> {
        let name = format!("drain_{:x}_{:x}", std::process::id(), now_us() / 1000 % 0x1000_0000);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let database = Database::create(&environment.postgres, &name).await?;
        let sql = database.connect().await?;
        Ok(Self { database, sql, events: 0, message_bytes: 0.0, end: 0, folder })
    }

    /// Creates the outbox and the slot as a user does, then writes `events` transactions.
    pub(super) async fn prepare(&mut self, environment: &Environment, events: u64, screen: &Screen) -> Result<()> {
        let name = self.name().to_owned();
        let topics = Topics::new(&name, AGGREGATE_TYPES);
        let relay = self.relay(&environment.postgres, &name, &topics, &environment.kafka.bootstrap)?;
        relay.complete("migrate")?;
        relay.complete("init")?;
        self.sql.batch_execute(PROCEDURE).await.doing("creating the procedure that fills the outbox")?;

        let started = Instant::now();
        screen.say(&format!("filling the outbox with {events} transactions of one event each"));
        self.fill(events).await?;
        // Both so that no reader pays for the writers: everything is on disk, and no checkpoint falls into the first round.
        self.sql.batch_execute("checkpoint").await.doing("writing a checkpoint")?;
        self.events = events;
        self.end = self.log_end().await?;
        self.message_bytes = self.sample().await?;
        let (seconds, bytes) = (started.elapsed().as_secs_f64(), self.message_bytes);
        screen.say(&format!("filled in {seconds:.1} s; a row's message has {bytes:.0} bytes on average"));
        Ok(())
    }

    /// Its database's name, which is also its slot's.
    pub(super) fn name(&self) -> &str {
        self.database.name()
    }

    /// A relay on the slot `slot`, with a folder of its own.
    pub(super) fn relay(
        &self,
        postgres: &Postgres,
        slot: &str,
        topics: &Topics,
        bootstrap_servers: &str,
    ) -> Result<Relay> {
        let folder = self.folder.join(slot);
        std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
        let config = Config {
            postgres,
            database: self.name(),
            slot,
            topic: &topics.template(),
            bootstrap_servers,
            progress_topic: &topics.progress(),
        };
        Relay::configure(&folder, &config)
    }

    /// Writes `events` more transactions of one event each.
    pub(super) async fn fill(&self, events: u64) -> Result<()> {
        let mut fillers = tokio::task::JoinSet::new();
        for filler in 0..FILLERS {
            let client = self.database.connect().await?;
            let share = events / FILLERS + u64::from(filler < events % FILLERS);
            fillers.spawn(async move {
                // Two statements: a procedure may commit only where the server began no transaction around it.
                client.batch_execute("set synchronous_commit = off").await?;
                client.batch_execute(&format!("call fill_outbox({share})")).await
            });
        }
        while let Some(filled) = fillers.join_next().await {
            filled.expect("filling does not panic").doing("filling the outbox")?;
        }
        // One commit that waits for the disk brings all before it there too.
        self.sql.batch_execute("create table if not exists flushed ()").await.doing("flushing the log")
    }

    /// A copy of the slot, with everything still to deliver.
    pub(super) async fn copy_slot(&self, copy: &str) -> Result<()> {
        self.copy_slot_of(self.name(), copy).await
    }

    /// A copy of another slot of this database.
    pub(super) async fn copy_slot_of(&self, slot: &str, copy: &str) -> Result<()> {
        let sql = "select pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
        self.sql.execute(sql, &[&slot, &copy]).await.doing(format!("copying the slot {slot}"))?;
        Ok(())
    }

    /// Drops a slot that nobody reads any more.
    pub(super) async fn drop_slot(&self, slot: &str) -> Result<()> {
        self.sql
            .execute("select pg_drop_replication_slot($1::text::name)", &[&slot])
            .await
            .doing(format!("dropping the slot {slot}"))?;
        Ok(())
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<()> {
        drop(self.sql);
        self.database.drop().await?;
        std::fs::remove_dir_all(&self.folder).doing(format!("removing {}", self.folder.display()))
    }

    /// Where to look after a failure.
    pub(super) fn whereabouts(&self) -> String {
        format!("kept to look at: database {}, its slots, {}", self.name(), self.folder.display())
    }

    /// Where the log ends now, in bytes.
    async fn log_end(&self) -> Result<u64> {
        let row = self
            .sql
            .query_one("select (pg_current_wal_flush_lsn() - '0/0')::bigint", &[])
            .await
            .doing("asking where the log ends")?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    async fn sample(&self) -> Result<f64> {
        let sql = "select coalesce(avg(length(data)), 0)::float8
            from pg_logical_slot_peek_binary_changes($1::text::name, null, $2, 'proto_version', '1', 'publication_names', 'postrider')
            where get_byte(data, 0) = ascii('I')";
        let row =
            self.sql.query_one(sql, &[&self.name(), &SAMPLED_CHANGES]).await.doing("looking at the first messages")?;
        Ok(row.get(0))
    }
}
