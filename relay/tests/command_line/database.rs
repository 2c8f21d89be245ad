//! A database of one test's own, with the names of its roles, slot and publication, removed when it ends.

use postrider_relay::postgres::connection::{Connection, Row};
use postrider_relay::postgres::error::Error;
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret};
use xtask::services::{self, Postgres};

use crate::command_line::program::Program;

pub(crate) const PASSWORD: &str = "it's a \\ secret";

pub(crate) struct Database {
    pub(crate) server: Postgres,
    pub(crate) name: String,
}

impl Database {
    /// On the shared server; `test` is unique among the tests here.
    pub(crate) fn new(test: &str) -> Self {
        Self::on(services::current().expect("the services run").postgres, test)
    }

    pub(crate) fn on(server: Postgres, test: &str) -> Self {
        let database = Self { server, name: format!("cli_{test}_{}", std::process::id()) };
        database.maintenance().simple_query(&format!("create database {}", database.name)).expect("a database");
        database
    }

    /// The program, told of this database by variables; slot, publication and roles have the database's name in theirs.
    pub(crate) fn program(&self) -> Program {
        Program::new()
            .with("POSTRIDER_POSTGRES_HOST", self.server.socket_dir.to_str().expect("a path of text"))
            .with("POSTRIDER_POSTGRES_PORT", self.server.port.to_string())
            .with("POSTRIDER_POSTGRES_DATABASE", &self.name)
            .with("POSTRIDER_POSTGRES_USER", &self.name)
            .with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD)
            .with("POSTRIDER_SOURCE_SLOT", &self.name)
    }

    /// The same, with an administrator beside the relay's role.
    pub(crate) fn administered(&self) -> Program {
        self.program().with("POSTRIDER_ADMIN_URL", self.server.url(&self.name))
    }

    pub(crate) fn writer(&self) -> String {
        format!("{}_writer", self.name)
    }

    /// As the superuser.
    pub(crate) fn run(&self, sql: &str) -> Vec<Row> {
        self.session(&self.server.user, None).expect("a session").simple_query(sql).expect("the statement runs")
    }

    pub(crate) fn value(&self, sql: &str) -> String {
        let mut rows = self.run(sql);
        rows.pop().and_then(|mut row| row.pop()).flatten().unwrap_or_else(|| panic!("{sql}: one value"))
    }

    /// As `user`: over TCP with a password, or over the socket, which trusts.
    pub(crate) fn session(&self, user: &str, password: Option<&str>) -> Result<Connection, Error> {
        let host = match password {
            Some(_) => Host::Tcp(self.server.host.clone()),
            None => Host::Socket(self.server.socket_dir.clone()),
        };
        let password = password.map(Secret::new);
        let options = ConnectOptions::new(host, self.server.port, &self.name, user);
        Connection::connect(&ConnectOptions { password, replication: false, ..options })
    }

    /// As the superuser, in the database `postgres`.
    pub(crate) fn maintain(&self, sql: &str) {
        self.maintenance().simple_query(sql).expect("the statement runs");
    }

    fn maintenance(&self) -> Connection {
        let host = Host::Socket(self.server.socket_dir.clone());
        let options = ConnectOptions::new(host, self.server.port, "postgres", &self.server.user);
        Connection::connect(&ConnectOptions { replication: false, ..options }).expect("the server lets us in")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut session = self.maintenance();
        let name = &self.name;
        for sql in [
            format!(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like '{name}%'"
            ),
            format!("drop database if exists {name} with (force)"),
            format!("drop role if exists {name}"),
            format!("drop role if exists {name}_writer"),
            format!("drop role if exists {name}_nobody"),
        ] {
            session.simple_query(&sql).ok();
        }
    }
}
