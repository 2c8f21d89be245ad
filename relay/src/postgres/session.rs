//! An ordinary, asynchronous SQL session, for what is not on the way of an event: parking, checking, setting up.
//!
//! It is opened as every session is, by [`Connection`]: the same servers, TLS, authentication and messages. Then the open way
//! is handed to `tokio-postgres`.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::sync::Notify;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::postgres::adopted::{Adopted, Socket};
use crate::postgres::connection::Connection;
use crate::postgres::dial;
use crate::postgres::error::{Error, Kind};
use crate::postgres::options::ConnectOptions;

/// What `tokio-postgres` relies on; everything else is as the role and the database have it.
const SETTINGS: &[(&str, &str)] = &[("client_encoding", "UTF8")];

/// Connects as `options` say, whether or not they ask for replication. The session ends when the client is dropped.
///
/// A statement cannot be cancelled from outside: give it a `statement_timeout`.
///
/// # Errors
/// As [`Connection::connect`].
pub async fn connect(options: &ConnectOptions) -> Result<Client, Error> {
    connect_to_process(options).await.map(|(client, _)| client)
}

/// The same, with the process that whoever answered says to serve the session. A pooler names none that there is.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_process(options: &ConnectOptions) -> Result<(Client, i32), Error> {
    let (client, connection, process) = open(options).await?;
    // What ends the connection reaches the caller through the statement it was waiting for.
    tokio::spawn(async move { drop(connection.await) });
    Ok((client, process))
}

/// The same as [`connect`], where `rung` is told of every notification that arrives, whatever it says.
///
/// # Errors
/// As [`connect`].
pub async fn connect_ringing(options: &ConnectOptions, rung: Arc<Notify>) -> Result<Client, Error> {
    let (client, mut connection, _) = open(options).await?;
    tokio::spawn(async move {
        while let Some(Ok(said)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if matches!(said, AsyncMessage::Notification(_)) {
                rung.notify_one();
            }
        }
    });
    Ok(client)
}

/// The connection that must be driven for a client.
type Driven = tokio_postgres::Connection<Adopted, NoTlsStream>;

/// A client, its connection, and the process that serves it.
async fn open(options: &ConnectOptions) -> Result<(Client, Driven, i32), Error> {
    let options = ConnectOptions { replication: false, ..options.clone() };
    let config = config(&options);
    // Opening blocks: looking up names, if nothing else.
    let opened = tokio::task::spawn_blocking(move || dial::dial(&options, SETTINGS)).await;
    let connection =
        opened.map_err(|error| Error::with_source(Kind::Unavailable, "connecting was interrupted", error))??;
    let (peer, process) = (connection.peer().to_owned(), connection.backend_pid());
    let lost = |error| Error::io(format!("the connection to {peer} is lost"), error);
    let adopted = adopt(connection).map_err(lost)?;
    let (client, connection) = config.connect_raw(adopted, NoTls).await.map_err(|error| {
        Error::with_source(Kind::Protocol, format!("{peer} began a session in an unexpected way"), error)
    })?;
    Ok((client, connection, process))
}

/// All that `tokio-postgres` still asks for itself; who we are was settled before.
fn config(options: &ConnectOptions) -> Config {
    let mut config = Config::new();
    config.user(&options.user).dbname(&options.database);
    config
}

fn adopt(connection: Connection) -> std::io::Result<Adopted> {
    let mut said = BytesMut::new();
    tell(&mut said, b'R', &0_u32.to_be_bytes());
    for (name, value) in connection.parameters() {
        tell(&mut said, b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    tell(&mut said, b'Z', b"I");
    let (transport, received, _) = connection.into_parts();
    said.extend_from_slice(&received);
    Ok(Adopted::new(Socket::new(transport)?, said))
}

/// One message of the server.
fn tell(said: &mut BytesMut, tag: u8, body: &[u8]) {
    said.put_u8(tag);
    said.put_u32(u32::try_from(body.len() + 4).expect("a parameter is far shorter than 4 GiB"));
    said.put_slice(body);
}
