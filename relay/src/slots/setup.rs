//! Setting a database up with the least rights: two roles, their grants, the publications and, after them, the slot.
//!
//! [`plan`] is pure: it compares what is [`Wanted`] with what was [`Found`] and returns the statements that are missing,
//! so a second run has none. What is there and different is never changed silently: it is refused, with the mend.
//!
//! The publication comes before the slot because a slot decodes with the catalog of its own past: a publication that is
//! younger does not exist for it.

mod apply;
mod backlog;
pub mod capture;
mod catalog;
mod grant;
mod pass;
pub mod polling;
mod refuse;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use postgres_protocol::escape::{escape_identifier, escape_literal};

pub use crate::slots::setup::{
    apply::{Told, apply, exclusively},
    backlog::{BacklogFound, BacklogPlan, BacklogWanted, Choice},
    capture::{CaptureFound, CaptureWanted},
    catalog::read,
    polling::PollingWanted,
    script::script,
};
pub(in crate::slots) use crate::slots::setup::{
    apply::{run, transact, unlimited},
    backlog::held_name,
    grant::reader_grants,
    refuse::{SlotExpected, unusable_slot},
};
use crate::slots::{
    error::Refusal,
    setup::{grant::grants, refuse::refusals},
};

/// The first server that keeps a slot over a failover.
const VERSION_FAILOVER: i32 = 170_000;

/// The schema that `postrider migrate` makes.
const OUR_SCHEMA: &str = "postrider";

/// What shall be there in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The database of the outbox.
    pub database: String,
    /// The role the relay logs in as.
    pub relay_role: String,
    /// The role that services are made members of.
    pub writer_role: String,
    /// The table of the first outbox, if there is an outbox.
    pub outbox: Option<OutboxTable>,
    /// The tables of further outboxes.
    pub further: Vec<OutboxTable>,
    /// The publication of these tables and no other.
    pub publication: String,
    /// The tables to capture, if there are any.
    pub capture: Option<CaptureWanted>,
    /// Whether the relay may publish rows of the outbox anew, which the guard's release of a slot needs.
    pub republishes: bool,
    /// The slot.
    pub slot: String,
    /// Whether the slot is kept over a failover, which PostgreSQL 17 and later can.
    pub failover: bool,
    /// What becomes of rows that are older than the slot.
    pub backlog: BacklogWanted,
    /// How the outbox is polled, if it is, or may come to be.
    pub polling: Option<PollingWanted>,
}

/// The table of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxTable {
    /// Its name.
    pub table: Table,
    /// The columns that the relay reads.
    pub columns: Vec<String>,
}

impl Wanted {
    /// Whether the outbox is polled from the start: then there is neither publication nor slot.
    pub(in crate::slots) fn is_polled(&self) -> bool {
        self.polling.as_ref().is_some_and(|polling| !polling.falls_back)
    }

    /// The table of every outbox.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> + Clone {
        self.outbox.iter().chain(&self.further).map(|outbox| &outbox.table)
    }

    /// The table of every outbox as SQL lists them.
    pub(in crate::slots) fn quoted_tables(&self) -> String {
        self.tables().map(Table::quoted).collect::<Vec<_>>().join(", ")
    }
}

/// A table with its schema, as the catalog spells them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl Table {
    /// The name as SQL takes it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", escape_identifier(&self.schema), escape_identifier(&self.name))
    }
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The server.
    pub server: Server,
    /// The table of the first outbox.
    pub table: Option<TableFound>,
    /// The tables of further outboxes, in their order.
    pub further: Vec<FurtherFound>,
    /// Whether `postrider migrate` was run here.
    pub our_schema: bool,
    /// The relay's role.
    pub relay: Option<RoleFound>,
    /// Whether the writers' role is there.
    pub writer: bool,
    /// The grants that hold already, as [`plan`] would write them.
    pub granted: BTreeSet<String>,
    /// The publication of the wanted name.
    pub publication: Option<PublicationFound>,
    /// What there is of what is to be captured, if anything is.
    pub capture: Option<CaptureFound>,
    /// The slot of the wanted name.
    pub slot: Option<SlotFound>,
    /// What is in the table, if the slot is yet to be made; `None` where nobody looks.
    pub backlog: Option<BacklogFound>,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The database of the session.
    pub database: String,
    /// `server_version_num`, such as 150004.
    pub version: i32,
    /// Whether it is a standby.
    pub standby: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub slots_max: i64,
    /// Slots that exist, of all databases.
    pub slots: i64,
    /// `max_wal_senders`.
    pub senders_max: i64,
    /// Whether no role is given REPLICATION there, and members of `rds_replication` have it: Amazon RDS and Aurora.
    pub rds: bool,
}

/// What a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFound {
    /// Whether it is a table, partitioned or not, rather than a view or the like.
    pub is_table: bool,
    /// Whether its changes are in the WAL: neither unlogged nor temporary.
    pub logged: bool,
    /// Whether it is a partition of another.
    pub is_partition: bool,
    /// Its columns.
    pub columns: Vec<String>,
}

/// What the table of a further outbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherFound {
    /// The table, if it is there.
    pub table: Option<TableFound>,
    /// Rows in it that a new slot would never see, counted as far as it matters; 0 where nobody looks.
    pub rows: i64,
}

/// What a role may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleFound {
    /// Whether it may log in.
    pub login: bool,
    /// Whether it may replicate: superusers may too.
    pub replication: bool,
}

/// What a publication publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationFound {
    /// Whether it publishes insertions and nothing else, partitions under the table above them.
    pub options_fit: bool,
    /// Whether it takes in tables by rule: all of them, or those of a schema.
    pub by_rule: bool,
    /// Whether it leaves out rows or columns.
    pub narrowed: bool,
    /// The tables.
    pub tables: BTreeSet<Table>,
}

/// What a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFound {
    /// Its plugin; none for a physical slot.
    pub plugin: Option<String>,
    /// Its database; none for a physical slot.
    pub database: Option<String>,
    /// Whether it goes with its session.
    pub temporary: bool,
    /// Whether it decodes at PREPARE TRANSACTION.
    pub two_phase: bool,
    /// Whether it is kept over a failover.
    pub failover: bool,
    /// Whether WAL that it needs is gone.
    pub lost: bool,
}

/// One statement and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, as a fragment such as `create role postrider`.
    pub what: String,
    /// The SQL, without its semicolon. It holds no secret.
    pub sql: String,
}

impl Step {
    pub(in crate::slots) fn new(what: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { what: what.into(), sql: sql.into() }
    }
}

/// What is missing. Empty if nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Roles, grants and the publications: all or nothing, in one transaction.
    pub transaction: Vec<Step>,
    /// Whether a publication is made that is younger than the slot: the slot must pass it before it is asked for it.
    pub passes: bool,
    /// The slot, by itself: it cannot be created in a transaction that has written.
    pub slot: Option<Step>,
    /// The slot in several steps, so that it begins with the rows that are there. Only one of the two is planned.
    pub backlog: Option<BacklogPlan>,
    /// Whether the relay's role is created, and so needs the password that was configured for it.
    pub creates_relay_role: bool,
}

impl TableFound {
    /// A table that has these columns and nothing wrong.
    fn with(columns: &[String]) -> Self {
        Self { is_table: true, logged: true, is_partition: false, columns: columns.to_vec() }
    }
}

impl Found {
    /// A database where only the table is: what a printed script starts from.
    #[must_use]
    pub fn fresh(wanted: &Wanted) -> Self {
        // A table of another name was not made by `postrider migrate`.
        let first = wanted.outbox.as_ref();
        let ours = first.is_some_and(|first| first.table.schema == "public" && first.table.name == "outbox_events");
        Self {
            server: Server {
                database: wanted.database.clone(),
                version: VERSION_FAILOVER,
                standby: false,
                wal_level: "logical".to_owned(),
                slots_max: 2,
                slots: 0,
                senders_max: 1,
                rds: false,
            },
            table: first.map(|first| TableFound::with(&first.columns)),
            further: wanted
                .further
                .iter()
                .map(|further| FurtherFound { table: Some(TableFound::with(&further.columns)), rows: 0 })
                .collect(),
            our_schema: ours,
            relay: None,
            writer: false,
            granted: BTreeSet::new(),
            publication: None,
            capture: wanted.capture.as_ref().map(CaptureFound::fresh),
            slot: None,
            // Nothing is known of the rows, so only who asks for them gets the steps that publish them.
            backlog: wanted.backlog.choice.filter(|_| first.is_some()).map(|_| BacklogFound {
                has_published_at: ours,
                order: wanted
                    .backlog
                    .order
                    .clone()
                    .or_else(|| Some(if ours { "seq" } else { "created_at" }.to_owned())),
                ..BacklogFound::default()
            }),
        }
    }
}

/// The statements that lead from what was found to what is wanted.
///
/// # Errors
/// Everything that is there and cannot be worked with; then nothing is to be run.
pub fn plan(wanted: &Wanted, found: &Found) -> Result<Plan, Vec<Refusal>> {
    let refusals = refusals(wanted, found);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if wanted.is_polled() {
        let transaction = transaction(wanted, found);
        return Ok(Plan { transaction, creates_relay_role: found.relay.is_none(), ..Plan::default() });
    }
    let backlog = if found.slot.is_none() { backlog::plan(wanted, found) } else { None };
    Ok(Plan {
        transaction: transaction(wanted, found),
        passes: found.slot.is_some() && found.capture.as_ref().is_some_and(|capture| capture.publication.is_none()),
        slot: (found.slot.is_none() && backlog.is_none()).then(|| create_slot(wanted, found)),
        backlog,
        creates_relay_role: found.relay.is_none(),
    })
}

fn transaction(wanted: &Wanted, found: &Found) -> Vec<Step> {
    let mut steps: Vec<Step> = relay_role(wanted, found.relay, found.server.rds);
    if !found.writer && wanted.outbox.is_some() {
        let role = &wanted.writer_role;
        steps
            .push(Step::new(format!("create role {role}"), format!("create role {} nologin", escape_identifier(role))));
    }
    let captured = found.capture.iter().flat_map(CaptureFound::published);
    for grant in grants(wanted, found.our_schema, captured) {
        if !found.granted.contains(&grant.sql) {
            steps.push(Step::new(grant.what, grant.sql));
        }
    }
    if found.publication.is_none() && wanted.outbox.is_some() && !wanted.is_polled() {
        steps.push(Step::new(
            format!("create publication {}", wanted.publication),
            format!(
                "create publication {} for table {} with (publish = 'insert', publish_via_partition_root = true)",
                escape_identifier(&wanted.publication),
                wanted.quoted_tables()
            ),
        ));
    }
    if let Some((wanted, capture)) = wanted.capture.as_ref().zip(found.capture.as_ref()) {
        steps.extend(capture::steps(wanted, capture, found.slot.is_some()));
    }
    steps
}

/// The role with what it needs to log in and to replicate. Who polls logs in and reads tables.
fn relay_role(wanted: &Wanted, found: Option<RoleFound>, rds: bool) -> Vec<Step> {
    let (role, quoted) = (&wanted.relay_role, escape_identifier(&wanted.relay_role));
    let replicates = wanted.is_polled() || found.is_some_and(|found| found.replication);
    let attributes = match (found.is_some_and(|found| found.login), replicates || rds) {
        (true, true) => None,
        (true, false) => Some("replication"),
        (false, true) => Some("login"),
        (false, false) => Some("login replication"),
    };
    let attributes = attributes.map(|attributes| match found {
        None => Step::new(format!("create role {role}"), format!("create role {quoted} {attributes}")),
        Some(_) => Step::new(format!("give role {role} {attributes}"), format!("alter role {quoted} {attributes}")),
    });
    let membership = (rds && !replicates)
        .then(|| Step::new(format!("grant rds_replication to {role}"), format!("grant rds_replication to {quoted}")));
    attributes.into_iter().chain(membership).collect()
}

fn create_slot(wanted: &Wanted, found: &Found) -> Step {
    let failover = if wanted.failover { ", failover => true" } else { "" };
    let slot = escape_literal(&wanted.slot);
    let outbox = wanted.outbox.as_ref().filter(|_| wanted.backlog.choice.is_none());
    let create = format!("pg_create_logical_replication_slot({slot}, 'pgoutput'{failover})");
    let sql = match found.backlog.as_ref().zip(outbox) {
        Some((rows, outbox)) => {
            backlog::create_where_empty(&wanted.slot, &outbox.table, rows.has_published_at, &create)
        }
        None => format!("select {create}"),
    };
    Step::new(format!("create slot {}", wanted.slot), sql)
}
