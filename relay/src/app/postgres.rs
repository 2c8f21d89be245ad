//! From the configuration's `[postgres]` to the options of a connection.

use crate::config;
use crate::postgres::options::{ConnectOptions, Host, Secret};

/// How to reach the database, with replication commands or only with SQL.
pub(crate) fn options(postgres: &config::postgres::Postgres, replication: bool) -> ConnectOptions {
    let host = match &postgres.host {
        config::postgres::Host::Socket(directory) => Host::Socket(directory.clone()),
        config::postgres::Host::Tcp(name) => Host::parse(name),
    };
    ConnectOptions {
        password: postgres.password.as_ref().map(|password| Secret::new(password.expose())),
        application_name: postgres.application_name.clone(),
        connect_timeout: postgres.connect_timeout,
        replication,
        ..ConnectOptions::new(host, postgres.port, &postgres.database, &postgres.user)
    }
}
