//! `[relays.NAME]`: several relays of one file. Each is the file's own sections with what its section says in their place.
//!
//! A value of a relay's own is stronger than one that all share, wherever either is given: variable of the relay, the file's
//! `[relays.NAME]`, variable of all, file, default. What concerns the process, such as `[admin]`, cannot differ.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use crate::config::{
    Config, DatabaseConfig, document, environment,
    error::{ConfigError, Problem},
    key, read_configuration, read_file,
    settings::{Settings, Values},
};

/// The table of the sections.
pub(super) const RELAYS: &str = "relays";

/// The sections that may differ from relay to relay.
const SECTIONS: &[&str] = &[
    "postgres",
    "source",
    "polling",
    "outbox",
    "outboxes",
    "capture",
    "kafka",
    "topics",
    "parking",
    "partitions",
    "standby",
    "guard",
    "publications",
    "slots",
];

/// Which file is read, and which of its relays is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct File<'a> {
    /// The file; without one the default file, if it is there.
    pub path: Option<&'a Path>,
    /// The relay, where the file has several.
    pub relay: Option<&'a str>,
}

impl<'a> From<Option<&'a Path>> for File<'a> {
    fn from(path: Option<&'a Path>) -> Self {
        Self { path, relay: None }
    }
}

/// Of something that each relay has: one, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct OfRelay<T> {
    /// The relay's name; none where the file has no `[relays.NAME]`.
    pub name: Option<String>,
    /// What it has.
    pub config: T,
}

/// Values by key path: those that all relays share, and those of each.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) shared: Values,
    pub(super) relays: BTreeMap<String, Values>,
}

/// Whether `section` may stand below the name of a relay.
pub(super) fn may_differ(section: &str) -> bool {
    SECTIONS.contains(&section)
}

/// All that is given, by file and by environment.
pub(super) struct Layers {
    file: String,
    given: Given,
    problems: Vec<Problem>,
}

impl Layers {
    /// Reads it; the keys' names are checked, and nothing else.
    pub(super) fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut given = document::parse(name, text, &mut problems)?;
        let variables = environment::parse(environment, &mut problems);
        given.shared.extend(variables.shared);
        for (relay, values) in variables.relays {
            given.relays.entry(relay).or_default().extend(values);
        }
        Ok(Self { file: name.to_owned(), given, problems })
    }

    /// What is not about one relay.
    pub(super) fn shared(&self) -> Settings {
        Settings::new(&self.file, self.given.shared.clone(), self.problems.clone())
    }

    /// What the relay `wanted` is told, or the only one.
    pub(super) fn one(&self, wanted: Option<&str>) -> Result<Settings, ConfigError> {
        let names = self.names(wanted)?;
        match &names[..] {
            [] => Ok(self.shared()),
            [name] => Ok(self.of(name)),
            names => {
                let message =
                    format!("there are several relays, {}: say which is meant with --relay NAME", names.join(", "));
                Err(ConfigError::new(vec![Problem::general(message)]))
            }
        }
    }

    /// What each relay is told, or only the one that is `wanted`.
    fn each(&self, wanted: Option<&str>) -> Result<Vec<OfRelay<Settings>>, ConfigError> {
        let names = self.names(wanted)?;
        match &names[..] {
            [] => Ok(vec![OfRelay { name: None, config: self.shared() }]),
            names => Ok(names.iter().map(|name| OfRelay { name: Some(name.clone()), config: self.of(name) }).collect()),
        }
    }

    /// The relays that are meant, in alphabetical order.
    fn names(&self, wanted: Option<&str>) -> Result<Vec<String>, ConfigError> {
        let names: Vec<String> = self.given.relays.keys().cloned().collect();
        let Some(wanted) = wanted else { return Ok(names) };
        if names.iter().any(|name| name == wanted) {
            return Ok(vec![wanted.to_owned()]);
        }
        let known = match names.is_empty() {
            true => format!("{} has no [relays.NAME]", self.file),
            false => format!("there are {}", names.join(", ")),
        };
        Err(ConfigError::new(vec![Problem::general(format!("no relay is called {wanted:?}: {known}"))]))
    }

    fn of(&self, name: &str) -> Settings {
        let mut values = self.given.shared.clone();
        if let Some(own) = self.given.relays.get(name) {
            values.extend(own.clone());
        }
        Settings::new(&self.file, values, self.problems.clone()).of_relay(name)
    }
}

/// Reads each relay of `file`, or the one that it says.
fn each<T>(
    file: File<'_>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    read: impl Fn(Settings) -> Result<T, ConfigError>,
) -> Result<Vec<OfRelay<T>>, ConfigError> {
    let (name, text) = read_configuration(file.path)?;
    of_layers(&Layers::parse(&name, &text, environment)?, file.relay, read)
}

/// Every mistake is told once, however many relays have it.
pub(super) fn of_layers<T>(
    layers: &Layers,
    wanted: Option<&str>,
    read: impl Fn(Settings) -> Result<T, ConfigError>,
) -> Result<Vec<OfRelay<T>>, ConfigError> {
    let (mut relays, mut problems) = (Vec::new(), Vec::<Problem>::new());
    for OfRelay { name, config } in layers.each(wanted)? {
        match read(config) {
            Ok(config) => relays.push(OfRelay { name, config }),
            Err(error) => {
                for problem in error.problems() {
                    if !problems.contains(problem) {
                        problems.push(problem.clone());
                    }
                }
            }
        }
    }
    if problems.is_empty() { Ok(relays) } else { Err(ConfigError::new(problems)) }
}

impl Config {
    /// Reads every relay of the file, in the order of their names; without `[relays.NAME]`, the one that there is.
    ///
    /// # Errors
    /// As [`Config::load`]; and if two relays were each other's rival.
    pub fn load_each(
        file: File<'_>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<OfRelay<Self>>, ConfigError> {
        let relays = each(file, environment, |settings| Self::from_settings(settings, &read_file))?;
        refuse_rivals(&relays)?;
        Ok(relays)
    }
}

impl DatabaseConfig {
    /// Reads this part of every relay of the file, in the order of their names.
    ///
    /// # Errors
    /// As [`DatabaseConfig::load`].
    pub fn load_each(
        file: File<'_>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<OfRelay<Self>>, ConfigError> {
        each(file, environment, |settings| Self::from_settings(settings, &read_file))
    }
}

/// Relays that would read one slot, write over each other's progress record or fence each other are a mistake.
fn refuse_rivals(relays: &[OfRelay<Config>]) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    for (at, later) in relays.iter().enumerate() {
        for earlier in &relays[..at] {
            if let Some(why) = rivalry(&earlier.config, &later.config) {
                let [one, other] = [earlier, later].map(|relay| relay.name.as_deref().unwrap_or_default());
                problems.push(Problem::general(format!("the relays {one} and {other} {why}")));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::new(problems)) }
}

/// Why two relays cannot both run.
fn rivalry(one: &Config, other: &Config) -> Option<String> {
    let slot = &one.source.slot;
    let shared_server = one.postgres.servers.iter().any(|server| other.postgres.servers.contains(server));
    if *slot == other.source.slot && shared_server {
        return Some(format!(
            "read the same slot, {slot}, of the same server: a slot has one reader; give each its own `source.slot`"
        ));
    }
    let (kafka, same) = (&one.kafka, one.kafka.bootstrap_servers == other.kafka.bootstrap_servers);
    if !same || !kafka.has_broker() {
        return None;
    }
    let topic = &kafka.progress_topic;
    if *slot == other.source.slot && *topic == other.kafka.progress_topic {
        return Some(format!(
            "keep their progress under the same key, {slot}, of the topic {topic}: give each its own `source.slot`, or its own \
             `kafka.progress_topic`"
        ));
    }
    let id = kafka.delivery.id(slot)?;
    (other.kafka.delivery.id(&other.source.slot)? == id)
        .then(|| format!("have the same transactional id, {id}, and would fence each other: give each its own"))
}

/// The message of a key or section that is there and cannot differ from relay to relay.
pub(super) fn not_of_a_relay(relay: &str, section: &str) -> String {
    format!(
        "`{RELAYS}.{relay}.{section}` cannot be: [{section}] is not one relay's; those that are: {}",
        SECTIONS.join(", ")
    )
}

/// Whether a relay can be called so.
pub(super) fn not_a_name(name: &str) -> String {
    format!(
        "`{RELAYS}.{name}` cannot be: a relay is named by at most {} lower-case letters, digits and `_`, the first a letter",
        key::NAME_BYTES_MAX
    )
}

#[cfg(test)]
#[path = "relays_tests.rs"]
mod tests;
