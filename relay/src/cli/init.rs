//! `postrider init`: prepares a database for the relay.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        print,
        set_up::SetUp,
    },
    config::{DatabaseConfig, relays::OfRelay, secret::Secret},
    slots::{
        error::{Error as SetupError, Refusal},
        setup::{self, Found, Wanted},
    },
};

/// Prepares a database: roles with the least rights, publications and replication slot.
///
/// Where `source.mode` is "polling", neither publication nor slot: rights on the rows, and an index. Where
/// `source.fallback` is, both.
///
/// The outbox table must be there: run `postrider migrate` first, or name your own table. Tables of [capture]
/// get a publication of their own; run it again when there are more of them. What is there
/// already is kept; what is there and different is refused, and the message says how to mend it.
/// A second run changes nothing.
///
/// Of several relays each database is prepared in turn; --relay names one.
///
/// The relay's role is `postgres.user`; if it is created here, it gets the configured password. The role
/// of --writer-role may write events and nothing else: make every service that does so a member of it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Init {
    /// Print the SQL for a database that has none of it yet, and connect to nothing.
    #[arg(long)]
    print: bool,
    /// Keep the slot over a failover to a standby (PostgreSQL 17 and later).
    #[arg(long)]
    failover: bool,
    #[command(flatten)]
    set_up: SetUp,
    #[command(flatten)]
    administrator: Administrator,
}

impl Init {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let relays = DatabaseConfig::load_each(config, env::vars_os()).map_err(Error::Config)?;
        for OfRelay { name, config } in &relays {
            if let Some(name) = name {
                print(&format!("{}relay {name}:\n", if self.print { "-- " } else { "" }))?;
            }
            self.prepare(config)?;
        }
        Ok(())
    }

    /// Prepares the database of one relay.
    fn prepare(&self, config: &DatabaseConfig) -> Result<(), Error> {
        let wanted = self.set_up.wanted(config, self.failover).map_err(|refusal| SetupError::Refused(vec![refusal]))?;
        if self.print {
            refuse_patterns(&wanted).map_err(|refusal| SetupError::Refused(vec![refusal]))?;
            let plan = setup::plan(&wanted, &Found::fresh(&wanted)).map_err(SetupError::Refused)?;
            return print(&setup::script(&wanted, &plan));
        }
        let mut said = String::new();
        let mut told = |step: &str| said.push_str(&format!("done: {step}\n"));
        let left = block_on(async {
            let mut client = self.administrator.connect(&config.postgres).await?;
            setup::exclusively(&client).await?;
            let found = setup::read(&client, &wanted).await?;
            let plan = setup::plan(&wanted, &found).map_err(SetupError::Refused)?;
            let password = config.postgres.password.as_ref().map(Secret::expose);
            Ok(setup::apply(&mut client, &wanted, &plan, password, &mut told).await?)
        });
        if said.is_empty() && left.is_ok() {
            said.push_str("nothing to do: the database is set up\n");
        }
        if let Ok(Some(left)) = &left {
            said.push_str(&format!("left to do: {left}\n"));
        }
        print(&said)?;
        left.map(drop)
    }
}

/// A script is written without looking into the database, so it cannot tell which tables a pattern fits.
fn refuse_patterns(wanted: &Wanted) -> Result<(), Refusal> {
    let patterns = wanted.capture.iter().flat_map(|capture| &capture.tables);
    match patterns.into_iter().find(|table| !setup::capture::is_exact(table)) {
        None => Ok(()),
        Some(table) => Err(Refusal {
            what: format!(
                "`capture.tables` has the pattern {}.{}, and --print looks at no database",
                table.schema, table.name
            ),
            mend: "name each table in `capture.tables`, or run this without --print".to_owned(),
        }),
    }
}
