//! `[clickhouse]`: the server that `postrider load` writes to, who the loader is there, and how patient it is.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{
    error::ConfigError,
    key::{Fallback, Key, Kind},
    merge, read_configuration, read_file,
    relays::File,
    secret::Secret,
    settings::{Given, Settings},
};

const URL: Key = Key {
    path: "clickhouse.url",
    kind: Kind::Text("a URL of the form http://host:port or https://host:port, without user, password or parameters"),
    fallback: Fallback::Value("http://localhost:8123"),
    meaning: "Where ClickHouse's HTTP interface listens.",
};
const DATABASE: Key = Key {
    path: "clickhouse.database",
    kind: Kind::Text("the name of a database, not empty"),
    fallback: Fallback::Value("default"),
    meaning: "The database that holds the tables.",
};
const USER: Key = Key {
    path: "clickhouse.user",
    kind: Kind::Text("the name of a user, not empty"),
    fallback: Fallback::Value("default"),
    meaning: "Who the loader is at ClickHouse. [load.md](load.md#rights) lists the rights it needs.",
};
const PASSWORD: Key = Key {
    path: "clickhouse.password",
    kind: Kind::Secret,
    fallback: Fallback::Absent("no password is sent"),
    meaning: "The user's password. `password_file` keeps it out of this file.",
};
const PASSWORD_FILE: Key = Key {
    path: "clickhouse.password_file",
    kind: Kind::Text("the path of a readable file that holds the password"),
    fallback: Fallback::Absent("no file is read"),
    meaning: "A file whose content, less a line break at its end, is the password.",
};
const TLS_CA_FILE: Key = Key {
    path: "clickhouse.tls_ca_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("the operating system's authorities are trusted"),
    meaning: "The authorities whose certificates are trusted, instead of the operating system's. For `https` only.",
};
const TLS_CERTIFICATE_FILE: Key = Key {
    path: "clickhouse.tls_certificate_file",
    kind: Kind::Text("the path of a readable PEM file"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The loader's own certificate, with those between it and the authority, for a server that asks for one.",
};
const TLS_KEY_FILE: Key = Key {
    path: "clickhouse.tls_key_file",
    kind: Kind::Text("the path of a readable PEM file with an unencrypted private key"),
    fallback: Fallback::Absent("no certificate is shown"),
    meaning: "The key of `tls_certificate_file`.",
};
const CONNECT_TIMEOUT_MS: Key = Key {
    path: "clickhouse.connect_timeout_ms",
    kind: Kind::Integer { min: 100, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long an attempt to connect may take, in milliseconds.",
};
/// The server gives up first, so that no insert whose fate the client does not know goes on behind its back.
const INSERT_TIMEOUT_MS: Key = Key {
    path: "clickhouse.insert_timeout_ms",
    kind: Kind::Integer { min: 1_000, max: 3_600_000 },
    fallback: Fallback::Value("120000"),
    meaning: "How long the server may take for an insert, views included, in milliseconds. The loader itself waits ten seconds longer, so that the server gives up first.",
};
const QUERY_TIMEOUT_MS: Key = Key {
    path: "clickhouse.query_timeout_ms",
    kind: Kind::Integer { min: 1_000, max: 3_600_000 },
    fallback: Fallback::Value("30000"),
    meaning: "How long the server may take for anything else that the loader asks, in milliseconds.",
};
const COMPRESSION: Key = Key {
    path: "clickhouse.compression",
    kind: Kind::Choice(&["lz4", "none"]),
    fallback: Fallback::Value("lz4"),
    meaning: "How rows are packed on their way. `none` spares processor time where server and loader share a machine.",
};
const SETTINGS: Key = Key {
    path: "clickhouse.settings",
    kind: Kind::Properties,
    fallback: Fallback::Absent("none"),
    meaning: "Further settings of ClickHouse for each insert, such as `max_insert_threads`. Those on which exactly-once results rest cannot be given.",
};
const MIGRATIONS: Key = Key {
    path: "clickhouse.migrations",
    kind: Kind::Text("the path of a folder with files named V1__what_it_does.sql"),
    fallback: Fallback::Absent("`postrider migrate` leaves ClickHouse alone"),
    meaning: "The tables and views, which `postrider migrate` creates and upgrades. [clickhouse.md](clickhouse.md#migrations) says how.",
};

pub(super) const KEYS: &[Key] = &[
    URL,
    DATABASE,
    USER,
    PASSWORD,
    PASSWORD_FILE,
    TLS_CA_FILE,
    TLS_CERTIFICATE_FILE,
    TLS_KEY_FILE,
    CONNECT_TIMEOUT_MS,
    INSERT_TIMEOUT_MS,
    QUERY_TIMEOUT_MS,
    COMPRESSION,
    SETTINGS,
    MIGRATIONS,
];

/// Settings that the loader gives each insert itself, because its guarantees rest on them.
pub const PINNED: &[&str] = &[
    "async_insert",
    "wait_for_async_insert",
    "insert_deduplicate",
    "deduplicate_insert",
    "insert_deduplication_token",
    "deduplicate_blocks_in_dependent_materialized_views",
    "materialized_views_ignore_errors",
    "max_insert_block_size",
    "min_insert_block_size_rows",
    "min_insert_block_size_bytes",
    "input_format_null_as_default",
    "input_format_native_allow_types_conversion",
    "input_format_defaults_for_omitted_fields",
    "max_execution_time",
    "wait_end_of_query",
    "throw_on_max_partitions_per_insert_block",
];

/// Where ClickHouse is, who the loader is there, and how patient it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// The HTTP interface.
    pub url: String,
    /// The database of the tables.
    pub database: String,
    /// Who the loader is.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// The authorities that are trusted; the operating system's if none are named.
    pub tls_ca_file: Option<PathBuf>,
    /// The loader's own certificate.
    pub tls_certificate_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server may take for an insert.
    pub insert_timeout: Duration,
    /// How long the server may take for anything else.
    pub query_timeout: Duration,
    /// Whether rows are packed with LZ4.
    pub compressed: bool,
    /// Further settings for each insert.
    pub settings: BTreeMap<String, String>,
    /// The folder of migrations.
    pub migrations: Option<PathBuf>,
}

impl ClickHouse {
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load), unknown keys refused; only this
    /// section is checked further.
    ///
    /// # Errors
    /// As there.
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = read_configuration(file.into().path)?;
        let mut settings = merge(&name, &text, environment)?;
        let clickhouse = Self::from_settings(&mut settings, &read_file);
        settings.into_result(clickhouse)
    }

    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let url = settings.checked(&URL, is_plain_url);
        let tls_files = [&TLS_CA_FILE, &TLS_CERTIFICATE_FILE, &TLS_KEY_FILE];
        if !url.is_empty() && !url.starts_with("https://") {
            for key in tls_files.iter().filter(|key| settings.given(key).is_some()).copied().collect::<Vec<_>>() {
                settings.refuse(key, "has no effect without TLS: make `clickhouse.url` begin with https://");
            }
        }
        let [ca, certificate, key] = tls_files.map(|key| settings.optional_text(key).map(PathBuf::from));
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_some() { &TLS_CERTIFICATE_FILE } else { &TLS_KEY_FILE };
            settings.missing(missing);
        }
        Self {
            url,
            database: settings.checked(&DATABASE, |name| !name.is_empty()),
            user: settings.checked(&USER, |name| !name.is_empty()),
            password: password(settings, read),
            tls_ca_file: ca,
            tls_certificate_file: certificate,
            tls_key_file: key,
            connect_timeout: settings.milliseconds(&CONNECT_TIMEOUT_MS),
            insert_timeout: settings.milliseconds(&INSERT_TIMEOUT_MS),
            query_timeout: settings.milliseconds(&QUERY_TIMEOUT_MS),
            compressed: settings.choice(&COMPRESSION) == 0,
            settings: further(settings),
            migrations: settings.optional_text(&MIGRATIONS).map(PathBuf::from),
        }
    }
}

/// Whether `url` names a host and nothing that another key says.
fn is_plain_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    !rest.is_empty() && !rest.contains(['@', '?', '#', '/', ' '])
}

fn password(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Secret> {
    let rank = |key| settings.given(key).and_then(Given::rank);
    let (of_key, of_file) = (rank(&PASSWORD), rank(&PASSWORD_FILE));
    if of_file.is_none() || of_key > of_file {
        return settings.secret(&PASSWORD);
    }
    if of_key == of_file {
        settings.refuse(&PASSWORD_FILE, "and `clickhouse.password` are both given: keep one of them");
        return None;
    }
    let path = settings.text(&PASSWORD_FILE);
    match read(Path::new(&path)) {
        Ok(text) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Some(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
        }
        Err(error) => {
            settings.refuse(&PASSWORD_FILE, &format!("names {path}, which cannot be read: {error}"));
            None
        }
    }
}

fn further(settings: &mut Settings) -> BTreeMap<String, String> {
    let mut further = BTreeMap::new();
    for (name, (value, origin)) in settings.properties(&SETTINGS) {
        if PINNED.contains(&name.as_str()) {
            let message = format!("`clickhouse.settings.{name}` is the loader's own: its guarantees rest on it");
            settings.refuse_at(origin, message);
        } else if name.is_empty() || name.contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
            settings.refuse_at(origin, format!("`clickhouse.settings.{name}` is no name of a setting"));
        } else {
            further.insert(name, value);
        }
    }
    further
}
