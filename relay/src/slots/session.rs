//! An ordinary SQL session for set-up, opened exactly as the relay opens its own.

use tokio_postgres::Client;

use crate::{
    postgres::{options::ConnectOptions, session},
    slots::error::Error,
};

/// Connects. The session ends when the client is dropped.
///
/// # Errors
/// [`Error::Connect`] with the role and database that were tried, never with the password.
pub async fn connect(options: &ConnectOptions) -> Result<Client, Error> {
    session::connect(options).await.map_err(|source| Error::Connect {
        user: options.user.clone(),
        database: options.database.clone(),
        source,
    })
}
