//! An ordinary SQL session for set-up, opened exactly as the relay opens its own.

use tokio_postgres::Client;

use crate::{
    postgres::{options::ConnectOptions, session},
    slots::error::{Error, Refusal},
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

/// A session of the server itself, and how it was opened.
#[derive(Debug)]
pub struct Direct {
    /// The session.
    pub client: Client,
    /// How it was opened, for opening another like it.
    pub connect: ConnectOptions,
}

/// Connects to the server itself: what belongs to a session, such as a lock, must not be another's by the next statement.
///
/// # Errors
/// As [`connect`]; [`Error::Refused`] where a pooler stands between.
pub async fn connect_directly(connect: ConnectOptions) -> Result<Direct, Error> {
    let connected = session::connect_to_process(&connect).await;
    let (client, process) = connected.map_err(|source| Error::Connect {
        user: connect.user.clone(),
        database: connect.database.clone(),
        source,
    })?;
    let row = client.query_typed_one("select pg_backend_pid()", &[]).await;
    let row =
        row.map_err(|source| Error::Database { action: "cannot ask who serves the session".to_owned(), source })?;
    if row.get::<_, i32>(0) == process {
        return Ok(Direct { client, connect });
    }
    Err(Error::Refused(vec![Refusal {
        what: "a pooler stands between here and the server: its sessions are not ours from one statement to the next"
            .to_owned(),
        mend: "name the server itself, in --admin-url or in `postgres.host` and `postgres.port`".to_owned(),
    }]))
}
