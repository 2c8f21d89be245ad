//! What the verbs about one slot share: its name, whose it is, and a session of its database.

use std::env;

use crate::{
    app,
    cli::{Error, File, administrator::Administrator, parked::select::Output},
    config::{DatabaseConfig, postgres::Postgres, source::is_slot_name},
    slots::{
        change::{self, Found, Owner},
        session::{self, Direct},
    },
};

/// The slot, and whether it may be touched.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// The slot
    #[arg(value_name = "NAME", value_parser = slot_name)]
    pub(super) name: String,
    /// Do it; without this option it is only said what would be done
    #[arg(long)]
    pub(super) yes: bool,
    /// Touch a slot that is not declared: neither `source.slot` nor one of [slots.NAME]
    #[arg(long)]
    foreign: bool,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub(super) output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

/// The slot as it was found.
pub(super) struct Opened {
    pub(super) found: Found,
    pub(super) owner: Owner,
    pub(super) session: Direct,
    pub(super) postgres: Postgres,
}

impl One {
    /// Finds the slot, through a session of its own database.
    pub(super) async fn open(&self, config: File<'_>) -> Result<Opened, Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let mut postgres = self.administrator.postgres(&config.postgres)?;
        let mut session = session::connect_directly(app::postgres::options(&postgres, false)).await?;
        let mut found = change::find(&session.client, &self.name).await?;
        if let Some(database) = found.slot.database.clone().filter(|database| *database != postgres.database) {
            postgres.database = database;
            session = session::connect_directly(app::postgres::options(&postgres, false)).await?;
            found = change::find(&session.client, &self.name).await?;
        }
        let owner = if self.name == config.source.slot && found.slot.is_logical() {
            Owner::Relay
        } else if config.declared.slots.iter().any(|slot| slot.name == self.name) {
            Owner::Declared
        } else {
            Owner::Foreign { allowed: self.foreign }
        };
        Ok(Opened { found, owner, session, postgres })
    }
}

/// A name that a slot can have.
pub(super) fn slot_name(text: &str) -> Result<String, &'static str> {
    match is_slot_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a slot's name has 1 to 63 lower-case letters, digits and underscores"),
    }
}
