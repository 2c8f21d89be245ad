//! `[redis]`: the server or the cluster in which things are cached, and who the relay is there.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{
    key::{Fallback, Key, Kind},
    secret::Secret,
    settings::Settings,
};

const URL: Key = Key {
    path: "redis.url",
    kind: Kind::Text(
        "a URL of the form redis://host:port/database or, with TLS, rediss://host:port/database; several host:port are separated by commas",
    ),
    fallback: Fallback::Value("redis://localhost:6379"),
    meaning: "Where Redis listens. Of a cluster some nodes are enough. User and password have keys of their own.",
};
const CLUSTER: Key = Key {
    path: "redis.cluster",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether it is a cluster.",
};
const USER: Key = Key {
    path: "redis.user",
    kind: Kind::Text("the name of a user, not empty"),
    fallback: Fallback::Absent("Redis' `default` user"),
    meaning: "Who the relay is at Redis. [invalidation.md](invalidation.md#rights) lists the rights it needs.",
};
const PASSWORD: Key = Key {
    path: "redis.password",
    kind: Kind::Secret,
    fallback: Fallback::Absent("no password is sent"),
    meaning: "The user's password. `password_file` keeps it out of this file.",
};
const PASSWORD_FILE: Key = Key {
    path: "redis.password_file",
    kind: Kind::Text("the path of a readable file that holds the password"),
    fallback: Fallback::Absent("no file is read"),
    meaning: "A file whose content, less a line break at its end, is the password. It is read again at each connection, so that a password may change.",
};
const TLS_CA_FILE: Key = Key {
    path: "redis.tls_ca_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("the operating system's authorities are trusted"),
    meaning: "The authorities whose certificates are trusted, instead of the operating system's. For `rediss` only.",
};
const TLS_CERTIFICATE_FILE: Key = Key {
    path: "redis.tls_certificate_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The relay's own certificate, with those between it and the authority, for a server that asks for one.",
};
const TLS_KEY_FILE: Key = Key {
    path: "redis.tls_key_file",
    kind: Kind::Text("the path of a readable PEM file with an unencrypted private key"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The key of the relay's own certificate.",
};
const CONNECT_TIMEOUT_MS: Key = Key {
    path: "redis.connect_timeout_ms",
    kind: Kind::Integer { min: 10, max: 60_000 },
    fallback: Fallback::Value("2000"),
    meaning: "How long a connection may take, in milliseconds.",
};
const TIMEOUT_MS: Key = Key {
    path: "redis.timeout_ms",
    kind: Kind::Integer { min: 10, max: 60_000 },
    fallback: Fallback::Value("5000"),
    meaning: "How long an answer may take before the server counts as away, in milliseconds.",
};

pub(super) const KEYS: &[Key] = &[
    URL,
    CLUSTER,
    USER,
    PASSWORD,
    PASSWORD_FILE,
    TLS_CA_FILE,
    TLS_CERTIFICATE_FILE,
    TLS_KEY_FILE,
    CONNECT_TIMEOUT_MS,
    TIMEOUT_MS,
];

/// Where Redis is, and who the relay is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// The server, or some nodes of the cluster: host and port.
    pub servers: Vec<(String, u16)>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// The logical database.
    pub database: u16,
    /// How connections are encrypted, if they are.
    pub tls: Option<Tls>,
    /// Who the relay is there.
    pub user: Option<String>,
    /// What proves it.
    pub password: Option<Password>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that are trusted; the operating system's if none are named.
    pub ca_file: Option<PathBuf>,
    /// The relay's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Here.
    Given(Secret),
    /// In a file, whose content may change.
    File(PathBuf),
}

/// A URL taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url {
    tls: bool,
    servers: Vec<(String, u16)>,
    database: u16,
}

impl Redis {
    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let url = settings.parsed(&URL, parse).unwrap_or_default();
        let cluster = settings.boolean(&CLUSTER);
        if !cluster && url.servers.len() > 1 {
            settings.refuse(&URL, "names several servers: they are nodes of a cluster if `redis.cluster = true`");
        }
        if cluster && url.database != 0 {
            settings.refuse(&URL, "names a database, and a cluster has only database 0");
        }
        Self {
            cluster,
            database: url.database,
            tls: tls(settings, url.tls, read),
            servers: url.servers,
            user: settings.parsed(&USER, |text| (!text.is_empty()).then(|| text.to_owned())),
            password: password(settings, read),
            connect_timeout: settings.milliseconds(&CONNECT_TIMEOUT_MS),
            timeout: settings.milliseconds(&TIMEOUT_MS),
        }
    }
}

fn parse(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let servers: Option<Vec<_>> = hosts.split(',').map(|server| host_and_port(server.trim())).collect();
    let database = if database.is_empty() { 0 } else { database.parse().ok()? };
    Some(Url { tls, servers: servers?, database })
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, 6379),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    (is_host && port > 0).then(|| (host.to_owned(), port))
}

fn tls(settings: &mut Settings, wanted: bool, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Tls> {
    let ca_file = file(settings, &TLS_CA_FILE, read);
    let certificate = file(settings, &TLS_CERTIFICATE_FILE, read);
    let key = file(settings, &TLS_KEY_FILE, read);
    if !wanted && (ca_file.is_some() || certificate.is_some() || key.is_some()) {
        settings.refuse(&URL, "does not ask for TLS, though its files are named: write rediss://");
    }
    if certificate.is_some() != key.is_some() {
        let lacking = if key.is_some() { &TLS_CERTIFICATE_FILE } else { &TLS_KEY_FILE };
        settings.refuse(lacking, "is needed beside the other: a certificate is of use only with its key");
    }
    wanted.then(|| Tls { ca_file, identity: certificate.zip(key) })
}

/// The path of a file that can be read now; what it holds is read when it is needed.
fn file(settings: &mut Settings, key: &Key, read: &impl Fn(&Path) -> io::Result<String>) -> Option<PathBuf> {
    let path = PathBuf::from(settings.optional_text(key)?);
    if let Err(error) = read(&path) {
        settings.refuse(key, &format!("names {}, which cannot be read: {error}", path.display()));
    }
    Some(path)
}

fn password(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Password> {
    let given = settings.secret(&PASSWORD);
    let of_file = file(settings, &PASSWORD_FILE, read);
    if given.is_some() && of_file.is_some() {
        settings.refuse(&PASSWORD_FILE, "and `redis.password` are two passwords: keep one of them");
    }
    given.map(Password::Given).or(of_file.map(Password::File))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_a_database_and_whether_there_is_tls() {
        let url = |text| parse(text).map(|url| (url.tls, url.servers, url.database));
        let server = |host: &str, port| (host.to_owned(), port);
        assert_eq!(url("redis://localhost"), Some((false, vec![server("localhost", 6379)], 0)));
        assert_eq!(url("redis://localhost/"), Some((false, vec![server("localhost", 6379)], 0)));
        assert_eq!(url("rediss://cache.example:6380/3"), Some((true, vec![server("cache.example", 6380)], 3)));
        assert_eq!(url("redis://a:1,b:2"), Some((false, vec![server("a", 1), server("b", 2)], 0)));
        assert_eq!(url("redis://[::1]:7000"), Some((false, vec![server("::1", 7000)], 0)));
        for wrong in
            ["localhost:6379", "http://a", "redis://", "redis://u:p@a", "redis://a/x", "redis://a:0", "redis://a:b"]
        {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }
}
