//! Where the servers are, who asks, and how safe the way must be: plain values, the password hidden from every print.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a server and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The servers, tried in this order; the first that answers and is of the wanted kind is used.
    pub servers: Vec<Server>,
    /// Which of them will do.
    pub target: Target,
    /// The database to connect to.
    pub database: String,
    /// The role to connect as.
    pub user: String,
    /// Its password; `None` where the server trusts the connection, or [`ConnectOptions::passfile`] has it.
    pub password: Option<Secret>,
    /// A file of passwords in libpq's format, looked into where no password is given. It is read for each connection.
    pub passfile: Option<PathBuf>,
    /// How safe the way must be. A Unix socket does not leave the machine and carries no TLS.
    pub tls: Tls,
    /// Whether the password must be bound to the server's certificate.
    pub channel_binding: ChannelBinding,
    /// Shown in `pg_stat_activity` and `pg_stat_replication`.
    pub application_name: String,
    /// For each address by itself: connecting, TLS, authenticating and everything until the session is ready, together.
    pub connect_timeout: Duration,
    /// How long what was sent over TCP may stay unacknowledged before the connection counts as lost; `None` leaves it to the kernel.
    pub tcp_user_timeout: Option<Duration>,
    /// Whether the session takes replication commands besides SQL.
    pub replication: bool,
}

impl ConnectOptions {
    /// A replication connection to one server, without a password, over TLS if the server has it, within 10 seconds.
    #[must_use]
    pub fn new(host: Host, port: u16, database: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            servers: vec![Server { host, port }],
            target: Target::Any,
            database: database.into(),
            user: user.into(),
            password: None,
            passfile: None,
            tls: Tls::default(),
            channel_binding: ChannelBinding::Prefer,
            application_name: "postrider".to_owned(),
            connect_timeout: Duration::from_secs(10),
            tcp_user_timeout: None,
            replication: true,
        }
    }
}

/// One server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub host: Host,
    /// Its port; for a socket, the number its name ends with.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Socket(directory) => write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port),
            Host::Tcp(name) | Host::Local(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) | Host::Local(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In this directory, by a Unix socket named `.s.PGSQL.<port>`.
    Socket(PathBuf),
    /// On this name or address, by TCP.
    Tcp(String),
    /// On this machine, under this name: by the socket in one of the usual directories if it lets us in, else by TCP; by TCP
    /// alone where TLS is demanded. A socket carries about twice as many events per second as loopback TCP.
    Local(String),
}

impl Host {
    /// Reads what a configuration or URL calls the host: a path is a socket directory, a name of this machine prefers the socket.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            path if path.starts_with('/') => Self::Socket(PathBuf::from(path)),
            "" => Self::Local("localhost".to_owned()),
            "localhost" | "127.0.0.1" | "::1" => Self::Local(text.to_owned()),
            name => Self::Tcp(name.to_owned()),
        }
    }
}

/// Which server will do, where one of several is looked for:
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any that lets us in.
    Any,
    /// One that takes writes: no standby, and not read-only by default.
    ReadWrite,
    /// One that is no standby.
    Primary,
    /// A standby.
    Standby,
}

impl Target {
    /// Whether a server in this state will do.
    #[must_use]
    pub fn accepts(self, is_standby: bool, is_read_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !is_standby && !is_read_only,
            Self::Primary => !is_standby,
            Self::Standby => is_standby,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

/// How a TCP connection is secured. The files are read for each connection, so that renewed ones need no restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// What is demanded.
    pub mode: TlsMode,
    /// The authorities whose certificates are believed, as PEM; `None` for those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// What we show the server, if it asks who we are.
    pub identity: Option<Identity>,
}

impl Tls {
    /// How the server's certificate is checked. An authority's file turns `require` into `verify-ca`, as in libpq.
    #[must_use]
    pub fn check(&self) -> Check {
        match self.mode {
            TlsMode::Disable | TlsMode::Prefer => Check::Nothing,
            TlsMode::Require if self.ca_file.is_none() => Check::Nothing,
            TlsMode::Require | TlsMode::VerifyCa => Check::Authority,
            TlsMode::VerifyFull => Check::AuthorityAndName,
        }
    }
}

/// What is demanded of a TCP connection: <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it, whoever it is.
    #[default]
    Prefer,
    /// TLS, with whoever answers.
    Require,
    /// TLS with a server whose certificate a known authority signed.
    VerifyCa,
    /// The same, and the certificate is for the name that was connected to.
    VerifyFull,
}

/// How far a server's certificate was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Not at all: it may be anybody's.
    Nothing,
    /// A known authority signed it.
    Authority,
    /// A known authority signed it, for this name.
    AuthorityAndName,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no",
            Self::Authority => "authority",
            Self::AuthorityAndName => "authority and name",
        })
    }
}

/// A client's certificate and its key, both as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those of the authorities between it and the one that the server knows.
    pub certificate_file: PathBuf,
    /// Its key, which only its owner may read.
    pub key_file: PathBuf,
}

/// Whether SCRAM must prove that nobody stands between: <https://www.postgresql.org/docs/current/sasl-authentication.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Bound to the server's certificate where the server offers it.
    #[default]
    Prefer,
    /// Any other authentication is refused.
    Require,
}

/// A value that never shows in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        let mut options = ConnectOptions::new(Host::parse("db"), 5432, "shop", "relay");
        options.password = Some(Secret::new("hunter2"));
        let shown = format!("{options:?}");
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_host_is_a_socket_directory_a_name_of_this_machine_or_a_name_elsewhere() {
        for (text, host) in [
            ("/run/postgresql", Host::Socket("/run/postgresql".into())),
            ("localhost", Host::Local("localhost".into())),
            ("127.0.0.1", Host::Local("127.0.0.1".into())),
            ("::1", Host::Local("::1".into())),
            ("", Host::Local("localhost".into())),
            ("db.internal", Host::Tcp("db.internal".into())),
        ] {
            assert_eq!(Host::parse(text), host);
        }
    }

    #[test]
    fn each_target_names_the_servers_that_will_do() {
        for (target, primary, read_only_primary, standby) in [
            (Target::Any, true, true, true),
            (Target::ReadWrite, true, false, false),
            (Target::Primary, true, true, false),
            (Target::Standby, false, false, true),
        ] {
            let found = (target.accepts(false, false), target.accepts(false, true), target.accepts(true, true));
            assert_eq!(found, (primary, read_only_primary, standby), "{target}");
        }
    }

    #[test]
    fn an_authority_file_is_never_given_for_nothing_where_tls_is_demanded() {
        for (mode, without, with) in [
            (TlsMode::Require, Check::Nothing, Check::Authority),
            (TlsMode::VerifyCa, Check::Authority, Check::Authority),
            (TlsMode::VerifyFull, Check::AuthorityAndName, Check::AuthorityAndName),
        ] {
            let tls = |ca_file| Tls { mode, ca_file, identity: None };
            assert_eq!((tls(None).check(), tls(Some("ca.pem".into())).check()), (without, with), "{mode:?}");
        }
    }
}
