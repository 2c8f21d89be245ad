//! What the invalidator is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::postgres::options::{ConnectOptions, Secret};
use crate::shape::rules::Rules;

/// How Redis is reached.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server, or some nodes of the cluster, as host and port.
    pub servers: Vec<(String, u16)>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// The logical database; a cluster has only 0.
    pub database: i64,
    /// How connections are encrypted, if they are.
    pub tls: Option<RedisTls>,
    /// Who we are there; the default user if nobody.
    pub user: Option<String>,
    /// What proves it.
    pub password: Option<Password>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long one pipeline may take.
    pub timeout: Duration,
}

/// Where a password is.
#[derive(Debug, Clone)]
pub enum Password {
    /// Here.
    Given(Secret),
    /// In a file, read again at each connection.
    File(PathBuf),
}

/// How connections are encrypted.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The authorities that are trusted; the operating system's if none are named.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is invalidated, and how.
#[derive(Debug, Clone)]
pub struct InvalidatorOptions {
    /// Where.
    pub redis: RedisOptions,
    /// By which rules.
    pub rules: Arc<Rules>,
    /// How long after the first pass the second one comes; none if zero.
    pub second_pass: Duration,
    /// Bytes of names that may wait for their second pass before more is accepted.
    pub pending_bytes_max: usize,
    /// Keys that a search looks at in a second, on each node.
    pub sweep_keys_per_second: u64,
    /// The database that queries are for.
    pub postgres: Option<ConnectOptions>,
}
