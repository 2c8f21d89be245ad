//! The connection of those verbs that change a database: an administrator's own, or else the relay's.

use std::time::Duration;

use tokio_postgres::Client;

use crate::{app, cli::Error, config::postgres::Postgres, slots::session};

/// Whom to connect as.
#[derive(Debug, clap::Args)]
pub(crate) struct Administrator {
    /// Connect with this URL instead of as the relay's role, such as postgres://postgres@localhost
    ///
    /// The variable keeps a password out of the list of processes. What the URL does not name, such as the
    /// host, the database or how TLS is checked, is as configured.
    #[arg(long, value_name = "URL", env = "POSTRIDER_ADMIN_URL", hide_env_values = true, verbatim_doc_comment)]
    admin_url: Option<String>,
}

impl Administrator {
    /// Who else than the relay's role shall connect, if anybody.
    pub(crate) fn of(&self, postgres: &Postgres) -> Result<Option<Postgres>, Error> {
        self.admin_url.as_ref().map(|url| postgres.with_url(url)).transpose().map_err(Error::AdminUrl)
    }

    /// The URL that was given, if one was.
    pub(crate) fn url(&self) -> Option<&str> {
        self.admin_url.as_deref()
    }

    /// Where and as whom to connect.
    pub(crate) fn postgres(&self, postgres: &Postgres) -> Result<Postgres, Error> {
        match &self.admin_url {
            Some(url) => postgres.with_url(url).map_err(Error::AdminUrl),
            None => Ok(postgres.clone()),
        }
    }

    /// Connects to the configured database.
    pub(crate) async fn connect(&self, postgres: &Postgres) -> Result<Client, Error> {
        let options = app::postgres::options(&self.postgres(postgres)?, false);
        Ok(session::connect(&options).await?)
    }
}

/// Runs `work` on a runtime of one thread, which is all that a few statements need.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}
