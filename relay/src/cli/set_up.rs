//! The options that say how a database is set up for the relay, for the verbs that do it.

use crate::{
    app::setup as wanted,
    config::{DatabaseConfig, postgres::is_name},
    slots::{
        error::Refusal,
        setup::{BacklogWanted, Choice, OutboxTable, Wanted},
    },
};

/// What the configuration does not say.
#[derive(Debug, clap::Args)]
pub(crate) struct SetUp {
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
}

/// What becomes of rows that are older than the slot.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Backlog {
    Publish,
    Skip,
}

impl SetUp {
    /// What the relay needs; a refusal where it needs no table.
    pub(super) fn wanted(&self, config: &DatabaseConfig, failover: bool) -> Result<Wanted, Refusal> {
        let polling = wanted::polling(config);
        let polled = if polling.is_some() { polled_columns(config) } else { Vec::new() };
        let mut tables = config.outboxes.iter().filter_map(|outbox| {
            let table = wanted::table(outbox.table.as_ref()?);
            let mut columns = outbox.required_columns();
            columns.extend(polled.iter().filter(|name| !outbox.required_columns().contains(name)).cloned());
            Some(OutboxTable { table, columns })
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
            republishes: config.guard.may_release,
            slot: config.source.slot.clone(),
            failover,
            backlog: BacklogWanted {
                choice: self.backlog.map(|choice| match choice {
                    Backlog::Publish => Choice::Publish,
                    Backlog::Skip => Choice::Skip,
                }),
                order: self.backlog_order.clone(),
                block_ms_max: self.backlog_block_ms_max,
            },
            polling,
        })
    }
}

/// The columns without which the outbox cannot be polled.
fn polled_columns(config: &DatabaseConfig) -> Vec<String> {
    let published_at = config.polling.published_at.iter().filter(|_| !config.polling.deletes);
    std::iter::once(&config.polling.order).chain(published_at).cloned().collect()
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
