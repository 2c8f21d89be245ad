//! What the workers behind Kafka are told: the same file and variables as the relay's, of which each role reads the sections that it needs.

use std::{ffi::OsString, io, path::Path};

use crate::config::{
    admin::Admin,
    breaker::Breaker,
    clickhouse::ClickHouse,
    consumer::Consumer,
    dead_letter::DeadLetter,
    error::ConfigError,
    invalidate::Invalidate,
    kafka::Kafka,
    load::Load,
    log::Log,
    merge,
    postgres::Postgres,
    process::{self, Retry, Shutdown},
    read_configuration, read_file,
    redis::Redis,
    relays::File,
    settings::Settings,
    tracing::Tracing,
};

/// What every long-running role is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// The endpoint for probes and metrics.
    pub admin: Admin,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// How it waits between attempts.
    pub retry: Retry,
    /// When a worker stops asking a service that is away.
    pub breaker: Breaker,
    /// What is logged, and how.
    pub log: Log,
    /// Whether and how it traces.
    pub tracing: Tracing,
    /// Most bytes that all relays of the process together may have in flight.
    pub in_flight_bytes_max: usize,
}

/// Everything that the loader can be told, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// Where the records are.
    pub kafka: Kafka,
    /// How they are read.
    pub consumer: Consumer,
    /// Where the tables are.
    pub clickhouse: ClickHouse,
    /// What is read, and where it goes.
    pub load: Load,
    /// Where records go that it gives up.
    pub dead_letter: DeadLetter,
    /// What every role is told.
    pub process: Process,
}

/// Everything that the invalidator can be told, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidateConfig {
    /// Where the records are.
    pub kafka: Kafka,
    /// How they are read.
    pub consumer: Consumer,
    /// Where things are cached.
    pub redis: Redis,
    /// What is read, and what becomes stale.
    pub invalidate: Invalidate,
    /// Where records go that it gives up.
    pub dead_letter: DeadLetter,
    /// The database that rules ask, if one of them does.
    pub postgres: Option<Postgres>,
    /// What every role is told.
    pub process: Process,
}

/// What looking at the dead letters of a worker needs: where they are, and whose they are.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterConfig {
    /// Where the records are.
    pub kafka: Kafka,
    /// Where records go that are given up.
    pub dead_letter: DeadLetter,
    /// The consumer group that gives them up.
    pub group: String,
}

/// A worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The loader.
    Load,
    /// The invalidator.
    Invalidate,
}

impl DeadLetterConfig {
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load), unknown keys refused; only these
    /// sections are checked further. Without a `role` it is the loader's if one is configured, else the invalidator's.
    ///
    /// # Errors
    /// As there.
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        role: Option<Role>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = read_configuration(file.into().path)?;
        let mut settings = merge(&name, &text, environment)?;
        let loads = settings.is_given("load") || !settings.is_given("invalidate");
        let group = match role.unwrap_or(if loads { Role::Load } else { Role::Invalidate }) {
            Role::Load => Load::group(&mut settings),
            Role::Invalidate => Invalidate::group(&mut settings),
        };
        let config = Self {
            kafka: Kafka::from_settings(&mut settings, &read_file),
            dead_letter: DeadLetter::from_settings(&mut settings),
            group,
        };
        settings.into_result(config)
    }
}

impl Process {
    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        Self {
            admin: Admin::from_settings(settings),
            shutdown: Shutdown::from_settings(settings),
            retry: Retry::from_settings(settings),
            breaker: Breaker::from_settings(settings),
            log: Log::from_settings(settings),
            tracing: Tracing::from_settings(settings, read),
            in_flight_bytes_max: process::in_flight_bytes_max(settings),
        }
    }
}

impl LoadConfig {
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load), unknown keys refused; only the
    /// loader's sections are checked further.
    ///
    /// # Errors
    /// As there.
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = read_configuration(file.into().path)?;
        let mut settings = merge(&name, &text, environment)?;
        let kafka = Kafka::from_settings(&mut settings, &read_file);
        let config = Self {
            consumer: Consumer::from_settings(&mut settings, &kafka.security),
            kafka,
            clickhouse: ClickHouse::from_settings(&mut settings, &read_file),
            load: Load::from_settings(&mut settings),
            dead_letter: DeadLetter::from_settings(&mut settings),
            process: Process::from_settings(&mut settings, &read_file),
        };
        settings.into_result(config)
    }
}

impl InvalidateConfig {
    /// Reads the same file and variables as [`Config::load`](crate::config::Config::load), unknown keys refused; only the
    /// invalidator's sections are checked further.
    ///
    /// # Errors
    /// As there.
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = read_configuration(file.into().path)?;
        let mut settings = merge(&name, &text, environment)?;
        let invalidate = Invalidate::from_settings(&mut settings);
        let asks = invalidate.rules.iter().any(|rule| rule.query.is_some());
        let kafka = Kafka::from_settings(&mut settings, &read_file);
        let config = Self {
            consumer: Consumer::from_settings(&mut settings, &kafka.security),
            kafka,
            redis: Redis::from_settings(&mut settings, &read_file),
            invalidate,
            dead_letter: DeadLetter::from_settings(&mut settings),
            postgres: asks.then(|| Postgres::from_settings(&mut settings, &read_file)),
            process: Process::from_settings(&mut settings, &read_file),
        };
        settings.into_result(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::TableKind;

    fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Load, Vec<String>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut settings = merge("postrider.toml", text, pairs).expect("valid TOML");
        let load = Load::from_settings(&mut settings);
        settings.into_result(load).map_err(|error| error.problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sections_with_names_are_read_by_their_names_from_the_file_and_from_variables() {
        let text =
            "[load.tables.users]\ntopic = 'cdc.users'\n[load.tables.post_events]\ntopic = 'events'\nkind = 'append'";
        let load = load(text, &[("POSTRIDER_LOAD_TABLES_POST_EVENTS_TOPIC", "clicks")]).expect("right");
        let tables: Vec<_> = load.tables.iter().map(|table| (&*table.name, &*table.topic, table.kind)).collect();
        assert_eq!(tables, [("post_events", "clicks", TableKind::Append), ("users", "cdc.users", TableKind::Current)]);
    }

    #[test]
    fn a_mistake_in_a_section_names_the_section() {
        let wrong = |text| load(text, &[]).expect_err("wrong").join("\n");
        assert!(wrong("load.tables.users.topik = 'a'").contains("did you mean `load.tables.users.topic`?"));
        assert!(wrong("load.tables.Users.topic = 'a'").contains("`load.tables.Users` cannot be"));
        assert!(wrong("[load.tables.users]").contains("`load.tables.users` is empty"));
        assert!(wrong("load.tables.users.kind = 'append'").contains("`load.tables.users.topic` is required"));
        assert!(wrong("load.tables.users = 1").contains("is a section"));
        assert!(wrong("").contains("at least one table"));
    }
}
