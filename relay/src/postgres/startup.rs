//! From a connected socket to a session that is ready: the startup packet, and authentication.

use std::sync::Once;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::frontend;
use tracing::warn;

use crate::postgres::authentication::Request;
use crate::postgres::connection::{Connection, Received};
use crate::postgres::error::{During, Error, Kind, ServerError};
use crate::postgres::options::{ChannelBinding, ConnectOptions, Secret, TlsMode};
use crate::postgres::security::Method;

/// Settings that a role or a database may carry otherwise, and that would change what pgoutput prints, end the session, or
/// keep the server's warnings from us. <https://www.postgresql.org/docs/current/runtime-config-client.html>
pub(crate) const PINNED_SETTINGS: &[(&str, &str)] = &[
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

/// Told once a process: whoever reads the exchange can guess at the password as fast as he can count.
static MD5_WARNING: Once = Once::new();

/// Who is asked to let us in, as whom, and with what.
pub(crate) struct Applicant<'a> {
    pub(crate) options: &'a ConnectOptions,
    /// Settings of the session.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// The password for this server.
    pub(crate) password: Option<Secret>,
}

/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
pub(crate) fn start_up(connection: &mut Connection, applicant: &Applicant<'_>) -> Result<(), Error> {
    let options = applicant.options;
    let mut parameters = vec![
        ("user", options.user.as_str()),
        ("database", options.database.as_str()),
        ("application_name", options.application_name.as_str()),
    ];
    if options.replication {
        parameters.push(("replication", "database"));
    }
    parameters.extend(applicant.settings);
    let mut packet = BytesMut::new();
    frontend::startup_message(parameters, &mut packet).map_err(|error| {
        Error::with_source(Kind::Rejected, "a name in the connection options holds a zero byte", error)
    })?;
    connection.send(&packet)?;
    let method = authenticate(connection, applicant)?;
    connection.keep_method(method);
    await_ready(connection, options)
}

fn authenticate(connection: &mut Connection, applicant: &Applicant<'_>) -> Result<Method, Error> {
    let options = applicant.options;
    let mut method = Method::NoPassword;
    loop {
        let received = connection.receive()?;
        match received.tag {
            b'R' => {}
            b'E' => return Err(refused(connection, options, &received)),
            // A newer server offers an older minor version of the protocol, and goes on.
            b'v' | b'N' => continue,
            tag => return Err(connection.unexpected(tag, "while authenticating")),
        }
        let request = read_request(&received)?;
        if options.channel_binding == ChannelBinding::Require && !matches!(request, Request::Sasl { plus: true, .. }) {
            return Err(unbound(connection, options));
        }
        match request {
            Request::Granted => return Ok(method),
            Request::Cleartext => {
                method = Method::Cleartext;
                send_cleartext(connection, applicant)?;
            }
            Request::Md5 { salt } => {
                method = Method::Md5;
                send_md5(connection, applicant, salt)?;
            }
            Request::Sasl { plus, plain } => return scram(connection, applicant, plus, plain),
            Request::Kerberos => {
                return Err(unsupported(
                    connection,
                    options,
                    "GSSAPI or SSPI",
                    "use scram-sha-256 in pg_hba.conf for this role",
                ));
            }
            Request::SaslContinue(_) | Request::SaslFinal(_) => {
                return Err(connection.unexpected(b'R', "of SASL before it began"));
            }
            Request::Other(number) => {
                let method = format!("number {number}");
                return Err(unsupported(
                    connection,
                    options,
                    &method,
                    "use scram-sha-256 in pg_hba.conf for this role",
                ));
            }
        }
    }
}

/// A password in clear text goes only over a Unix socket, or over TLS that was demanded: where TLS was only preferred,
/// whoever answers could have been between, and asked.
fn send_cleartext(connection: &mut Connection, applicant: &Applicant<'_>) -> Result<(), Error> {
    let options = applicant.options;
    let demanded = !matches!(options.tls.mode, TlsMode::Disable | TlsMode::Prefer);
    let safe = connection.is_unix() || (connection.is_secured() && demanded);
    if !safe {
        return Err(unsupported(
            connection,
            options,
            "password (clear text)",
            "use scram-sha-256 in pg_hba.conf, or demand TLS with tls = \"verify-full\", or use the Unix socket: else whoever is on the way could read it",
        ));
    }
    let mut message = BytesMut::new();
    frontend::password_message(password(connection, applicant)?.expose().as_bytes(), &mut message)
        .map_err(bad_password)?;
    connection.send(&message)
}

/// <https://www.postgresql.org/docs/current/auth-password.html>
fn send_md5(connection: &mut Connection, applicant: &Applicant<'_>, salt: [u8; 4]) -> Result<(), Error> {
    let user = &applicant.options.user;
    let hash = md5_hash(user.as_bytes(), password(connection, applicant)?.expose().as_bytes(), salt);
    let mut message = BytesMut::new();
    frontend::password_message(hash.as_bytes(), &mut message).map_err(bad_password)?;
    MD5_WARNING.call_once(|| {
        warn!(
            server = connection.peer(),
            user,
            "the server asks for md5, which is weak and on its way out; set password_encryption = 'scram-sha-256', \
             set the password anew, and use scram-sha-256 in pg_hba.conf"
        );
    });
    connection.send(&message)
}

/// <https://www.postgresql.org/docs/current/sasl-authentication.html>
fn scram(connection: &mut Connection, applicant: &Applicant<'_>, plus: bool, plain: bool) -> Result<Method, Error> {
    let options = applicant.options;
    let (binding, method) = match connection.end_point() {
        Some(end_point) if plus => (sasl::ChannelBinding::tls_server_end_point(end_point), Method::ScramSha256Plus),
        None if options.channel_binding == ChannelBinding::Require => return Err(unbound(connection, options)),
        // We could have: a server that could have too, and was made to look as if not, now notices.
        Some(_) if plain => (sasl::ChannelBinding::unrequested(), Method::ScramSha256),
        None if plain => (sasl::ChannelBinding::unsupported(), Method::ScramSha256),
        _ => {
            return Err(unsupported(
                connection,
                options,
                "SASL without SCRAM-SHA-256",
                "use scram-sha-256 in pg_hba.conf for this role",
            ));
        }
    };
    let mut scram = ScramSha256::new(password(connection, applicant)?.expose().as_bytes(), binding);
    let mut message = BytesMut::new();
    // The names of these two methods are those of the mechanisms.
    frontend::sasl_initial_response(&method.to_string(), scram.message(), &mut message).map_err(bad_password)?;
    connection.send(&message)?;

    let challenge = sasl_step(connection, options, "its challenge", |request| match request {
        Request::SaslContinue(data) => Some(data.to_vec()),
        _ => None,
    })?;
    scram.update(&challenge).map_err(|error| impostor(connection, options, error))?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(bad_password)?;
    connection.send(&message)?;

    let outcome = sasl_step(connection, options, "its proof", |request| match request {
        Request::SaslFinal(data) => Some(data.to_vec()),
        _ => None,
    })?;
    // The server's proof that it knows the password too: without it anybody could have answered.
    scram.finish(&outcome).map_err(|error| impostor(connection, options, error))?;
    sasl_step(connection, options, "its consent", |request| (request == Request::Granted).then_some(()))?;
    Ok(method)
}

/// One answer of the server in the exchange, which must be the one that belongs there.
fn sasl_step<T>(
    connection: &mut Connection,
    options: &ConnectOptions,
    what: &str,
    wanted: impl Fn(Request<'_>) -> Option<T>,
) -> Result<T, Error> {
    let received = connection.receive()?;
    match received.tag {
        b'R' => {}
        b'E' => return Err(refused(connection, options, &received)),
        tag => return Err(connection.unexpected(tag, "while authenticating")),
    }
    wanted(read_request(&received)?)
        .ok_or_else(|| connection.unexpected(received.tag, &format!("of another kind where {what} belongs")))
}

fn read_request(received: &Received) -> Result<Request<'_>, Error> {
    Request::parse(&received.body).map_err(|error| Error::protocol("reading the authentication request", error))
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
        // A certificate of another role is reported so too.
        "28P01" if options.tls.identity.is_some() => format!(
            "{peer} refused the password of user {user:?}; check the configured password, and that the client certificate is for this role"
        ),
        "28P01" => format!("{peer} refused the password of user {user:?}; check the configured password"),
        "3D000" => format!("{peer} has no database {database:?}; check the configured database name"),
        "28000" => {
            let way = if connection.is_secured() { "over TLS" } else { "without TLS" };
            format!(
                "{peer} does not let user {user:?} connect to database {database:?} {way}; check pg_hba.conf (hostssl lines want TLS, and may want a client certificate) and the role's LOGIN and REPLICATION attributes"
            )
        }
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

fn password<'a>(connection: &Connection, applicant: &'a Applicant<'_>) -> Result<&'a Secret, Error> {
    let ConnectOptions { user, passfile, .. } = applicant.options;
    applicant.password.as_ref().ok_or_else(|| {
        let peer = connection.peer();
        let context = match passfile {
            Some(file) => format!(
                "{peer} asks for a password of user {user:?} and the passfile {} has no line for this host, port, database and user",
                file.display()
            ),
            None => format!(
                "{peer} asks for a password of user {user:?} and none is configured; set password_file, password or passfile"
            ),
        };
        Error::new(Kind::Authentication, context)
    })
}

fn unsupported(connection: &Connection, options: &ConnectOptions, method: &str, remedy: &str) -> Error {
    let (peer, user) = (connection.peer(), &options.user);
    Error::new(
        Kind::Authentication,
        format!("{peer} asks for {method} authentication of user {user:?}, which is not done here; {remedy}"),
    )
}

fn unbound(connection: &Connection, options: &ConnectOptions) -> Error {
    let (peer, user) = (connection.peer(), &options.user);
    Error::new(
        Kind::Authentication,
        format!(
            "{peer} does not bind the authentication of user {user:?} to its certificate, which channel_binding = \"require\" demands; it needs TLS, hostssl with scram-sha-256 in pg_hba.conf, and nobody between who ends TLS"
        ),
    )
}

fn impostor(connection: &Connection, options: &ConnectOptions, error: std::io::Error) -> Error {
    let (peer, user) = (connection.peer(), &options.user);
    let context = format!(
        "{peer} did not prove that it knows the password of user {user:?}; check the address: something else may answer there"
    );
    Error::with_source(Kind::Authentication, context, error)
}

fn bad_password(error: std::io::Error) -> Error {
    Error::with_source(Kind::Authentication, "the password cannot be sent", error)
}
