//! What `services up` left running: ids, ports and versions, in one file that only its owner may read.

use std::collections::BTreeMap;
use std::fs;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::services::environment::{Environment, Kafka};
use crate::services::error::{Error, Result};
use crate::services::home::{Home, write_private};
use crate::services::postgres::cluster;
use crate::services::process::Process;

/// A service that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// PostgreSQL.
    Postgres,
    /// Apache Kafka.
    Kafka,
    /// Redis.
    Redis,
    /// ClickHouse.
    Clickhouse,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Kafka, Self::Redis, Self::Clickhouse];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Clickhouse => "clickhouse",
        }
    }

    /// The port it gets if that is free: not the usual one, where a service of the user's own may come and go.
    pub(crate) fn preferred_port(self) -> u16 {
        match self {
            Self::Postgres => 25_432,
            Self::Kafka => 29_092,
            Self::Redis => 26_379,
            Self::Clickhouse => 28_123,
        }
    }
}

/// Who runs a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Runner {
    /// A process of ours.
    Process(Process),
    /// A container of our compose project.
    Compose,
}

/// One running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) runner: Runner,
    pub(crate) port: u16,
    pub(crate) version: String,
}

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) services: BTreeMap<Service, Running>,
}

impl State {
    /// Reads the file; none means that nothing runs.
    pub(crate) fn read(home: &Home) -> Result<Self> {
        let path = home.path("state.json");
        match fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|source| Error::Malformed { what: path.display().to_string(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Replaces the file.
    pub(crate) fn write(&self, home: &Home) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a map with names as keys is JSON");
        write_private(&home.path("state.json"), &text)
    }

    /// The addresses of what is in the file.
    pub(crate) fn environment(&self, home: &Home) -> Result<Environment> {
        let port = |service: Service| {
            let running = self.services.get(&service).ok_or(Error::NotRunning { service: service.name() })?;
            Ok::<u16, Error>(running.port)
        };
        let sockets = home.path("sockets").join("postgres");
        Ok(Environment {
            postgres: cluster::address(port(Service::Postgres)?, sockets, home.password()?),
            kafka: Kafka { bootstrap: format!("127.0.0.1:{}", port(Service::Kafka)?) },
            redis_url: port(Service::Redis).ok().map(|port| format!("redis://127.0.0.1:{port}")),
            clickhouse_url: port(Service::Clickhouse).ok().map(|port| format!("http://127.0.0.1:{port}")),
        })
    }
}

fn parse(text: &str) -> serde_json::Result<State> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_survives_its_file_form() {
        let process = Process::this().unwrap();
        let mut state = State::default();
        state.services.insert(
            Service::Kafka,
            Running { runner: Runner::Process(process), port: 29_092, version: "4.3.1".to_owned() },
        );
        state
            .services
            .insert(Service::Redis, Running { runner: Runner::Compose, port: 26_379, version: "7".to_owned() });
        let text = serde_json::to_string_pretty(&state).unwrap();
        assert_eq!(parse(&text).unwrap(), state);
    }

    #[test]
    fn a_damaged_state_is_an_error_and_not_an_empty_one() {
        assert!(parse("{\"services\": {\"kafka\":").is_err());
        assert!(parse("{\"services\": {\"rabbit\": {}}}").is_err());
    }
}
