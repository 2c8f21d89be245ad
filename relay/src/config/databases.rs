//! `[databases.NAME]`: further databases whose slots are looked at; and all that looking at slots needs to be told.

use std::{ffi::OsString, io, path::Path};

use crate::config::{
    capture::Capture,
    error::ConfigError,
    key::{Fallback, Key, Kind},
    outbox::Outbox,
    postgres::{DATABASE, Postgres, URL},
    read_configuration, read_file,
    relays::{File, Layers, OfRelay, of_layers},
    settings::Settings,
    source::Source,
};

/// The table of the sections.
const DATABASES: &str = "databases";

const DATABASE_URL: Key = Key {
    path: "databases.NAME.url",
    kind: Kind::Secret,
    fallback: Fallback::Absent("`url_file` is read"),
    meaning: "The database as a URL, postgres://user@host:port/database, as `postgres.url`. What it does not name, such as how TLS is checked, is as in `[postgres]`. A password in it is never printed.",
};
const DATABASE_URL_FILE: Key = Key {
    path: "databases.NAME.url_file",
    kind: Kind::Text("the path of a readable file that holds a URL"),
    fallback: Fallback::Absent("`url` says it"),
    meaning: "A file whose content, less a line break at its end, is the URL: a password stays out of this file.",
};
const DATABASE_WAL_DISK_BYTES: Key = Key {
    path: "databases.NAME.wal_disk_bytes",
    kind: Kind::Integer { min: 16_777_216, max: i64::MAX },
    fallback: Fallback::Absent("only the server's own limits count"),
    meaning: "As `postgres.wal_disk_bytes`, of this server.",
};

pub(super) const KEYS: &[Key] = &[DATABASE_URL, DATABASE_URL_FILE, DATABASE_WAL_DISK_BYTES];

/// A database beside the relay's own.
#[derive(Debug, Clone, PartialEq)]
pub struct FurtherDatabase {
    /// What it is called.
    pub name: String,
    /// How it is reached, and what its disk has room for.
    pub postgres: Postgres,
}

/// The part of a configuration that looking at slots needs. A DBA who looks at other databases only need not have a relay's.
#[derive(Debug, Clone, PartialEq)]
pub struct SurveyConfig {
    /// Each relay's database, what it reads there and the publication of captured tables; none if no relay is configured.
    pub own: Vec<Own>,
    /// What the URLs of further databases are completed by.
    pub base: Postgres,
    /// The further databases, by name.
    pub databases: Vec<FurtherDatabase>,
}

/// A relay's database.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// The relay's name, where there are several.
    pub name: Option<String>,
    /// How it is reached.
    pub postgres: Postgres,
    /// The slot and the publication that are read.
    pub source: Source,
    /// Whether there is an outbox, whose publication is then read.
    pub has_outbox: bool,
    /// The publication of captured tables, if there are any.
    pub captured: Option<String>,
}

impl SurveyConfig {
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load); `postgres.database` may be missing
    /// where there are other databases, further ones of the configuration or `others`. Of several relays it holds all, or the one that
    /// `file` names.
    ///
    /// # Errors
    /// As [`Config::load`](crate::config::Config::load).
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        others: bool,
    ) -> Result<Self, ConfigError> {
        let file = file.into();
        let (name, text) = read_configuration(file.path)?;
        let layers = Layers::parse(&name, &text, environment)?;
        Self::from_layers(&layers, file.relay, others)
    }

    fn from_layers(layers: &Layers, relay: Option<&str>, others: bool) -> Result<Self, ConfigError> {
        let read = |settings| Self::from_settings(settings, others, &read_file);
        let mut relays = of_layers(layers, relay, read)?;
        if relays.len() == 1
            && let Some(only) = relays.pop()
        {
            return Ok(only.config);
        }
        let own = relays.into_iter().flat_map(|OfRelay { name, config }| {
            config.own.into_iter().map(move |own| Own { name: name.clone(), ..own })
        });
        let own = own.collect();
        Ok(Self { own, ..Self::from_settings(layers.shared(), true, &read_file)? })
    }

    fn from_settings(
        mut settings: Settings,
        others: bool,
        read: &impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigError> {
        let names = settings.names(DATABASES);
        let is_own = settings.given(&DATABASE).is_some() || settings.given(&URL).is_some();
        if !is_own && (others || !names.is_empty()) {
            settings.suppose(&DATABASE, "postgres");
        }
        let base = Postgres::from_settings(&mut settings, read);
        let own = is_own.then(|| {
            let source = Source::from_settings(&mut settings);
            let outboxes = Outbox::all_from_settings(&mut settings);
            let capture = Capture::from_settings(&mut settings, &source, &outboxes, read);
            Own {
                name: None,
                postgres: base.clone(),
                source,
                has_outbox: !outboxes.is_empty(),
                captured: capture.map(|capture| capture.publication),
            }
        });
        let databases = names.into_iter().filter_map(|name| {
            let postgres = settings.in_section(&name, |settings| further(settings, &base, read))?;
            Some(FurtherDatabase { name, postgres })
        });
        let databases = databases.collect();
        let own = own.into_iter().collect();
        settings.into_result(Self { own, base, databases })
    }
}

/// A further database; `None` if something of it was refused.
fn further(settings: &mut Settings, base: &Postgres, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Postgres> {
    let disk = settings.given(&DATABASE_WAL_DISK_BYTES).is_some();
    let wal_disk_bytes = disk.then(|| settings.integer(&DATABASE_WAL_DISK_BYTES)).flatten();
    let (key, url) = match (settings.secret(&DATABASE_URL), settings.optional_text(&DATABASE_URL_FILE)) {
        (Some(url), None) => (&DATABASE_URL, url.expose().to_owned()),
        (None, Some(path)) => (&DATABASE_URL_FILE, from_file(settings, &path, read)?),
        (Some(_), Some(_)) => {
            settings.refuse(&DATABASE_URL_FILE, "is given beside `url`: keep one of them");
            return None;
        }
        (None, None) => {
            settings.refuse(&DATABASE_URL, "is required, or `url_file` in its place");
            return None;
        }
    };
    match base.with_url(&url) {
        Ok(postgres) => Some(Postgres { wal_disk_bytes, ..postgres }),
        Err(error) => {
            settings.refuse(key, &error.to_string());
            None
        }
    }
}

fn from_file(settings: &mut Settings, path: &str, read: &impl Fn(&Path) -> io::Result<String>) -> Option<String> {
    match read(Path::new(path)) {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            settings.refuse(&DATABASE_URL_FILE, &format!("names {path}, which cannot be read: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge;

    fn parse(text: &str, others: bool) -> Result<SurveyConfig, String> {
        let read = |path: &Path| match path.to_str() {
            Some("/url") => Ok("postgres://dba:secret@replica/shop\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let settings = merge("p.toml", text, []).map_err(|error| error.to_string())?;
        SurveyConfig::from_settings(settings, others, &read).map_err(|error| error.to_string())
    }

    #[test]
    fn further_databases_are_completed_by_the_relays_own_and_secrets_are_not_shared() {
        let config = parse(
            "[postgres]\nhost = 'db1'\ndatabase = 'shop'\npassword = 'own'\nwal_disk_bytes = 50000000\ntls = 'require'\n\
             [databases.replica]\nurl_file = '/url'\n\
             [databases.audit]\nurl = 'postgres://dba@/audit'\nwal_disk_bytes = 100000000\n",
            false,
        )
        .unwrap();
        let own = &config.own[0];
        assert_eq!((own.postgres.wal_disk_bytes, own.has_outbox, &own.captured), (Some(50_000_000), true, &None));
        let [audit, replica] = &config.databases[..] else { panic!("{:?}", config.databases) };
        assert_eq!((audit.name.as_str(), replica.name.as_str()), ("audit", "replica"));
        assert_eq!((audit.postgres.database.as_str(), &audit.postgres.servers), ("audit", &own.postgres.servers));
        assert_eq!((audit.postgres.wal_disk_bytes, replica.postgres.wal_disk_bytes), (Some(100_000_000), None));
        assert_eq!(audit.postgres.password, None, "another role's secret is not given");
        assert_eq!(replica.postgres.tls, own.postgres.tls);
        assert!(!format!("{replica:?}").contains("secret"));
    }

    #[test]
    fn a_relay_of_ones_own_is_only_needed_where_nothing_else_is_named() {
        assert!(parse("", false).unwrap_err().contains("`postgres.database` is required"));
        assert_eq!(parse("[postgres]\nhost = 'db1'", true).unwrap().own, []);
        let config = parse("[databases.a]\nurl = 'postgres://dba@db9/shop'", false).unwrap();
        assert_eq!((config.own.len(), config.databases.len()), (0, 1));
    }

    #[test]
    fn what_is_wrong_is_named_and_a_url_is_not_shown() {
        for (text, said) in [
            ("[databases.a]\nwal_disk_bytes = 20000000", "`databases.a.url` is required, or `url_file`"),
            ("[databases.a]\nurl = 'postgres://dba@x/y'\nurl_file = '/url'", "is given beside `url`"),
            ("[databases.a]\nurl_file = '/none'", "`databases.a.url_file` names /none, which cannot be read"),
            ("[databases.a]\nurl = 'mysql://root:secret@x'", "`databases.a.url` must be a URL of the form"),
            ("[databases.a]\nurl = 'postgres://x/y'", "`databases.a.url` must name a user"),
            ("[databases.a]\nurl = 'postgres://dba@x/y'\nwal_disk_bytes = 1", "a whole number from 16777216"),
            ("[databases.A]\nurl = 'postgres://dba@x/y'", "a section is named by"),
        ] {
            let error = parse(text, false).unwrap_err();
            assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
