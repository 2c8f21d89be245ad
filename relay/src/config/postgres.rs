//! `[postgres]`: where the database is, who the relay is there and how safe the way must be, by single keys or by one `url`.

mod password;
mod server;
mod url;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{
    key::{Fallback, Key, Kind},
    postgres::url::UrlParts,
    secret::Secret,
    settings::{Given, Rank, Settings},
};

pub use crate::config::postgres::{
    server::{Host, Server},
    url::UrlError,
};

/// Longest name of a role, database or other object, in bytes: `NAMEDATALEN` less its end.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
pub const NAME_BYTES_MAX: usize = 63;

/// The socket is the default because logical decoding over it is half as fast again as over loopback TCP; the directory
/// is that of the distributions' packages.
const HOST: Key = Key {
    path: "postgres.host",
    kind: Kind::Text(
        "host names or addresses, each with its own :port if need be, or the absolute path of the directory that holds the server's socket; several separated by commas",
    ),
    fallback: Fallback::Value("/var/run/postgresql"),
    meaning: "Where the server listens; several are tried in order. A socket carries about twice as many events a second as loopback TCP, so one is looked for in the usual directories if this is localhost, 127.0.0.1 or ::1 and `tls` is `prefer` or `disable`.",
};
const PORT: Key = Key {
    path: "postgres.port",
    kind: Kind::Integer { min: 1, max: 65535 },
    fallback: Fallback::Value("5432"),
    meaning: "The port of every host that has none of its own; it is part of the socket's name too.",
};
const TARGET: Key = Key {
    path: "postgres.target_session_attrs",
    kind: Kind::Choice(&["any", "read-write", "primary", "standby"]),
    fallback: Fallback::Absent("`any` for one host, `read-write` for several"),
    meaning: "Which of the hosts will do: `read-write` follows a failover. `standby` is for a slot that was made on a standby (PostgreSQL 16 and later).",
};
pub(super) const DATABASE: Key = Key {
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
const PASSFILE: Key = Key {
    path: "postgres.passfile",
    kind: Kind::Text("the path of a file in libpq's password file format"),
    fallback: Fallback::Absent("no file is looked into, neither `~/.pgpass` nor `PGPASSFILE`"),
    meaning: "A file of lines `host:port:database:user:password`, in place of `password` and `password_file`. Only its owner may have access (0600; owned by root: 0640). It is read for each connection.",
};
pub(super) const URL: Key = Key {
    path: "postgres.url",
    kind: Kind::Text("a URL of the form postgres://user@host:port/database"),
    fallback: Fallback::Absent("the single keys hold"),
    meaning: "Host, port, database, user and password as one URL instead of single keys, several hosts separated by commas. A socket directory is written as `?host=/directory`. It takes libpq's parameters of the other keys too, such as `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `target_session_attrs` and `connect_timeout` (seconds).",
};
/// As in libpq, and so what every tool for Postgres does: it never fails where there is no TLS, and what was reached is
/// logged. Against somebody who may change what is sent, only `verify-full` protects.
const TLS: Key = Key {
    path: "postgres.tls",
    kind: Kind::Choice(&["disable", "prefer", "require", "verify-ca", "verify-full"]),
    fallback: Fallback::Value("prefer"),
    meaning: "How safe a TCP connection must be, with libpq's meanings: `prefer` encrypts if the server can, `require` always, `verify-ca` demands a certificate of a known authority, `verify-full` one for this host name. Over a network, use `verify-full`.",
};
const TLS_CA_FILE: Key = Key {
    path: "postgres.tls_ca_file",
    kind: Kind::Text("the path of a PEM file of certificates"),
    fallback: Fallback::Absent("the operating system's authorities, with `verify-full`"),
    meaning: "The authorities whose certificates are believed, or the server's own certificate if it signed itself. With it, `require` means `verify-ca`. It is read for each connection.",
};
const TLS_CERTIFICATE_FILE: Key = Key {
    path: "postgres.tls_certificate_file",
    kind: Kind::Text("the path of a PEM file of certificates"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The certificate that the relay shows the server, followed by those between it and the authority.",
};
const TLS_KEY_FILE: Key = Key {
    path: "postgres.tls_key_file",
    kind: Kind::Text("the path of a PEM file with an unencrypted private key"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The key of `tls_certificate_file`. Only its owner may have access (0600; owned by root: 0640).",
};
const CHANNEL_BINDING: Key = Key {
    path: "postgres.channel_binding",
    kind: Kind::Choice(&["prefer", "require"]),
    fallback: Fallback::Value("prefer"),
    meaning: "Whether the password exchange must be bound to the server's certificate (SCRAM-SHA-256-PLUS), which shows that nobody stands between even where no authority is known; `require` refuses every other authentication.",
};
/// Long enough for a server that is just starting or a slow name lookup, short enough that the back-off stays in charge.
const CONNECT_TIMEOUT_MS: Key = Key {
    path: "postgres.connect_timeout_ms",
    kind: Kind::Integer { min: 100, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long one attempt to connect to one address may take, in milliseconds, the handshake included.",
};
const TCP_USER_TIMEOUT_MS: Key = Key {
    path: "postgres.tcp_user_timeout_ms",
    kind: Kind::Integer { min: 100, max: 3_600_000 },
    fallback: Fallback::Absent("the kernel's retransmission decides"),
    meaning: "How long what was sent over TCP may stay unacknowledged before the connection counts as lost, in milliseconds. Linux only.",
};
const WAL_DISK_BYTES: Key = Key {
    path: "postgres.wal_disk_bytes",
    kind: Kind::Integer { min: 16_777_216, max: i64::MAX },
    fallback: Fallback::Absent("only the server's own limits count"),
    meaning: "How much WAL a slot may keep before the server's disk is too full, in bytes. The server knows no such limit; `postrider slot list` and the metric `postrider_slot_seconds_to_limit` reckon when it is reached.",
};
const APPLICATION_NAME: Key = Key {
    path: "postgres.application_name",
    kind: Kind::Text("1 to 63 printable ASCII characters"),
    fallback: Fallback::Value("postrider"),
    meaning: "How the relay's sessions show in `pg_stat_activity` and `pg_stat_replication`.",
};

pub(super) const KEYS: &[Key] = &[
    HOST,
    PORT,
    TARGET,
    DATABASE,
    USER,
    PASSWORD,
    PASSWORD_FILE,
    PASSFILE,
    URL,
    TLS,
    TLS_CA_FILE,
    TLS_CERTIFICATE_FILE,
    TLS_KEY_FILE,
    CHANNEL_BINDING,
    CONNECT_TIMEOUT_MS,
    TCP_USER_TIMEOUT_MS,
    APPLICATION_NAME,
    WAL_DISK_BYTES,
];

/// How to reach the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Postgres {
    /// Where the servers listen, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Which of them will do.
    pub target: Target,
    /// The database that holds the outbox.
    pub database: String,
    /// The role the relay logs in as.
    pub user: String,
    /// The role's password, if it needs one.
    pub password: Option<Secret>,
    /// A file of passwords, looked into where no password is given.
    pub passfile: Option<PathBuf>,
    /// How safe a TCP connection must be.
    pub tls: Tls,
    /// Whether the password must be bound to the server's certificate.
    pub channel_binding: ChannelBinding,
    /// How long one attempt to connect to one address may take, the handshake included.
    pub connect_timeout: Duration,
    /// How long what was sent may stay unacknowledged; `None` leaves it to the kernel.
    pub tcp_user_timeout: Option<Duration>,
    /// How the relay's sessions show in `pg_stat_activity`.
    pub application_name: String,
    /// How much WAL a slot may keep before the disk is too full, in bytes, if that is known.
    pub wal_disk_bytes: Option<i64>,
}

/// Which of several servers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any.
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that is no standby.
    Primary,
    /// A standby.
    Standby,
}

/// How a TCP connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// What is demanded.
    pub mode: TlsMode,
    /// The authorities that are believed; `None` for the operating system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate and the key that the relay shows.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is demanded of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it.
    #[default]
    Prefer,
    /// TLS.
    Require,
    /// TLS, and a certificate of a known authority.
    VerifyCa,
    /// TLS, and a certificate of a known authority for this name.
    VerifyFull,
}

/// Whether the password must be bound to the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Where it can be.
    Prefer,
    /// Always.
    Require,
}

impl Target {
    /// In the order of the key's words.
    const ALL: [Self; 4] = [Self::Any, Self::ReadWrite, Self::Primary, Self::Standby];

    /// Of several servers, the one that takes writes: the others hold copies.
    fn default_of(servers: &[Server]) -> Self {
        if servers.len() > 1 { Self::ReadWrite } else { Self::Any }
    }
}

impl TlsMode {
    /// In the order of the key's words.
    const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
}

impl ChannelBinding {
    /// In the order of the key's words.
    const ALL: [Self; 2] = [Self::Prefer, Self::Require];
}

impl Tls {
    /// What is contradictory or would protect nobody: the key it is about, and why.
    fn fault(&self) -> Option<(&'static Key, &'static str)> {
        if self.ca_file.is_some() && self.mode <= TlsMode::Prefer {
            return Some((
                &TLS_CA_FILE,
                "is not looked at unless `postgres.tls` is \"verify-full\", \"verify-ca\" or \"require\": set it to one of them",
            ));
        }
        if self.ca_file.is_none() && self.mode == TlsMode::VerifyCa {
            return Some((
                &TLS,
                "needs `postgres.tls_ca_file` to be \"verify-ca\": of the operating system's authorities anybody can have a certificate, so that only \"verify-full\" means something with them",
            ));
        }
        if self.identity.is_some() && self.mode == TlsMode::Disable {
            return Some((&TLS_CERTIFICATE_FILE, "is not shown to anybody while `postgres.tls` is \"disable\""));
        }
        None
    }
}

impl Postgres {
    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let url = settings.optional_text(&URL).and_then(|text| parse_url(settings, &text)).unwrap_or_default();
        let servers = servers(settings, &url);
        let target = either(settings, &TARGET, url.target, |settings| chosen(settings, &TARGET, &Target::ALL));
        let database = either(settings, &DATABASE, url.database.clone(), |settings| settings.parsed(&DATABASE, name));
        let user = either(settings, &USER, url.user.clone(), |settings| settings.parsed(&USER, name));
        let tls = tls(settings, &url, &servers);
        let secret = password::of(settings, &url, read);
        let timeout =
            |settings: &mut Settings, key: &Key| settings.given(key).is_some().then(|| settings.milliseconds(key));
        Self {
            target: target.unwrap_or(Target::default_of(&servers)),
            servers,
            // The stand-ins are reached only after a problem was recorded.
            database: database.unwrap_or_default(),
            user: user.unwrap_or_default(),
            password: secret.password,
            passfile: secret.passfile,
            tls,
            channel_binding: either(settings, &CHANNEL_BINDING, url.channel_binding, |settings| {
                chosen(settings, &CHANNEL_BINDING, &ChannelBinding::ALL)
            })
            .unwrap_or(ChannelBinding::Prefer),
            connect_timeout: either(settings, &CONNECT_TIMEOUT_MS, url.connect_timeout, |settings| {
                Some(settings.milliseconds(&CONNECT_TIMEOUT_MS))
            })
            .unwrap_or_default(),
            tcp_user_timeout: either(settings, &TCP_USER_TIMEOUT_MS, url.tcp_user_timeout, |settings| {
                timeout(settings, &TCP_USER_TIMEOUT_MS)
            }),
            application_name: either(settings, &APPLICATION_NAME, url.application_name.clone(), |settings| {
                settings.parsed(&APPLICATION_NAME, application_name)
            })
            .unwrap_or_default(),
            wal_disk_bytes: settings
                .given(&WAL_DISK_BYTES)
                .is_some()
                .then(|| settings.integer(&WAL_DISK_BYTES))
                .flatten(),
        }
    }

    /// The same servers with what `url` says of them and of whom to connect as; a secret of this configuration is not given to
    /// another role.
    ///
    /// # Errors
    /// What is wrong with the URL, without showing it.
    pub fn with_url(&self, url: &str) -> Result<Self, UrlError> {
        let parts = UrlParts::parse(url)?;
        let user = parts.user.clone().ok_or(UrlError::new("must name a user: postgres://user@host:port/database"))?;
        let servers = match &parts.places[..] {
            [] => self.servers.clone(),
            places => places.iter().map(|place| place.at(parts.port.unwrap_or(DEFAULT_PORT))).collect(),
        };
        let own = user == self.user;
        let inherited = if servers.iter().all(Server::is_socket) { Tls::default() } else { self.tls.clone() };
        let tls = Tls {
            mode: parts.tls.unwrap_or(inherited.mode),
            ca_file: match (parts.ca_file.clone(), parts.tls) {
                (Some(file), _) => file,
                (None, Some(TlsMode::Disable | TlsMode::Prefer)) => None,
                (None, _) => inherited.ca_file,
            },
            identity: url::identity(&parts)?.or(inherited.identity.filter(|_| own)),
        };
        if let Some((_, why)) = tls.fault() {
            return Err(UrlError::new(why));
        }
        Ok(Self {
            target: parts.target.unwrap_or(if parts.places.is_empty() {
                self.target
            } else {
                Target::default_of(&servers)
            }),
            servers,
            database: parts.database.unwrap_or_else(|| self.database.clone()),
            password: parts.password.or(self.password.clone().filter(|_| own)),
            user,
            passfile: parts.passfile.or(self.passfile.clone()),
            tls,
            channel_binding: parts.channel_binding.unwrap_or(self.channel_binding),
            connect_timeout: parts.connect_timeout.unwrap_or(self.connect_timeout),
            tcp_user_timeout: parts.tcp_user_timeout.or(self.tcp_user_timeout),
            application_name: parts.application_name.unwrap_or_else(|| self.application_name.clone()),
            wal_disk_bytes: self.wal_disk_bytes,
        })
    }
}

/// Where a URL that names a host and no port means.
const DEFAULT_PORT: u16 = 5432;

/// Whether `name` can name a database, a role or another object.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn name(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

fn application_name(text: &str) -> Option<String> {
    let allowed = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    allowed.then(|| text.to_owned())
}

fn servers(settings: &mut Settings, url: &UrlParts) -> Vec<Server> {
    let in_url = (!url.places.is_empty()).then(|| url.places.clone());
    let places = either(settings, &HOST, in_url, |settings| settings.parsed(&HOST, server::parse_list));
    let port = either(settings, &PORT, url.port, |settings| u16::try_from(settings.integer(&PORT)?).ok());
    let port = port.unwrap_or_default();
    places.unwrap_or_default().into_iter().map(|place| place.at(port)).collect()
}

fn tls(settings: &mut Settings, url: &UrlParts, servers: &[Server]) -> Tls {
    let mode = either(settings, &TLS, url.tls, |settings| chosen(settings, &TLS, &TlsMode::ALL)).unwrap_or_default();
    let ca_file = either(settings, &TLS_CA_FILE, url.ca_file.clone(), |settings| Some(path(settings, &TLS_CA_FILE)));
    let file = |settings: &mut Settings, key: &Key, part: &Option<PathBuf>| {
        either(settings, key, part.clone(), |settings| path(settings, key))
    };
    let certificate = file(settings, &TLS_CERTIFICATE_FILE, &url.certificate_file);
    let key = file(settings, &TLS_KEY_FILE, &url.key_file);
    match (&certificate, &key) {
        (Some(_), None) => settings.refuse(&TLS_CERTIFICATE_FILE, "needs its key: set `postgres.tls_key_file` too"),
        (None, Some(_)) => {
            settings.refuse(&TLS_KEY_FILE, "needs its certificate: set `postgres.tls_certificate_file` too");
        }
        _ => {}
    }
    let tls = Tls { mode, ca_file: ca_file.flatten(), identity: certificate.zip(key) };
    if let Some((key, why)) = tls.fault() {
        settings.refuse(key, why);
    }
    if mode >= TlsMode::Require && servers.iter().any(Server::is_socket) {
        settings.refuse(
            &TLS,
            "demands what a Unix socket does not have: name a host in `postgres.host`, or set this to \"prefer\"",
        );
    }
    tls
}

fn path(settings: &mut Settings, key: &Key) -> Option<PathBuf> {
    settings.parsed(key, |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

/// The value that the chosen word stands for; `None` if there is no word.
fn chosen<T: Copy>(settings: &mut Settings, key: &Key, values: &[T]) -> Option<T> {
    let Kind::Choice(words) = key.kind else { return None };
    settings.parsed(key, |text| words.iter().position(|word| *word == text).and_then(|at| values.get(at).copied()))
}

/// Takes the URL apart; what it says wrong is recorded without showing it, since it may hold a password.
fn parse_url(settings: &mut Settings, text: &str) -> Option<UrlParts> {
    match UrlParts::parse(text) {
        Ok(parts) => Some(parts),
        Err(error) => {
            settings.refuse(&URL, &error.to_string());
            None
        }
    }
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

#[cfg(test)]
mod tests;
