//! A database, slots and streams of one test's own, removed when it ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use postrider_relay::postgres::chunk::Frame;
use postrider_relay::postgres::connection::{Connection, Row};
use postrider_relay::postgres::error::Error;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret};
use postrider_relay::postgres::pgoutput::decode;
use postrider_relay::postgres::replication::StartOptions;
use postrider_relay::postgres::slot::NewSlot;
use postrider_relay::postgres::stream::ReplicationStream;
use xtask::services::{self, Postgres};

use crate::postgres_client::model::Said;

/// Far beyond what anything here takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Database {
    server: Postgres,
    pub(crate) name: String,
}

impl Database {
    /// On the shared server; `test` is unique among the tests.
    pub(crate) fn new(test: &str) -> Self {
        let services = services::current().expect("the services run");
        Self::on(services.postgres, test)
    }

    pub(crate) fn on(server: Postgres, test: &str) -> Self {
        let name = format!("client_{test}_{}", std::process::id());
        query(&server, "postgres", &format!("create database {name}"));
        Self { server, name }
    }

    /// A replication connection over the socket.
    pub(crate) fn options(&self) -> ConnectOptions {
        options(&self.server, &self.name)
    }

    /// A replication connection over TCP, with the password.
    pub(crate) fn tcp_options(&self) -> ConnectOptions {
        let host = Host::Tcp(self.server.host.clone());
        ConnectOptions {
            password: Some(Secret::new(&self.server.password)),
            ..ConnectOptions::new(host, self.server.port, &self.name, &self.server.user)
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::connect(&self.options()).expect("the server lets us in")
    }

    /// A connection for SQL alone.
    pub(crate) fn session(&self) -> Connection {
        session(&self.server, &self.name)
    }

    pub(crate) fn run(&self, sql: &str) -> Vec<Row> {
        query(&self.server, &self.name, sql)
    }

    /// The only value of a query's only row.
    pub(crate) fn value(&self, sql: &str) -> String {
        let mut rows = self.run(sql);
        rows.pop().and_then(|mut row| row.pop()).flatten().unwrap_or_else(|| panic!("{sql}: one value"))
    }

    /// Returns once `condition`, an SQL expression, holds.
    pub(crate) fn wait_until(&self, condition: &str) {
        let mut session = self.session();
        let started = Instant::now();
        let mut holds =
            || session.simple_query(&format!("select pg_sleep(0.02), {condition}")).expect("the query runs");
        while holds()[0][1].as_deref() != Some("t") {
            assert!(started.elapsed() < DEADLINE, "never became true: {condition}");
        }
    }

    /// A name that no other test's slot has.
    pub(crate) fn slot_name(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.name)
    }

    /// A new slot.
    pub(crate) fn slot(&self, suffix: &str) -> String {
        let name = self.slot_name(suffix);
        self.connect().create_logical_slot(&NewSlot::named(&name)).expect("the slot is created");
        name
    }

    /// A copy of a slot, where the original stands.
    pub(crate) fn copy_slot(&self, slot: &str, suffix: &str) -> String {
        let copy = self.slot_name(suffix);
        self.run(&format!("select pg_copy_logical_replication_slot('{slot}', '{copy}')"));
        copy
    }

    pub(crate) fn confirmed(&self, slot: &str) -> EndLsn {
        let sql = format!("select confirmed_flush_lsn from pg_replication_slots where slot_name = '{slot}'");
        self.value(&sql).parse().expect("an LSN")
    }

    pub(crate) fn wait_until_inactive(&self, slot: &str) {
        self.wait_until(&format!("not active from pg_replication_slots where slot_name = '{slot}'"));
    }

    /// Publication `outbox` through `slot`, from where the slot stands.
    pub(crate) fn read(&self, slot: &str) -> Tape {
        self.read_from(slot, EndLsn::ZERO)
    }

    pub(crate) fn read_from(&self, slot: &str, start: EndLsn) -> Tape {
        Tape::new(self.connect().start_logical(&outbox(slot, start)).expect("the stream starts"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Ok(mut session) = Connection::connect(&options(&self.server, "postgres")) else { return };
        let slots = format!("from pg_replication_slots where database = '{}'", self.name);
        session.simple_query(&format!("select pg_terminate_backend(active_pid) {slots} and active")).ok();
        for _ in 0..100 {
            // A terminated walsender needs a moment to let go.
            if session.simple_query(&format!("select pg_drop_replication_slot(slot_name) {slots}")).is_ok() {
                break;
            }
            session.simple_query("select pg_sleep(0.05)").ok();
        }
        session.simple_query(&format!("drop database {} with (force)", self.name)).ok();
    }
}

/// Publication `outbox`, with logical messages.
pub(crate) fn outbox(slot: &str, start: EndLsn) -> StartOptions {
    StartOptions { slot: slot.to_owned(), start, publications: vec!["outbox".to_owned()], messages: true }
}

fn options(server: &Postgres, database: &str) -> ConnectOptions {
    let host = Host::Socket(server.socket_dir.clone());
    ConnectOptions::new(host, server.port, database, &server.user)
}

fn session(server: &Postgres, database: &str) -> Connection {
    let options = ConnectOptions { replication: false, ..options(server, database) };
    let mut session = Connection::connect(&options).expect("the server lets us in");
    // Sessions are pinned to pg_catalog, where nothing can be created.
    session.simple_query("set search_path = public").expect("the path is free to choose");
    session
}

fn query(server: &Postgres, database: &str, sql: &str) -> Vec<Row> {
    let rows = session(server, database).simple_query(sql);
    rows.unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", error.server_error()))
}

/// A stream taken apart into single messages.
pub(crate) struct Tape {
    pub(crate) stream: ReplicationStream,
    waiting: VecDeque<Arrived>,
}

/// One replication message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrived {
    Data(Vec<u8>),
    Keepalive(EndLsn),
}

impl Tape {
    pub(crate) fn new(stream: ReplicationStream) -> Self {
        Self { stream, waiting: VecDeque::new() }
    }

    pub(crate) async fn arrived(&mut self) -> Result<Arrived, Error> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Ok(next);
            }
            let chunk = tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("something arrives")?;
            self.waiting.extend(chunk.frames().map(|frame| match frame {
                Frame::XLogData { data, .. } => Arrived::Data(data.to_vec()),
                Frame::Keepalive { wal_end, .. } => Arrived::Keepalive(wal_end),
            }));
        }
    }

    /// The bytes of the next message that is no keepalive.
    pub(crate) async fn data(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            if let Arrived::Data(data) = self.arrived().await? {
                return Ok(data);
            }
        }
    }

    pub(crate) async fn said(&mut self) -> Result<Said, Error> {
        let data = self.data().await?;
        Ok(Said::by_us(&decode(&data).expect("a whole message decodes")))
    }

    /// All messages up to and including the `count`th commit from here.
    pub(crate) async fn transactions(&mut self, count: usize) -> Vec<Said> {
        let mut all = Vec::new();
        let mut commits = 0;
        while commits < count {
            let said = self.said().await.expect("the stream goes on");
            commits += usize::from(matches!(said, Said::Commit { .. }));
            all.push(said);
        }
        all
    }
}

/// The end of the last whole transaction in `messages`.
pub(crate) fn last_end(messages: &[Said]) -> Option<EndLsn> {
    messages.iter().rev().find_map(|said| match said {
        Said::Commit { end_lsn, .. } => Some(EndLsn::new(*end_lsn)),
        _ => None,
    })
}

/// The first value of every inserted row, as text.
pub(crate) fn inserted(messages: &[Said]) -> Vec<String> {
    use crate::postgres_client::model::Cell;
    let first = |said: &Said| match said {
        Said::Insert { new, .. } => match new.first() {
            Some(Cell::Text(value)) => Some(String::from_utf8(value.clone()).expect("text is UTF-8")),
            _ => None,
        },
        _ => None,
    };
    messages.iter().filter_map(first).collect()
}
