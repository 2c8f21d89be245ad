//! `postrider migrate`: creates or upgrades the outbox table and what belongs to it.

use std::{env, path::Path};

use crate::{
    cli::{
        Error,
        administrator::{Administrator, block_on},
        print,
    },
    config::DatabaseConfig,
};

/// Creates or upgrades the table public.outbox_events and the schema postrider.
///
/// Migrations that were applied before are skipped, so running it at every deployment is right; any
/// number of processes may do so at once. The files in migrations/ say what each of them locks.
///
/// It needs the right to create in the database and in the schema public: connect with --admin-url as
/// the database's owner. A table of your own, such as one made for Debezium, needs no migration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Migrate {
    #[command(flatten)]
    administrator: Administrator,
}

impl Migrate {
    pub(crate) fn execute(self, config: Option<&Path>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let applied = block_on(async {
            let mut client = self.administrator.connect(&config.postgres).await?;
            postrider::migrations::run(&mut client).await.map_err(Error::Migrate)
        })?;
        match applied.is_empty() {
            true => print("nothing to do: every migration was applied before\n"),
            false => print(&applied.iter().map(|name| format!("applied: {name}\n")).collect::<String>()),
        }
    }
}
