//! The connection of those verbs that change a database: an administrator's own, or else the relay's.

use std::time::Duration;

use tokio_postgres::{Client, Config};

use crate::{
    cli::Error,
    config::postgres::{Host, Postgres},
    slots::session,
};

/// Whom to connect as.
#[derive(Debug, clap::Args)]
pub(crate) struct Administrator {
    /// Connect with this URL instead of as the relay's role, such as postgres://postgres@localhost
    ///
    /// The variable keeps a password out of the list of processes. The database is the configured one.
    #[arg(long, value_name = "URL", env = "POSTRIDER_ADMIN_URL", hide_env_values = true)]
    admin_url: Option<String>,
}

impl Administrator {
    /// Connects to the configured database.
    pub(crate) async fn connect(&self, postgres: &Postgres) -> Result<Client, Error> {
        let mut config = match &self.admin_url {
            Some(url) => session::parse_url(url, &postgres.database)?,
            None => relay(postgres),
        };
        config.application_name(&postgres.application_name).connect_timeout(postgres.connect_timeout);
        Ok(session::connect(&config).await?)
    }
}

fn relay(postgres: &Postgres) -> Config {
    let mut config = Config::new();
    match &postgres.host {
        Host::Socket(directory) => config.host_path(directory),
        Host::Tcp(name) => config.host(name),
    };
    config.port(postgres.port).dbname(&postgres.database).user(&postgres.user);
    if let Some(password) = &postgres.password {
        config.password(password.expose());
    }
    config
}

/// Runs `work` on a runtime of one thread, which is all that a few statements need.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}
