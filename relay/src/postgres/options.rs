//! Where the server is and who asks: plain values, the password hidden from every print.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the server and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where the server listens.
    pub host: Host,
    /// Its port; for a socket, the number its name ends with.
    pub port: u16,
    /// The database to connect to.
    pub database: String,
    /// The role to connect as.
    pub user: String,
    /// Its password; `None` where the server trusts the connection.
    pub password: Option<Secret>,
    /// Shown in `pg_stat_activity` and `pg_stat_replication`.
    pub application_name: String,
    /// For connecting, authenticating and everything until the session is ready, together.
    pub connect_timeout: Duration,
    /// Whether the session takes replication commands besides SQL.
    pub replication: bool,
}

impl ConnectOptions {
    /// A replication connection on port 5432, without a password, within 10 seconds.
    #[must_use]
    pub fn new(host: Host, database: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            host,
            port: 5432,
            database: database.into(),
            user: user.into(),
            password: None,
            application_name: "postrider".to_owned(),
            connect_timeout: Duration::from_secs(10),
            replication: true,
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
    /// On this machine, under this name: by the socket in one of the usual directories if it lets us in, else by TCP.
    /// A socket carries about twice as many events per second as loopback TCP.
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
        let mut options = ConnectOptions::new(Host::parse("db"), "shop", "relay");
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
}
