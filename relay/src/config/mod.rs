//! Configuration: the text of `postrider.toml` and the environment become plain, validated structs; every mistake is named with its place, and no secret is ever printed.
//!
//! The way of a value: [`document`] reads the file and [`environment`] the variables, both against the one table of
//! [`key::all`]; [`settings`] lets the environment win over the file and the file over the default, and checks type and
//! range; each section's module turns its settings into its struct. All mistakes of one start are reported together.

pub mod admin;
pub mod audit;
pub mod breaker;
pub mod capture;
pub mod clickhouse;
pub mod consumer;
pub mod databases;
pub mod dead_letter;
pub mod declared;
mod document;
mod environment;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod guard;
pub mod identity;
pub mod invalidate;
pub mod kafka;
pub mod key;
pub mod load;
pub mod log;
mod nearest;
pub mod outbox;
pub mod parking;
pub mod partitions;
pub mod polling;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod relays;
pub mod secret;
mod settings;
pub mod source;
pub mod standby;
pub mod topics;
pub mod tracing;
pub mod worker;

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    path::Path,
};

use crate::config::{
    capture::Capture,
    declared::Declared,
    error::{ConfigError, Problem},
    guard::Guard,
    kafka::Kafka,
    outbox::Outbox,
    parking::Parking,
    partitions::Partitions,
    polling::Polling,
    postgres::Postgres,
    relays::{File, Layers},
    settings::Settings,
    source::Source,
    standby::Standby,
    topics::Topics,
    worker::Process,
};

/// The file that is read when no path is given and it is there.
pub const FILE_DEFAULT: &str = "postrider.toml";

/// Longest configuration or secret file that is read, in bytes: ten thousand times a real one, and no device file fills the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything the relay can be told, validated: any value of this type is one that the relay can start with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the database is and who the relay is there.
    pub postgres: Postgres,
    /// The slot and publication that are read.
    pub source: Source,
    /// How the outbox is read where it is polled.
    pub polling: Polling,
    /// Where events are written, and where they go; none only where tables are captured.
    pub outboxes: Vec<Outbox>,
    /// The ordinary tables whose changes are published, if there are any.
    pub capture: Option<Capture>,
    /// Where events are published.
    pub kafka: Kafka,
    /// What becomes of an event whose topic does not exist.
    pub topics: Topics,
    /// How much may be set aside.
    pub parking: Parking,
    /// How the days of an outbox come and go.
    pub partitions: Partitions,
    /// How several relays for the slot take turns.
    pub standby: Standby,
    /// How much WAL the slot may hold back.
    pub guard: Guard,
    /// What every long-running role is told.
    pub process: Process,
}

impl Config {
    /// Reads the file at `path`, or [`FILE_DEFAULT`] if it is there, then lets `environment` override it.
    ///
    /// A file that is named must be there; without one, an absent file is fine where the environment suffices. Of several relays it
    /// is the one that `file` names.
    /// Secret files (`*_file`) are read here as well, so that the result holds all that a start needs.
    ///
    /// # Errors
    /// Every mistake that was found, each with file, line and column or the variable's name.
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let file = file.into();
        let (name, text) = read_configuration(file.path)?;
        Self::from_settings(Layers::parse(&name, &text, environment)?.one(file.relay)?, &read_file)
    }

    /// Parses `text`, which came from the file called `name`, and lets `environment` override it; `read` fetches the
    /// content of a secret file. Does nothing else outside, so it can be tested with tables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigError> {
        Self::from_settings(Layers::parse(name, text, environment)?.one(None)?, &read)
    }

    fn from_settings(mut settings: Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Result<Self, ConfigError> {
        let source = Source::from_settings(&mut settings);
        let outboxes = Outbox::all_from_settings(&mut settings);
        let guard = Guard::from_settings(&mut settings, &outboxes);
        let capture = Capture::from_settings(&mut settings, &source, &outboxes, read);
        let polling = Polling::from_settings(&mut settings);
        Polling::check(&mut settings, &source, &outboxes, capture.as_ref());
        let kafka = Kafka::from_settings(&mut settings, read);
        if source.may_poll() && kafka.delivery.exactly_once {
            let message =
                "of which no transaction of Kafka can hold the progress: `kafka.delivery` must be \"at-least-once\"";
            source.refuse_polling(&mut settings, message);
        }
        let config = Self {
            postgres: Postgres::from_settings(&mut settings, read),
            capture,
            source,
            polling,
            outboxes,
            kafka,
            topics: Topics::from_settings(&mut settings),
            parking: Parking::from_settings(&mut settings),
            partitions: Partitions::from_settings(&mut settings),
            standby: Standby::from_settings(&mut settings),
            guard,
            process: Process::from_settings(&mut settings, read),
        };
        settings.into_result(config)
    }
}

/// The part of a configuration that setting up a database needs: a DBA who does that need not know the brokers.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// Where the database is and who the relay is there.
    pub postgres: Postgres,
    /// The slot and publication to create.
    pub source: Source,
    /// How the outbox is read where it is polled.
    pub polling: Polling,
    /// What to publish; none only where tables are captured.
    pub outboxes: Vec<Outbox>,
    /// The ordinary tables to publish, if there are any.
    pub capture: Option<Capture>,
    /// How the days of an outbox come and go.
    pub partitions: Partitions,
    /// What shall be there beside what the relay itself needs.
    pub declared: Declared,
    /// How much WAL the slot may hold back, and whether it may be dropped for it.
    pub guard: Guard,
}

impl DatabaseConfig {
    /// Reads the same file and variables as [`Config::load`], unknown keys refused; only these sections are checked further.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load<'a>(
        file: impl Into<File<'a>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let file = file.into();
        let (name, text) = read_configuration(file.path)?;
        Self::from_settings(Layers::parse(&name, &text, environment)?.one(file.relay)?, &read_file)
    }

    fn from_settings(mut settings: Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Result<Self, ConfigError> {
        let source = Source::from_settings(&mut settings);
        let outboxes = Outbox::all_from_settings(&mut settings);
        let postgres = Postgres::from_settings(&mut settings, read);
        let capture = Capture::from_settings(&mut settings, &source, &outboxes, read);
        let polling = Polling::from_settings(&mut settings);
        Polling::check(&mut settings, &source, &outboxes, capture.as_ref());
        let config = Self {
            guard: Guard::from_settings(&mut settings, &outboxes),
            declared: Declared::from_settings(&mut settings, &postgres, &source, capture.as_ref()),
            postgres,
            capture,
            source,
            polling,
            outboxes,
            partitions: Partitions::from_settings(&mut settings),
        };
        settings.into_result(config)
    }
}

/// What the file and the environment give that is not about one of several relays, unchecked but for the keys' names.
fn merge(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, ConfigError> {
    Ok(Layers::parse(name, text, environment)?.shared())
}

/// The configuration file's name and text; without a `path` the default file, or no text if that is not there.
fn read_configuration(path: Option<&Path>) -> Result<(String, String), ConfigError> {
    let file = path.unwrap_or(Path::new(FILE_DEFAULT));
    let name = file.display().to_string();
    match read_file(file) {
        Ok(text) => Ok((name, text)),
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Ok((name, String::new())),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::new(vec![Problem::general(format!(
        "cannot read the configuration file {}: {error}; name another with --config, or create it",
        path.display()
    ))])
}

#[cfg(test)]
mod tests;
