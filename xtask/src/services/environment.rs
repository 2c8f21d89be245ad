//! Where the services are: all that tests and the demo may know about them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::services::error::{Error, Result};
use crate::services::home::Home;
use crate::services::state::State;

/// The environment variable that carries an [`Environment`] as JSON, to a child process or from a user with services
/// of his own.
pub const VARIABLE: &str = "POSTRIDER_SERVICES";

/// The addresses of the running services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The shared Postgres: `wal_level=logical`, 64 slots and walsenders, 200 connections.
    pub postgres: Postgres,
    /// The shared Kafka broker.
    pub kafka: Kafka,
    /// `redis://…`, if Redis runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_url: Option<String>,
    /// The URL of ClickHouse's HTTP interface, if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse_url: Option<String>,
}

/// How to reach one Postgres: SCRAM-SHA-256 over TCP, trust over the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    /// An address for TCP, always a loopback one.
    pub host: String,
    /// The port, of TCP and of the socket's name.
    pub port: u16,
    /// The directory of the Unix socket.
    pub socket_dir: PathBuf,
    /// A superuser.
    pub user: String,
    /// Its password, wanted over TCP only.
    pub password: String,
}

impl Postgres {
    /// A connection URL over TCP, password included, for the database of that name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}:{}@{}:{}/{database}", self.user, self.password, self.host, self.port)
    }
}

/// How to reach one Kafka broker: plain text, no authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kafka {
    /// `host:port`.
    pub bootstrap: String,
}

/// The services to use: those named by the variable [`VARIABLE`] if it is set, else those that `services up` started.
///
/// # Errors
/// [`Error::NotRunning`] names the command that starts them; [`Error::Malformed`] if the variable or the state file
/// is no JSON of this form.
pub fn current() -> Result<Environment> {
    if let Ok(json) = std::env::var(VARIABLE) {
        return serde_json::from_str(&json).map_err(|source| Error::Malformed { what: VARIABLE.to_owned(), source });
    }
    let home = Home::open()?;
    State::read(&home)?.environment(&home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_survives_json_and_optional_services_may_be_absent() {
        let json = r#"{"postgres":{"host":"127.0.0.1","port":1,"socket_dir":"/s","user":"postgres","password":"p"},"kafka":{"bootstrap":"127.0.0.1:2"}}"#;
        let environment: Environment = serde_json::from_str(json).unwrap();
        assert_eq!(environment.redis_url, None);
        assert_eq!(serde_json::to_string(&environment).unwrap(), json);
        assert_eq!(environment.postgres.url("nova"), "postgres://postgres:p@127.0.0.1:1/nova");
    }

    #[test]
    fn an_environment_without_a_broker_is_refused() {
        let json = r#"{"postgres":{"host":"127.0.0.1","port":1,"socket_dir":"/s","user":"postgres","password":"p"}}"#;
        assert!(serde_json::from_str::<Environment>(json).is_err());
    }
}
