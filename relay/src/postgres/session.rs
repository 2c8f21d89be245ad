//! An ordinary, asynchronous SQL session, for what is not on the way of an event: parking, checking, setting up.

use std::time::Duration;

use thiserror::Error;
use tokio_postgres::{Client, Config, NoTls};

use crate::postgres::options::{ConnectOptions, Host};
use crate::postgres::transport::usual_socket_directory;

/// A session that could not be opened. Names the role and the database, never the password.
#[derive(Debug, Error)]
#[error("cannot connect as role {user:?} to database {database:?} at {place}")]
pub struct SessionError {
    /// The role that was tried.
    pub user: String,
    /// The database that was tried.
    pub database: String,
    /// Where.
    pub place: String,
    /// What the server or the connection said.
    #[source]
    pub source: tokio_postgres::Error,
}

/// Connects as `options` say. The session ends when the client is dropped.
///
/// # Errors
/// What the server or the connection said.
pub async fn connect(options: &ConnectOptions) -> Result<Client, SessionError> {
    let config = config(options);
    let (client, connection) = config.connect(NoTls).await.map_err(|source| SessionError {
        user: options.user.clone(),
        database: options.database.clone(),
        place: match &options.host {
            Host::Socket(directory) => format!("{}/.s.PGSQL.{}", directory.display(), options.port),
            Host::Tcp(name) | Host::Local(name) => format!("{name}:{}", options.port),
        },
        source,
    })?;
    // What ends the connection reaches the caller through the statement it was waiting for.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn config(options: &ConnectOptions) -> Config {
    let mut config = Config::new();
    match &options.host {
        Host::Socket(directory) => {
            config.host_path(directory);
        }
        Host::Tcp(name) => {
            config.host(name);
        }
        Host::Local(name) => {
            if let Some(directory) = usual_socket_directory(options.port) {
                config.host_path(directory);
            }
            config.host(name);
        }
    }
    config
        .port(options.port)
        .dbname(&options.database)
        .user(&options.user)
        .application_name(&options.application_name)
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(Duration::from_secs(30));
    if let Some(password) = &options.password {
        config.password(password.expose());
    }
    config
}
