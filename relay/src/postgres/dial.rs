//! From options to a session: which server, by which way, and how safe that way is.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use tracing::info;

use crate::postgres::connection::Connection;
use crate::postgres::error::{Error, Kind};
use crate::postgres::options::{Check, ConnectOptions, Host, Secret, Server, Target, TlsMode};
use crate::postgres::passfile::{self, Wanted};
use crate::postgres::startup::Applicant;
use crate::postgres::tls::{self, Channel, explain};
use crate::postgres::transport::{self, Transport};

/// Asks for TLS: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// One way to one server.
#[derive(Debug)]
struct Route<'a> {
    server: &'a Server,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    /// A socket nobody named: it may belong to another server, or let only operating system users in. TCP has the last word.
    UsualSocket(PathBuf),
    Tcp(String, SocketAddr),
}

/// A way that is open, on which nothing has been said yet but for TLS.
struct Reached {
    transport: Transport,
    peer: String,
    deadline: Instant,
}

/// What is asked of the server before anything else.
#[derive(Clone, Copy)]
enum Secure<'a> {
    No,
    IfOffered(&'a Arc<ClientConfig>),
    Yes(&'a Arc<ClientConfig>),
}

/// Opens a session with the first server that will do, tried in order; the session gets `settings`.
pub(crate) fn dial(options: &ConnectOptions, settings: &[(&str, &str)]) -> Result<Connection, Error> {
    // Once for all: what is wrong with our own files is wrong for every server, and no reason to go without TLS.
    let config = match options.tls.mode {
        TlsMode::Disable => None,
        _ => Some(tls::client_config(&options.tls)?),
    };
    let mut failures = Vec::new();
    for server in &options.servers {
        let routes = match routes(server, options.tls.mode) {
            Ok(routes) => routes,
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        let password = password(options, server)?;
        let applicant = Applicant { options, settings, password };
        for route in routes {
            match session(&route, &applicant, config.as_ref()) {
                Ok(connection) => {
                    tell(&connection, options);
                    return Ok(connection);
                }
                Err(_) if matches!(route.way, Way::UsualSocket(_)) => {}
                // As in libpq: the others would refuse the same password.
                Err(error) if error.kind() == Kind::Authentication => return Err(error),
                Err(error) => failures.push(error),
            }
        }
    }
    Err(summary(failures))
}

fn tell(connection: &Connection, options: &ConnectOptions) {
    let security = connection.security();
    let (tls, verified) = security.tls.map_or(("none", Check::Nothing), |tls| (tls.version, tls.check));
    info!(
        server = connection.peer(),
        tls,
        verified = %verified,
        authentication = %security.method,
        replication = options.replication,
        "connected to Postgres"
    );
}

/// Every way to a server: the socket first where there may be one, then each address its name has.
fn routes(server: &Server, mode: TlsMode) -> Result<Vec<Route<'_>>, Error> {
    let mut ways = Vec::new();
    let name = match &server.host {
        Host::Socket(directory) => return Ok(vec![Route { server, way: Way::Socket(directory.clone()) }]),
        Host::Local(name) => {
            let directory = transport::usual_socket_directory(server.port);
            // A socket has no certificate: who demands one means TCP.
            let allowed = matches!(mode, TlsMode::Disable | TlsMode::Prefer);
            ways.extend(directory.filter(|_| allowed).map(Way::UsualSocket));
            name
        }
        Host::Tcp(name) => name,
    };
    let addresses = (name.as_str(), server.port).to_socket_addrs().map_err(|error| {
        Error::io(format!("the host name {name:?} of {server} has no address; check its spelling and the DNS"), error)
    })?;
    ways.extend(addresses.map(|address| Way::Tcp(name.clone(), address)));
    Ok(ways.into_iter().map(|way| Route { server, way }).collect())
}

fn password(options: &ConnectOptions, server: &Server) -> Result<Option<Secret>, Error> {
    match (&options.password, &options.passfile) {
        (Some(password), _) => Ok(Some(password.clone())),
        (None, None) => Ok(None),
        (None, Some(file)) => {
            let (host, port) = (&server.host, server.port);
            passfile::look_up(file, &Wanted { host, port, database: &options.database, user: &options.user })
        }
    }
}

/// A session over one way. Where TLS is only preferred, what goes wrong with it leads to a second try without, as in libpq.
fn session(
    route: &Route<'_>,
    applicant: &Applicant<'_>,
    config: Option<&Arc<ClientConfig>>,
) -> Result<Connection, Error> {
    let options = applicant.options;
    let reach = |secure| reach(route, options, secure);
    let start = |reached: Reached| {
        let Reached { transport, peer, deadline } = reached;
        Connection::start(transport, peer, deadline, options.tls.check(), applicant)
    };
    let secure = match (&route.way, config) {
        (Way::Socket(_) | Way::UsualSocket(_), _) | (Way::Tcp(..), None) => Secure::No,
        (Way::Tcp(..), Some(config)) if options.tls.mode == TlsMode::Prefer => Secure::IfOffered(config),
        (Way::Tcp(..), Some(config)) => Secure::Yes(config),
    };
    let preferred = matches!(secure, Secure::IfOffered(_));
    let connection = match reach(secure) {
        Err(error) if preferred && error.kind() == Kind::Tls => start(reach(Secure::No)?),
        reached => {
            let reached = reached?;
            let is_secured = reached.transport.channel().is_some();
            match start(reached) {
                Err(error) if preferred && is_secured && wants_no_tls(&error) => {
                    let plain = reach(Secure::No).and_then(start);
                    plain.map_err(|second| if wants_no_tls(&second) { error } else { second })
                }
                started => started,
            }
        }
    }?;
    check_target(connection, options.target)
}

/// `pg_hba.conf` may have no line for TLS; and a server tells what it thinks of our certificate only after the handshake.
fn wants_no_tls(error: &Error) -> bool {
    error.kind() == Kind::Tls || error.sqlstate() == Some("28000")
}

/// Opens the way, and secures it.
fn reach(route: &Route<'_>, options: &ConnectOptions, secure: Secure<'_>) -> Result<Reached, Error> {
    let deadline = Instant::now() + options.connect_timeout;
    let peer = route.to_string();
    let opened = match &route.way {
        Way::Socket(directory) | Way::UsualSocket(directory) => Transport::unix(directory, route.server.port, deadline),
        Way::Tcp(_, address) => Transport::tcp(*address, options.tcp_user_timeout, deadline),
    };
    let mut transport = opened.map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => Error::with_source(Kind::Rejected, format!("{peer} was not tried"), error),
        _ => Error::io(format!("no Postgres server answers at {peer}; check that it runs there"), error),
    })?;
    if let (Way::Tcp(host, address), Secure::IfOffered(config) | Secure::Yes(config)) = (&route.way, secure) {
        let name = tls::server_name(host, *address, options.tls.check())?;
        let answer = ask_for_tls(&mut transport, deadline).map_err(|error| lost(&peer, error))?;
        if is_yes(answer, &peer, matches!(secure, Secure::Yes(_)))? {
            let channel = Channel::new(Arc::clone(config), name)
                .map_err(|error| Error::with_source(Kind::Tls, format!("TLS with {peer} cannot be prepared"), error))?;
            transport = transport.secure(channel, deadline).map_err(|error| lost(&peer, error))?;
        }
    }
    Ok(Reached { transport, peer, deadline })
}

/// The server's one letter. Exactly one byte is read: what somebody slipped in behind it is not taken for the server's word.
fn ask_for_tls(transport: &mut Transport, deadline: Instant) -> io::Result<u8> {
    let mut answer = [0];
    transport.set_deadline(Some(deadline))?;
    transport.write_all(&SSL_REQUEST)?;
    transport.read_exact(&mut answer)?;
    Ok(answer[0])
}

fn is_yes(answer: u8, peer: &str, demanded: bool) -> Result<bool, Error> {
    match answer {
        b'S' => Ok(true),
        b'N' if !demanded => Ok(false),
        b'N' => Err(Error::new(
            Kind::Tls,
            format!(
                "{peer} has no TLS, which the configuration demands; set ssl = on with a certificate there, or tls = \"disable\" here if the way is trusted"
            ),
        )),
        // What it says is not read: it is not known yet who says it.
        b'E' => Err(Error::new(Kind::Unavailable, format!("{peer} could not start a session; its log says why"))),
        other => Err(Error::new(
            Kind::Protocol,
            format!(
                "{peer} answered the request for TLS with {:?}; check that Postgres listens there",
                char::from(other)
            ),
        )),
    }
}

fn lost(peer: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::new(Kind::Unavailable, format!("{peer} did not answer in time"))
        }
        io::ErrorKind::UnexpectedEof => Error::new(Kind::Unavailable, format!("{peer} closed the connection")),
        _ => explain(peer, &error).unwrap_or_else(|| Error::io(format!("the connection to {peer} is lost"), error)),
    }
}

/// Leaves a server that is not of the wanted kind.
fn check_target(mut connection: Connection, target: Target) -> Result<Connection, Error> {
    if target == Target::Any {
        return Ok(connection);
    }
    let reported = |name| connection.parameter(name).map(|value| value == "on");
    let (is_standby, is_read_only) = match (reported("in_hot_standby"), reported("default_transaction_read_only")) {
        (Some(is_standby), Some(is_read_only)) => (is_standby, is_read_only),
        // Poolers do not pass on everything.
        _ => {
            let rows = connection.simple_query(
                "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')",
            )?;
            let is = |column: usize, yes| rows.first().and_then(|row| row.get(column)?.as_deref()) == Some(yes);
            (is(0, "t"), is(1, "on"))
        }
    };
    if target.accepts(is_standby, is_read_only) {
        return Ok(connection);
    }
    let found = match (is_standby, is_read_only) {
        (true, _) => "a standby",
        (false, true) => "read-only by default",
        (false, false) => "no standby",
    };
    let peer = connection.peer();
    // It may become one: after a failover the same attempt succeeds.
    Err(Error::new(
        Kind::Unavailable,
        format!(
            "{peer} is {found}, and target_session_attrs = \"{target}\" wants another; name that server in host too"
        ),
    ))
}

/// One error for all ways that were tried.
fn summary(mut failures: Vec<Error>) -> Error {
    if failures.len() <= 1 {
        return failures.pop().unwrap_or_else(|| Error::new(Kind::Rejected, "no server is configured"));
    }
    let transient = failures.iter().position(Error::is_transient);
    let context = format!("none of the servers will do: {}", failures.iter().map(whole).collect::<Vec<_>>().join("; "));
    // What may pass makes trying again worth while.
    failures.swap_remove(transient.unwrap_or(0)).within(context)
}

fn whole(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Socket(directory) | Way::UsualSocket(directory) => {
                write!(f, "{}", transport::socket_path(directory, self.server.port).display())
            }
            Way::Tcp(name, address) if *name != address.ip().to_string() => {
                write!(f, "{} ({})", self.server, address.ip())
            }
            Way::Tcp(..) => write!(f, "{}", self.server),
        }
    }
}
