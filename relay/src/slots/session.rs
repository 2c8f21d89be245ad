//! An ordinary SQL session for set-up: over the socket or TCP, without TLS.

use tokio_postgres::{Client, Config, NoTls};

use crate::slots::error::Error;

/// Reads a URL of an administrator; `database` holds where it names none.
///
/// # Errors
/// [`Error::Url`], which does not show it.
pub fn parse_url(url: &str, database: &str) -> Result<Config, Error> {
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    let mut config: Config = url.parse().ok().filter(|_| is_url).ok_or(Error::Url)?;
    if config.get_dbname().is_none() {
        config.dbname(database);
    }
    Ok(config)
}

/// Connects. The session ends when the client is dropped.
///
/// # Errors
/// [`Error::Database`] with the role and database that were tried, never with the password.
pub async fn connect(config: &Config) -> Result<Client, Error> {
    let connected = config.connect(NoTls).await;
    let (client, connection) = connected.map_err(|source| Error::Database {
        action: format!(
            "cannot connect as role {} to database {}",
            config.get_user().unwrap_or("(none)"),
            config.get_dbname().unwrap_or("(none)")
        ),
        source,
    })?;
    // What ends the connection reaches the caller through the statement it was waiting for.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
