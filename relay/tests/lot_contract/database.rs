//! A database of one test's own for a lot, removed when the test ends.

use std::time::Duration;

use postrider_relay::postgres::options::{ConnectOptions, Host};
use postrider_relay::sinks::lots::{PostgresLot, PostgresLotOptions};
use tokio_postgres::{Client, NoTls};
use xtask::services::{self, Postgres};

/// A month: what the default keeps.
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(crate) struct Database {
    server: Postgres,
    name: String,
    client: Client,
}

impl Database {
    /// With nothing in it.
    pub(crate) async fn empty(test: &str) -> Self {
        let server = services::current().expect("the services run").postgres;
        let name = format!("lot_{test}_{}", std::process::id());
        let maintenance = connect(&server, "postgres").await;
        maintenance.batch_execute(&format!("create database {name}")).await.expect("a database");
        let client = connect(&server, &name).await;
        Self { server, name, client }
    }

    /// With what `postrider migrate` makes.
    pub(crate) async fn migrated(test: &str) -> Self {
        let mut database = Self::empty(test).await;
        postrider::migrations::run(&mut database.client).await.expect("the migrations run");
        database
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The lot of a slot, used by the superuser.
    pub(crate) fn lot(&self, slot: &str) -> PostgresLot {
        self.lot_as(slot, &self.server.user)
    }

    pub(crate) fn lot_as(&self, slot: &str, user: &str) -> PostgresLot {
        let host = Host::Socket(self.server.socket_dir.clone());
        let options = ConnectOptions::new(host, self.server.port, &self.name, user);
        PostgresLot::new(PostgresLotOptions {
            connect: ConnectOptions { replication: false, ..options },
            slot: slot.to_owned(),
            poll_interval: Duration::from_millis(20),
            keep: KEEP,
        })
    }

    /// Another connection as superuser.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.server, &self.name).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("the SQL runs");
    }

    /// Changes the state of a row of slot `a` as a verb would.
    pub(crate) async fn ask(&self, position: u128, state: &str) {
        let sql = "update postrider.parked set state = $2, changed_at = now() where slot = 'a' and position = $1";
        let changed = self.client.execute(sql, &[&format!("{position:032x}"), &state]).await.expect("the SQL runs");
        assert_eq!(changed, 1);
    }

    /// The first column of each row.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.client.query(sql, &[]).await.expect("the SQL runs");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                let maintenance = connect(&server, "postgres").await;
                let _ = maintenance.batch_execute(&format!("drop database if exists {name} with (force)")).await;
                let _ = maintenance.batch_execute(&format!("drop role if exists {name}_poor")).await;
            });
        };
        let _ = std::thread::spawn(clean).join();
    }
}

async fn connect(server: &Postgres, database: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(database), NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}
