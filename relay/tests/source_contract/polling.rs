//! The polling source under the contract: an outbox table and the leases.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use postrider_relay::pipeline::Progress;
use postrider_relay::postgres::options::{ConnectOptions, Host, Server};
use postrider_relay::shape::outbox::{FormOptions, Headers, OutboxOptions};
use postrider_relay::sources::polling::{After, KeyPart, PolledOutbox, Polling, PollingColumns, PollingOptions};
use postrider_relay::sources::wal::{OutboxColumns, OutboxSource, OutboxTable};
use postrider_relay::telemetry::Metrics;
use xtask::services;

use crate::postgres_client::database::Database;
use crate::source_contract::{Rig, pooler, rows};

/// The table of leases, as the migration makes it.
const LEASES: &str = include_str!("../../../migrations/V9__leases.sql");

/// An outbox of its own.
pub(super) struct Table {
    pub(super) database: Database,
    after: After,
    has_xid: bool,
    /// The port of a pooler before the server.
    pooler: Option<u16>,
}

impl Table {
    pub(super) fn new(test: &str) -> Self {
        Self::made(&format!("poll_{test}"), After::Mark, true)
    }

    /// The same, where rows are deleted.
    pub(super) fn deleting(test: &str) -> Self {
        Self::made(&format!("polldel_{test}"), After::Delete, true)
    }

    /// The same, where rows do not tell their transaction.
    pub(super) fn foreign(test: &str) -> Self {
        Self::made(&format!("pollfor_{test}"), After::Mark, false)
    }

    /// The same behind a pooler in transaction mode.
    pub(super) fn pooled(test: &str) -> Self {
        let table = Self::made(&format!("pollpool_{test}"), After::Mark, true);
        let server = services::current().expect("the services run").postgres;
        let socket = server.socket_dir.join(format!(".s.PGSQL.{}", server.port));
        Self { pooler: Some(pooler::start(socket)), ..table }
    }

    fn made(test: &str, after: After, has_xid: bool) -> Self {
        let database = Database::new(&format!("source_{test}"));
        let xid = if has_xid { ", xid xid8 not null default pg_current_xact_id()" } else { "" };
        database.run("create schema postrider");
        database.run(LEASES);
        database.run(&format!(
            "create table outbox_events (seq bigint generated always as identity, id uuid default gen_random_uuid(),
               aggregate_type text default 'a', aggregate_id text default 'k', event_type text default 'e', payload jsonb,
               created_at timestamptz default now(), published_at timestamptz{xid})"
        ));
        database.run("create index on outbox_events (seq) where published_at is null");
        if has_xid {
            database.run("create index on outbox_events (xid) where published_at is null");
        }
        database.run("create table neighbour (n bigint)");
        Self { database, after, has_xid, pooler: None }
    }

    pub(super) fn options(&self) -> PollingOptions {
        let column = str::to_owned;
        PollingOptions {
            connect: match self.pooler {
                Some(port) => ConnectOptions {
                    servers: vec![Server { host: Host::parse("127.0.0.1"), port }],
                    ..self.database.options()
                },
                None => self.database.options(),
            },
            slot: column("polled"),
            outboxes: vec![PolledOutbox {
                source: OutboxSource {
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
                    shape: OutboxOptions {
                        form: FormOptions::Native {
                            topic: column("t.{aggregate_type}"),
                            key: column("{aggregate_id}"),
                            headers: Headers { position: None, ..Headers::usual() },
                        },
                        ..OutboxOptions::usual("t")
                    },
                },
                key: vec![KeyPart::Column(column("aggregate_id"))],
            }],
            columns: PollingColumns {
                order: column("seq"),
                xid: self.has_xid.then(|| column("xid")),
                published_at: Some(column("published_at")),
                created_at: Some(column("created_at")),
            },
            after: self.after,
            buckets: 4,
            lease: Duration::from_secs(2),
            idle_min: Duration::from_millis(2),
            idle_max: Duration::from_millis(50),
            sweep_interval: Duration::from_secs(60),
            batch_rows_max: 4_000,
            channel: None,
            handed: None,
            base: (0, 0),
        }
    }

    fn number(&self, sql: &str) -> u64 {
        self.database.value(sql).parse().expect("a number of rows")
    }
}

impl Rig for Table {
    type Source = Polling;

    async fn open(&self, _: Option<Progress>) -> Polling {
        Polling::open(Arc::new(self.options()), Metrics::new()).await.expect("the source opens")
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
        // All that were written, but for those that wait.
        let waiting = self.number("select count(*) from outbox_events where published_at is null");
        self.newest().await - waiting
    }

    async fn newest(&self) -> u64 {
        self.number(
            "select coalesce((select last_value from pg_sequences where sequencename = 'outbox_events_seq_seq'), 0)",
        )
    }
}
