//! The WAL source under the contract: an outbox table, its publication and its slot.

use std::ops::Range;
use std::sync::Arc;

use postrider_relay::pipeline::Progress;
use postrider_relay::shape::outbox::OutboxOptions;
use postrider_relay::sources::wal::{OutboxColumns, OutboxSource, OutboxTable, Wal, WalOptions};
use postrider_relay::telemetry::Metrics;

use crate::postgres_client::database::Database;
use crate::postgres_client::secured::Secured;
use crate::source_contract::{Rig, rows};

/// An outbox of its own.
pub(super) struct Outbox {
    database: Database,
    slot: String,
    /// The server that is reached over TLS.
    secured: Option<Arc<Secured>>,
}

impl Outbox {
    pub(super) fn new(test: &str) -> Self {
        Self::in_database(Database::new(&format!("source_{test}")), None, "")
    }

    /// The same where this SQL was run before the slot was there.
    pub(super) fn before(test: &str, sql: &str) -> Self {
        Self::in_database(Database::new(&format!("source_{test}")), None, sql)
    }

    /// The same on a server that lets nobody in without TLS.
    pub(super) fn over_tls(test: &str) -> Self {
        let secured = Secured::shared();
        Self::in_database(Database::on(secured.environment(), &format!("source_{test}")), Some(secured), "")
    }

    fn in_database(database: Database, secured: Option<Arc<Secured>>, before: &str) -> Self {
        database.run(
            "create table outbox_events (seq bigserial, id uuid default gen_random_uuid(), aggregate_type text default 'a',
               aggregate_id text default 'k', event_type text default 'e', payload jsonb)",
        );
        database.run("create publication outbox for table outbox_events with (publish = 'insert')");
        database.run("create table neighbour (n bigint)");
        if !before.is_empty() {
            database.run(before);
        }
        let slot = database.slot("s");
        Self { database, slot, secured }
    }

    /// A source that was dropped lets go of its slot in its own time.
    pub(super) fn wait_until_free(&self) {
        self.database.wait_until_inactive(&self.slot);
    }

    pub(super) fn options(&self) -> WalOptions {
        let column = str::to_owned;
        WalOptions {
            connect: match &self.secured {
                Some(server) => server.options("scram", &self.database.name),
                None => self.database.options(),
            },
            slot: self.slot.clone(),
            publication: column("outbox"),
            outboxes: vec![OutboxSource {
                name: column("outbox"),
                table: Some(OutboxTable { schema: column("public"), name: column("outbox_events") }),
                message_prefix: None,
                columns: OutboxColumns {
                    id: Some(column("id")),
                    aggregate_type: Some(column("aggregate_type")),
                    aggregate_id: Some(column("aggregate_id")),
                    event_type: Some(column("event_type")),
                    payload: Some(column("payload")),
                    ..OutboxColumns::default()
                },
                shape: OutboxOptions::usual("t.{aggregate_type}"),
            }],
            capture: None,
            wal_disk_bytes: None,
            accept_gap: false.into(),
            reader: tokio::sync::watch::Sender::new(0),
            spill: None,
        }
    }

    fn position(&self, sql: &str) -> u64 {
        self.database.value(sql).parse().expect("a number of bytes")
    }
}

impl Rig for Outbox {
    type Source = Wal;

    async fn open(&self, progress: Option<Progress>) -> Wal {
        self.wait_until_free();
        let options = self.options();
        Wal::open(Arc::new(options), progress, Metrics::new()).await.expect("the source opens")
    }

    async fn write(&self, numbers: Range<u64>) {
        rows::write(&self.database, numbers);
    }

    async fn write_together(&self, numbers: Range<u64>) {
        rows::write_together(&self.database, &numbers);
    }

    async fn write_nothing(&self) {
        rows::write_nothing(&self.database);
    }

    async fn forgotten(&self) -> u64 {
        self.position(&format!(
            "select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = '{}'",
            self.slot
        ))
    }

    async fn newest(&self) -> u64 {
        self.position("select pg_current_wal_lsn() - '0/0'")
    }
}
