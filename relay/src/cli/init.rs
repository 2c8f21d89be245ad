//! `postrider init`: prepares a database for the relay.

use std::{env, path::Path};

use crate::{
    app::setup as wanted,
    cli::{
        Error,
        administrator::{Administrator, block_on},
        print,
    },
    config::{DatabaseConfig, postgres::is_name, secret::Secret},
    slots::{
        error::{Error as SetupError, Refusal},
        setup::{self, BacklogWanted, Choice, Found, OutboxTable, Wanted},
    },
};

/// Prepares a database: roles with the least rights, publications and replication slot.
///
/// The outbox table must be there: run `postrider migrate` first, or name your own table. Tables of [capture]
/// get a publication of their own; run it again when there are more of them. What is there
/// already is kept; what is there and different is refused, and the message says how to mend it.
/// A second run changes nothing.
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
    /// The role that services which write events are made members of.
    #[arg(long, value_name = "ROLE", default_value = "postrider_writer", value_parser = role_name)]
    writer_role: String,
    /// What becomes of events that are older than the slot, if there are any; it must be said then.
    ///
    /// publish: they are published before anything newer. Each is deleted and inserted again, as it is,
    /// in one transaction, while writers of the table wait: about a second for 50 000 events. Rows whose
    /// column published_at is set were published by a polling relay and are left out.
    ///
    /// skip: they stay in the table, unpublished.
    #[arg(long, value_name = "publish|skip", value_enum, verbatim_doc_comment)]
    backlog: Option<Backlog>,
    /// The column that tells in which order events were written [default: seq, or else created_at]
    #[arg(long, value_name = "COLUMN", requires = "backlog")]
    backlog_order: Option<String>,
    /// How long writers may wait for --backlog publish, in milliseconds; beyond it nothing is done.
    #[arg(long, value_name = "MS", default_value = "60000", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    backlog_block_ms_max: u64,
    #[command(flatten)]
    administrator: Administrator,
}

/// What becomes of rows that are older than the slot.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Backlog {
    Publish,
    Skip,
}

impl Init {
    pub(crate) fn execute(self, config: Option<&Path>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let wanted = self.wanted(&config).map_err(|refusal| SetupError::Refused(vec![refusal]))?;
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

    fn wanted(&self, config: &DatabaseConfig) -> Result<Wanted, Refusal> {
        let mut tables = config.outboxes.iter().filter_map(|outbox| {
            let table = wanted::table(outbox.table.as_ref()?);
            Some(OutboxTable { table, columns: outbox.required_columns() })
        });
        let first = tables.next();
        let capture = config.capture.as_ref().map(wanted::capture);
        if first.is_none() && capture.is_none() {
            return Err(without_tables(config));
        }
        Ok(Wanted {
            database: config.postgres.database.clone(),
            relay_role: config.postgres.user.clone(),
            writer_role: self.writer_role.clone(),
            outbox: first,
            further: tables.collect(),
            capture,
            publication: config.source.publication.clone(),
            slot: config.source.slot.clone(),
            failover: self.failover,
            backlog: BacklogWanted {
                choice: self.backlog.map(|choice| match choice {
                    Backlog::Publish => Choice::Publish,
                    Backlog::Skip => Choice::Skip,
                }),
                order: self.backlog_order.clone(),
                block_ms_max: self.backlog_block_ms_max,
            },
        })
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

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// There is no table whose rights could be given: what is left is little, and said.
fn without_tables(config: &DatabaseConfig) -> Refusal {
    let (role, publication) = (quoted(&config.postgres.user), quoted(&config.source.publication));
    Refusal {
        what: "no outbox with a table is configured, so there is none to publish".to_owned(),
        mend: format!(
            "run these yourself, in this order: `create role {role} login replication`, `create publication {publication} with \
             (publish = 'insert')`, `select pg_create_logical_replication_slot('{}', 'pgoutput')`",
            config.source.slot
        ),
    }
}

fn role_name(text: &str) -> Result<String, &'static str> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("a role's name has 1 to 63 bytes and no control characters") }
}
