//! What `slot plan` and `slot apply` share: what is declared, and the sessions in which it is looked at.

use std::ffi::OsString;

use crate::{
    app,
    cli::{Error, File, administrator::Administrator, set_up::SetUp},
    config::{DatabaseConfig, postgres::Postgres, secret::Secret},
    slots::{
        error::Error as SetupError,
        plan,
        session::{self, Direct},
    },
};

/// What is declared, and whom to connect as.
#[derive(Debug, clap::Args)]
pub(super) struct Declared {
    /// Leave out what the relay itself needs: only [publications.NAME] and [slots.NAME] are looked at
    #[arg(long)]
    without_relay: bool,
    #[command(flatten)]
    set_up: SetUp,
    #[command(flatten)]
    administrator: Administrator,
}

/// All that is wanted, read from the configuration.
pub(super) struct Wanted {
    declared: Vec<plan::Wanted>,
    config: DatabaseConfig,
    postgres: Postgres,
}

/// What is wanted of one database.
pub(super) struct OfDatabase<'w> {
    /// What is declared.
    pub(super) declared: &'w plan::Wanted,
    wanted: &'w Wanted,
}

impl Declared {
    /// Reads it.
    pub(super) fn wanted(
        &self,
        config: File<'_>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Wanted, Error> {
        let config = DatabaseConfig::load(config, environment).map_err(Error::Config)?;
        let relay = match self.without_relay {
            true => None,
            false => {
                let failover = config.declared.own_failover == Some(true);
                Some(self.set_up.wanted(&config, failover).map_err(|refusal| SetupError::Refused(vec![refusal]))?)
            }
        };
        let postgres = self.administrator.postgres(&config.postgres)?;
        Ok(Wanted { declared: app::declared::wanted(&config, relay), config, postgres })
    }
}

impl Wanted {
    /// Each database, the relay's own first.
    pub(super) fn databases(&self) -> impl Iterator<Item = OfDatabase<'_>> {
        self.declared.iter().map(|declared| OfDatabase { declared, wanted: self })
    }
}

impl OfDatabase<'_> {
    /// Opens a session of the server itself.
    pub(super) async fn connect(&self) -> Result<Direct, Error> {
        let mut postgres = self.wanted.postgres.clone();
        // That the administrator's URL names another database than the relay's is for the plan to refuse.
        if self.declared.database != self.wanted.config.postgres.database {
            postgres.database.clone_from(&self.declared.database);
        }
        Ok(session::connect_directly(app::postgres::options(&postgres, false)).await?)
    }

    /// The password that the relay's role gets if it is created.
    pub(super) fn password(&self) -> Option<&str> {
        self.wanted.config.postgres.password.as_ref().map(Secret::expose)
    }
}
