//! `postrider migrate`: creates or upgrades the outbox table and what belongs to it, and the tables of ClickHouse.

use std::{env, path::PathBuf};

use crate::{
    app::care,
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        print,
    },
    config::{DatabaseConfig, relays::OfRelay},
    slots::{
        error::{Error as SetupError, Refusal},
        outbox::partitions::{self, Outcome},
    },
};

/// Creates or upgrades the table public.outbox_events and the schema postrider.
///
/// Migrations that were applied before are skipped, so running it at every deployment is right; any
/// number of processes may do so at once. The files in migrations/ say what each of them locks.
///
/// It needs the right to create in the database and in the schema public: connect with --admin-url as
/// the database's owner. A table of your own, such as one made for Debezium, needs no migration.
///
/// Where clickhouse.migrations names a folder, its files are applied to ClickHouse afterwards, each once
/// and in the order of their numbers: V1__what_it_does.sql, V2__more.sql.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Migrate {
    /// Cut the outbox table by days of created_at, so that old days leave whole instead of row by row.
    ///
    /// The table must be empty; columns, checks, grants and publications stay. Its primary key becomes the
    /// id and created_at together, so that Postgres no longer refuses a second event of the same id.
    #[arg(long, value_name = "PERIOD", value_enum, verbatim_doc_comment)]
    partition_by: Option<Period>,
    /// Migrate ClickHouse alone: with the files of FOLDER, or of clickhouse.migrations.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, conflicts_with_all = ["partition_by", "admin_url"])]
    #[allow(clippy::option_option, reason = "the option may be absent, given alone, or given with a folder")]
    clickhouse: Option<Option<PathBuf>>,
    #[command(flatten)]
    administrator: Administrator,
}

/// What one partition holds.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Period {
    /// A day in UTC
    Day,
}

impl Migrate {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let only = self.clickhouse.clone();
        let mut said = if only.is_none() { self.postgres(config)? } else { Vec::new() };
        said.extend(clickhouse(config, only.as_ref())?);
        match said.is_empty() {
            true => print("nothing to do: every migration was applied before\n"),
            false => print(&said.iter().map(|line| format!("{line}\n")).collect::<String>()),
        }
    }

    /// Migrates the database of each relay's outbox; tells what it did.
    fn postgres(&self, config: File<'_>) -> Result<Vec<String>, Error> {
        let mut said = Vec::new();
        for OfRelay { name, config } in DatabaseConfig::load_each(config, env::vars_os()).map_err(Error::Config)? {
            let of = name.map(|name| format!("relay {name}: ")).unwrap_or_default();
            said.extend(self.of_relay(&config)?.into_iter().map(|line| format!("{of}{line}")));
        }
        Ok(said)
    }

    fn of_relay(&self, config: &DatabaseConfig) -> Result<Vec<String>, Error> {
        block_on(async {
            let mut client = self.administrator.connect(&config.postgres).await?;
            let mut said: Vec<_> = postrider::migrations::run(&mut client).await.map_err(Error::Migrate)?;
            for name in &mut said {
                name.insert_str(0, "applied: ");
            }
            if let Some(Period::Day) = self.partition_by {
                let outbox = config.outboxes.first();
                let care = outbox.and_then(|outbox| care::of(outbox, &config.source, &config.partitions));
                let care = care.ok_or_else(|| {
                    let what = match outbox {
                        Some(_) => "the outbox has no table that could be cut".to_owned(),
                        None => "there is no outbox whose table could be cut".to_owned(),
                    };
                    SetupError::Refused(vec![Refusal { what, mend: "name one with `outbox.table`".to_owned() }])
                })?;
                let outcomes = partitions::convert(&client, &care).await?;
                said.extend(outcomes.into_iter().map(|Outcome { what, .. }| format!("done: {what}")));
            }
            Ok(said)
        })
    }
}

/// Nothing: this program was built without ClickHouse.
#[cfg(not(feature = "downstream"))]
fn clickhouse(_: File<'_>, only: Option<&Option<PathBuf>>) -> Result<Vec<String>, Error> {
    if only.is_some() { Err(Error::WithoutClickHouse) } else { Ok(Vec::new()) }
}

/// Migrates ClickHouse, if a folder of migrations is named; tells what it did.
#[cfg(feature = "downstream")]
fn clickhouse(config: File<'_>, only: Option<&Option<PathBuf>>) -> Result<Vec<String>, Error> {
    let clickhouse = crate::config::clickhouse::ClickHouse::load(config, env::vars_os()).map_err(Error::Config)?;
    let is_wanted = only.is_some();
    let Some(folder) = only.cloned().flatten().or_else(|| clickhouse.migrations.clone()) else {
        return if is_wanted { Err(Error::NoMigrations) } else { Ok(Vec::new()) };
    };
    let applied = block_on(async {
        let migrated = crate::app::migrate::migrate(&clickhouse, &folder).await;
        migrated.map_err(|error| Error::MigrateClickHouse(Box::new(error)))
    })?;
    Ok(applied.into_iter().map(|name| format!("applied to ClickHouse: {name}")).collect())
}
