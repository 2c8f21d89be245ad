//! From a connected socket to a session that is ready: the startup packet with its pinned settings, and authentication.

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use crate::postgres::connection::{Connection, Received};
use crate::postgres::cursor::Cursor;
use crate::postgres::error::{During, Error, Kind, ServerError};
use crate::postgres::options::{ConnectOptions, Secret};

/// Settings that a role or a database may carry otherwise, and that would change what pgoutput prints, end the session, or
/// keep the server's warnings from us. <https://www.postgresql.org/docs/current/runtime-config-client.html>
const PINNED_SETTINGS: [(&str, &str); 13] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    // Names of regclass and its kin print with their schema unless it is on the path.
    ("search_path", "pg_catalog"),
    ("standard_conforming_strings", "on"),
    // PostgreSQL 18 only warns that it skips a publication, and the warning must reach us.
    ("client_min_messages", "notice"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
pub(crate) fn start_up(connection: &mut Connection, options: &ConnectOptions) -> Result<(), Error> {
    let mut parameters = vec![
        ("user", options.user.as_str()),
        ("database", options.database.as_str()),
        ("application_name", options.application_name.as_str()),
    ];
    if options.replication {
        parameters.push(("replication", "database"));
    }
    parameters.extend(PINNED_SETTINGS);
    let mut packet = BytesMut::new();
    frontend::startup_message(parameters, &mut packet).map_err(|error| {
        Error::with_source(Kind::Rejected, "a name in the connection options holds a zero byte", error)
    })?;
    connection.send(&packet)?;
    authenticate(connection, options)?;
    await_ready(connection, options)
}

fn authenticate(connection: &mut Connection, options: &ConnectOptions) -> Result<(), Error> {
    loop {
        let received = connection.receive()?;
        match received.tag {
            b'R' => {}
            b'E' => return Err(refused(connection, options, &received)),
            // A newer server offers an older minor version of the protocol, and goes on.
            b'v' | b'N' => continue,
            tag => return Err(connection.unexpected(tag, "while authenticating")),
        }
        let mut cursor = Cursor::new(&received.body);
        let method = cursor.u32().map_err(|error| Error::protocol("reading the authentication request", error))?;
        match method {
            0 => return Ok(()),
            3 => send_cleartext(connection, options)?,
            5 => {
                return Err(unsupported(
                    options,
                    "md5",
                    "set password_encryption = 'scram-sha-256', set the password anew, and use scram-sha-256 in pg_hba.conf",
                ));
            }
            10 => return scram(connection, options, cursor.rest()),
            7 | 9 => {
                return Err(unsupported(options, "GSSAPI or SSPI", "use scram-sha-256 in pg_hba.conf for this role"));
            }
            other => {
                return Err(unsupported(
                    options,
                    &format!("number {other}"),
                    "use scram-sha-256 in pg_hba.conf for this role",
                ));
            }
        }
    }
}

/// A password in clear text crosses no network here: only a Unix socket carries it.
fn send_cleartext(connection: &mut Connection, options: &ConnectOptions) -> Result<(), Error> {
    if !connection.is_unix() {
        return Err(unsupported(
            options,
            "password (clear text)",
            "it would cross the network unencrypted; use scram-sha-256 in pg_hba.conf, or the Unix socket",
        ));
    }
    let mut message = BytesMut::new();
    frontend::password_message(password(options)?.expose().as_bytes(), &mut message).map_err(bad_password)?;
    connection.send(&message)
}

/// <https://www.postgresql.org/docs/current/sasl-authentication.html>
fn scram(connection: &mut Connection, options: &ConnectOptions, mechanisms: &[u8]) -> Result<(), Error> {
    let offered = mechanisms.split(|&byte| byte == 0).any(|name| name == sasl::SCRAM_SHA_256.as_bytes());
    if !offered {
        return Err(unsupported(
            options,
            "SASL without SCRAM-SHA-256",
            "use scram-sha-256 in pg_hba.conf for this role",
        ));
    }
    let mut scram = ScramSha256::new(password(options)?.expose().as_bytes(), ChannelBinding::unsupported());
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut message).map_err(bad_password)?;
    connection.send(&message)?;

    let challenge = sasl_step(connection, options, 11)?;
    scram.update(&challenge).map_err(|error| impostor(options, error))?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(bad_password)?;
    connection.send(&message)?;

    let outcome = sasl_step(connection, options, 12)?;
    // The server's proof that it knows the password too: without it anybody could have answered.
    scram.finish(&outcome).map_err(|error| impostor(options, error))?;
    sasl_step(connection, options, 0).map(drop)
}

/// One answer of the server in the exchange, which must be of the given kind.
fn sasl_step(connection: &mut Connection, options: &ConnectOptions, wanted: u32) -> Result<Vec<u8>, Error> {
    let received = connection.receive()?;
    match received.tag {
        b'R' => {}
        b'E' => return Err(refused(connection, options, &received)),
        tag => return Err(connection.unexpected(tag, "while authenticating")),
    }
    let mut cursor = Cursor::new(&received.body);
    match cursor.u32() {
        Ok(found) if found == wanted => Ok(cursor.rest().to_vec()),
        Ok(found) => Err(Error::new(
            Kind::Protocol,
            format!("the server sent authentication message {found} where {wanted} belongs"),
        )),
        Err(error) => Err(Error::protocol("reading the authentication request", error)),
    }
}

/// The database is looked up only now that the role is known.
fn await_ready(connection: &mut Connection, options: &ConnectOptions) -> Result<(), Error> {
    loop {
        let received = connection.receive()?;
        match received.tag {
            b'Z' => return Ok(()),
            b'S' => connection.keep_parameter(&received.body)?,
            b'K' => connection.keep_backend_key(&received.body)?,
            b'N' | b'v' => {}
            b'E' => return Err(refused(connection, options, &received)),
            tag => return Err(connection.unexpected(tag, "while starting a session")),
        }
    }
}

fn refused(connection: &Connection, options: &ConnectOptions, received: &Received) -> Error {
    match connection.report(received) {
        Ok(report) => Error::server(refusal_context(connection, options, &report), During::Query, report),
        Err(error) => error,
    }
}

fn refusal_context(connection: &Connection, options: &ConnectOptions, report: &ServerError) -> String {
    let (peer, user, database) = (connection.peer(), &options.user, &options.database);
    match report.code.as_str() {
        "28P01" => format!("{peer} refused the password of user {user:?}; check the configured password"),
        "3D000" => format!("{peer} has no database {database:?}; check the configured database name"),
        "28000" => format!(
            "{peer} does not let user {user:?} connect to database {database:?}; check pg_hba.conf and the role's LOGIN and REPLICATION attributes"
        ),
        "42501" => {
            format!(
                "{peer} does not let user {user:?} replicate; give it the attribute by: alter role {user:?} replication"
            )
        }
        "53300" => {
            format!("{peer} has no connection left for user {user:?}; check max_connections and max_wal_senders")
        }
        _ => format!("{peer} refused user {user:?} on database {database:?}"),
    }
}

fn password(options: &ConnectOptions) -> Result<&Secret, Error> {
    options.password.as_ref().ok_or_else(|| {
        Error::new(
            Kind::Authentication,
            format!("the server asks for a password of user {:?} and none is configured", options.user),
        )
    })
}

fn unsupported(options: &ConnectOptions, method: &str, remedy: &str) -> Error {
    Error::new(
        Kind::Authentication,
        format!(
            "the server asks for {method} authentication of user {:?}, which is not supported; {remedy}",
            options.user
        ),
    )
}

fn impostor(options: &ConnectOptions, error: std::io::Error) -> Error {
    let context = format!("the server's part of the SCRAM exchange for user {:?} is not valid", options.user);
    Error::with_source(Kind::Authentication, context, error)
}

fn bad_password(error: std::io::Error) -> Error {
    Error::with_source(Kind::Authentication, "the password cannot be sent", error)
}
