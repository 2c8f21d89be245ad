//! `[postgres]`: where the database is and who the relay is there, by single keys or by one `url`.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{
    error::Origin,
    key::{Fallback, Key, Kind},
    secret::Secret,
    settings::{Given, Rank, Settings},
};

/// Longest name of a role, database or other object, in bytes: `NAMEDATALEN` less its end.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
pub const NAME_BYTES_MAX: usize = 63;

/// The socket is the default because logical decoding over it is half as fast again as over loopback TCP; the directory
/// is that of the distributions' packages.
const HOST: Key = Key {
    path: "postgres.host",
    kind: Kind::Text("a host name or address, or the absolute path of the directory that holds the server's socket"),
    fallback: Fallback::Value("/var/run/postgresql"),
    meaning: "Where the server listens. A socket carries about twice as many events a second as loopback TCP, so `postrider run` looks for one in the usual directories if this is localhost, 127.0.0.1 or ::1.",
};
const PORT: Key = Key {
    path: "postgres.port",
    kind: Kind::Integer { min: 1, max: 65535 },
    fallback: Fallback::Value("5432"),
    meaning: "The server's port; it is part of the socket's name too.",
};
const DATABASE: Key = Key {
    path: "postgres.database",
    kind: Kind::Text("the name of a database, at most 63 bytes"),
    fallback: Fallback::Required,
    meaning: "The database that holds the outbox. A slot belongs to one database.",
};
/// The same name as slot and publication have by default, so that what belongs together is found together.
const USER: Key = Key {
    path: "postgres.user",
    kind: Kind::Text("the name of a role, at most 63 bytes"),
    fallback: Fallback::Value("postrider"),
    meaning: "The role the relay logs in as; `postrider init` creates it.",
};
const PASSWORD: Key = Key {
    path: "postgres.password",
    kind: Kind::Secret,
    fallback: Fallback::Absent("no password is sent"),
    meaning: "The role's password. `password_file` keeps it out of this file.",
};
const PASSWORD_FILE: Key = Key {
    path: "postgres.password_file",
    kind: Kind::Text("the path of a readable file that holds the password"),
    fallback: Fallback::Absent("no file is read"),
    meaning: "A file whose content, less a line break at its end, is the password. A relative path starts at the working directory.",
};
const URL: Key = Key {
    path: "postgres.url",
    kind: Kind::Text("a URL of the form postgres://user@host:port/database"),
    fallback: Fallback::Absent("the single keys hold"),
    meaning: "Host, port, database, user and password as one URL instead of single keys. A socket directory is written as `?host=/directory`.",
};
/// Long enough for a server that is just starting or a slow name lookup, short enough that the back-off stays in charge.
const CONNECT_TIMEOUT_MS: Key = Key {
    path: "postgres.connect_timeout_ms",
    kind: Kind::Integer { min: 100, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long one attempt to connect may take, in milliseconds, the handshake included.",
};
const APPLICATION_NAME: Key = Key {
    path: "postgres.application_name",
    kind: Kind::Text("1 to 63 printable ASCII characters"),
    fallback: Fallback::Value("postrider"),
    meaning: "How the relay's sessions show in `pg_stat_activity` and `pg_stat_replication`.",
};

pub(super) const KEYS: &[Key] =
    &[HOST, PORT, DATABASE, USER, PASSWORD, PASSWORD_FILE, URL, CONNECT_TIMEOUT_MS, APPLICATION_NAME];

/// How to reach the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Postgres {
    /// Where the server listens.
    pub host: Host,
    /// The server's port; part of the socket's name too.
    pub port: u16,
    /// The database that holds the outbox.
    pub database: String,
    /// The role the relay logs in as.
    pub user: String,
    /// The role's password, if it needs one.
    pub password: Option<Secret>,
    /// How long one attempt to connect may take, the handshake included.
    pub connect_timeout: Duration,
    /// How the relay's sessions show in `pg_stat_activity`.
    pub application_name: String,
}

/// The two ways to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket `.s.PGSQL.<port>` in this directory.
    Socket(PathBuf),
    /// A host name or address, over TCP.
    Tcp(String),
}

impl Host {
    /// A leading slash makes a socket's directory of it, as in libpq.
    fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let tcp = || (!text.contains(['/', ','])).then(|| Self::Tcp(text.to_owned()));
        if text.starts_with('/') { Some(Self::Socket(text.into())) } else { tcp() }.filter(|_| valid)
    }
}

impl Postgres {
    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let url = settings.optional_text(&URL).and_then(|text| parse_url(settings, &text)).unwrap_or_default();
        let host = either(settings, &HOST, url.host, |settings| settings.parsed(&HOST, Host::parse));
        let port = either(settings, &PORT, url.port, |settings| u16::try_from(settings.integer(&PORT)?).ok());
        let database = either(settings, &DATABASE, url.database, |settings| settings.parsed(&DATABASE, name));
        let user = either(settings, &USER, url.user, |settings| settings.parsed(&USER, name));
        Self {
            // The stand-ins are reached only after a problem was recorded.
            host: host.unwrap_or(Host::Tcp(String::new())),
            port: port.unwrap_or_default(),
            database: database.unwrap_or_default(),
            user: user.unwrap_or_default(),
            password: password(settings, url.password, read),
            connect_timeout: settings.milliseconds(&CONNECT_TIMEOUT_MS),
            application_name: settings.checked(&APPLICATION_NAME, |name| {
                (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| (0x20..0x7f).contains(&byte))
            }),
        }
    }
}

/// Whether `name` can name a database, a role or another object.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn name(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

/// What a URL said, part by part.
#[derive(Default)]
struct UrlParts {
    host: Option<Host>,
    port: Option<u16>,
    database: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
}

/// Takes the URL apart; what it says wrong is recorded without showing it, since it may hold a password.
fn parse_url(settings: &mut Settings, text: &str) -> Option<UrlParts> {
    let refused = |settings: &mut Settings, why: &str| {
        settings.refuse(&URL, why);
        None
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return refused(settings, &format!("must be {}", URL.kind.allowed()));
    }
    for parameter in text.split_once('?').map_or("", |(_, query)| query).split('&').filter(|pair| !pair.is_empty()) {
        match parameter.split_once('=') {
            Some(("host", _)) | Some(("sslmode", "disable" | "allow" | "prefer")) => {}
            Some(("sslmode", _)) => {
                return refused(
                    settings,
                    "asks for TLS, which the relay does not speak yet: use a socket, or sslmode=disable on a trusted network",
                );
            }
            _ => {
                return refused(
                    settings,
                    "may carry only the parameters host and sslmode: set anything else by its own key",
                );
            }
        }
    }
    let Ok(parsed) = text.parse::<tokio_postgres::Config>() else {
        return refused(settings, &format!("must be {}", URL.kind.allowed()));
    };
    let (hosts, ports) = (parsed.get_hosts(), parsed.get_ports());
    if hosts.len() > 1 || ports.len() > 1 {
        return refused(settings, "must name one host: a slot lives on one server");
    }
    let password = match parsed.get_password().map(std::str::from_utf8) {
        None => None,
        Some(Ok(password)) => Some(Secret::new(password)),
        Some(Err(_)) => return refused(settings, "holds a password that is not UTF-8"),
    };
    Some(UrlParts {
        host: hosts.first().and_then(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => Host::parse(name),
            tokio_postgres::config::Host::Unix(directory) => Some(Host::Socket(directory.clone())),
        }),
        port: ports.first().copied(),
        database: parsed.get_dbname().and_then(name),
        user: parsed.get_user().and_then(name),
        password,
    })
}

/// The URL's part or the key's value: a part counts as if its key had been given where the URL was, so the stronger
/// source wins, and both from one source are a mistake.
fn either<T>(
    settings: &mut Settings,
    key: &Key,
    in_url: Option<T>,
    of_key: impl Fn(&mut Settings) -> Option<T>,
) -> Option<T> {
    let Some(part) = in_url else { return of_key(settings) };
    let (url, single) = (rank(settings, &URL), rank(settings, key));
    if single > url {
        return of_key(settings);
    }
    if single == url {
        settings.refuse(key, "is in `postgres.url` too: keep one of them");
    }
    Some(part)
}

fn rank(settings: &Settings, key: &Key) -> Option<Rank> {
    settings.given(key).and_then(Given::rank)
}

/// The password of the strongest source among the key, the file and the URL; two of one source are a mistake.
fn password(
    settings: &mut Settings,
    in_url: Option<Secret>,
    read: &impl Fn(&Path) -> io::Result<String>,
) -> Option<Secret> {
    let of_url = in_url.as_ref().and_then(|_| rank(settings, &URL));
    let (of_key, of_file) = (rank(settings, &PASSWORD), rank(settings, &PASSWORD_FILE));
    let strongest = of_url.max(of_key).max(of_file)?;
    if [of_url, of_key, of_file].iter().filter(|rank| **rank == Some(strongest)).count() > 1 {
        let origin = [&PASSWORD, &PASSWORD_FILE]
            .iter()
            .find_map(|key| settings.given(key).filter(|given| given.rank() == Some(strongest)))
            .map_or(Origin::Nowhere, |given| given.origin.clone());
        settings.refuse_at(
            origin,
            "the password is given twice: keep one of `postgres.password`, `postgres.password_file` and the one in `postgres.url`",
        );
        return None;
    }
    if of_key == Some(strongest) {
        settings.secret(&PASSWORD)
    } else if of_file == Some(strongest) {
        read_password(settings, read)
    } else {
        in_url
    }
}

fn read_password(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Secret> {
    let path = settings.text(&PASSWORD_FILE);
    match read(Path::new(&path)) {
        Ok(text) => Some(Secret::new(
            text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)),
        )),
        Err(error) => {
            settings.refuse(&PASSWORD_FILE, &format!("names {path}, which cannot be read: {error}"));
            None
        }
    }
}
