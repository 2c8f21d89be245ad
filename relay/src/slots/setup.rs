//! Setting a database up with the least rights: two roles, their grants, the publication and, after it, the slot.
//!
//! [`plan`] is pure: it compares what is [`Wanted`] with what was [`Found`] and returns the statements that are missing,
//! so a second run has none. What is there and different is never changed silently: it is refused, with the mend.
//!
//! The publication comes before the slot because a slot decodes with the catalog of its own past: a publication that is
//! younger does not exist for it.

mod apply;
mod catalog;
mod grant;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use postgres_protocol::escape::{escape_identifier, escape_literal};

pub use crate::slots::setup::{apply::apply, catalog::read, script::script};
use crate::slots::{error::Refusal, setup::grant::grants};

/// The oldest server whose logical decoding has all that the relay needs: it sends no empty transactions and knows
/// publications by row and column. <https://www.postgresql.org/docs/15/release-15.html>
const VERSION_MIN: i32 = 150_000;

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
    /// The table to publish.
    pub table: Table,
    /// The columns that the relay reads.
    pub columns: Vec<String>,
    /// The publication of that table alone.
    pub publication: String,
    /// The slot.
    pub slot: String,
    /// Whether the slot is kept over a failover, which PostgreSQL 17 and later can.
    pub failover: bool,
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
    /// The outbox table.
    pub table: Option<TableFound>,
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
    /// The slot of the wanted name.
    pub slot: Option<SlotFound>,
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
    fn new(what: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { what: what.into(), sql: sql.into() }
    }
}

/// What is missing. Empty if nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Roles, grants and the publication: all or nothing, in one transaction.
    pub transaction: Vec<Step>,
    /// The slot, by itself: it cannot be created in a transaction that has written.
    pub slot: Option<Step>,
    /// Whether the relay's role is created, and so needs the password that was configured for it.
    pub creates_relay_role: bool,
}

impl Found {
    /// A database where only the table is: what a printed script starts from.
    #[must_use]
    pub fn fresh(wanted: &Wanted) -> Self {
        Self {
            server: Server {
                database: wanted.database.clone(),
                version: VERSION_FAILOVER,
                standby: false,
                wal_level: "logical".to_owned(),
                slots_max: 1,
                slots: 0,
                senders_max: 1,
            },
            table: Some(TableFound {
                is_table: true,
                logged: true,
                is_partition: false,
                columns: wanted.columns.clone(),
            }),
            our_schema: true,
            relay: None,
            writer: false,
            granted: BTreeSet::new(),
            publication: None,
            slot: None,
        }
    }
}

/// The statements that lead from what was found to what is wanted.
///
/// # Errors
/// Everything that is there and cannot be worked with; then nothing is to be run.
pub fn plan(wanted: &Wanted, found: &Found) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = refuse_server(wanted, found);
    refusals.extend(refuse_table(wanted, found.table.as_ref()));
    if let Some(publication) = &found.publication {
        refusals.extend(refuse_publication(wanted, publication));
    }
    if let Some(slot) = &found.slot {
        refusals.extend(refuse_slot(wanted, slot));
        if found.publication.is_none() {
            refusals.push(slot_before_publication(wanted));
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Plan {
        transaction: transaction(wanted, found),
        slot: found.slot.is_none().then(|| create_slot(wanted)),
        creates_relay_role: found.relay.is_none(),
    })
}

fn transaction(wanted: &Wanted, found: &Found) -> Vec<Step> {
    let mut steps: Vec<Step> = relay_role(wanted, found.relay).into_iter().collect();
    if !found.writer {
        let role = &wanted.writer_role;
        steps
            .push(Step::new(format!("create role {role}"), format!("create role {} nologin", escape_identifier(role))));
    }
    for grant in grants(wanted, found.our_schema) {
        if !found.granted.contains(&grant.sql) {
            steps.push(Step::new(grant.what, grant.sql));
        }
    }
    if found.publication.is_none() {
        steps.push(Step::new(
            format!("create publication {}", wanted.publication),
            format!(
                "create publication {} for table {} with (publish = 'insert', publish_via_partition_root = true)",
                escape_identifier(&wanted.publication),
                wanted.table.quoted()
            ),
        ));
    }
    steps
}

fn relay_role(wanted: &Wanted, found: Option<RoleFound>) -> Option<Step> {
    let (role, quoted) = (&wanted.relay_role, escape_identifier(&wanted.relay_role));
    let attributes = match found {
        None => {
            return Some(Step::new(format!("create role {role}"), format!("create role {quoted} login replication")));
        }
        Some(RoleFound { login: true, replication: true }) => return None,
        Some(RoleFound { login: true, .. }) => "replication",
        Some(RoleFound { replication: true, .. }) => "login",
        Some(_) => "login replication",
    };
    Some(Step::new(format!("give role {role} {attributes}"), format!("alter role {quoted} {attributes}")))
}

fn create_slot(wanted: &Wanted) -> Step {
    let failover = if wanted.failover { ", failover => true" } else { "" };
    let slot = escape_literal(&wanted.slot);
    Step::new(
        format!("create slot {}", wanted.slot),
        format!("select pg_create_logical_replication_slot({slot}, 'pgoutput'{failover})"),
    )
}

fn refusal(what: impl Into<String>, mend: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), mend: mend.into() }
}

fn refuse_server(wanted: &Wanted, found: &Found) -> Vec<Refusal> {
    let server = &found.server;
    let mut refusals = Vec::new();
    if server.database != wanted.database {
        refusals.push(refusal(
            format!("the connection is to database {}, but the outbox is in {}", server.database, wanted.database),
            "name the same database in --admin-url and in `postgres.database`: a slot belongs to one",
        ));
    }
    if server.version < VERSION_MIN {
        refusals.push(refusal(
            "the server is older than PostgreSQL 15",
            "upgrade it: the relay reads PostgreSQL 15 and later",
        ));
    }
    if server.standby {
        refusals.push(refusal("the server is a standby, which takes no changes", "connect to its primary"));
    }
    if server.wal_level != "logical" {
        refusals.push(refusal(
            format!("wal_level is {}: the log does not hold what logical replication reads", server.wal_level),
            "run `alter system set wal_level = logical` as a superuser, restart the server, then run this again",
        ));
    }
    if server.senders_max == 0 {
        refusals.push(refusal(
            "max_wal_senders is 0: nobody can read the log",
            "run `alter system set max_wal_senders = 10` as a superuser, restart the server, then run this again",
        ));
    }
    if found.slot.is_none() && server.slots >= server.slots_max {
        refusals.push(refusal(
            format!("all {} replication slots are taken (max_replication_slots)", server.slots_max),
            "raise max_replication_slots and restart the server, or drop a slot that nobody needs: see pg_replication_slots",
        ));
    }
    if wanted.failover && server.version < VERSION_FAILOVER {
        refusals.push(refusal("--failover needs PostgreSQL 17 or later", "run this again without it"));
    }
    refusals
}

fn refuse_table(wanted: &Wanted, found: Option<&TableFound>) -> Vec<Refusal> {
    let table = wanted.table.quoted();
    let Some(found) = found else {
        let mend =
            "run `postrider migrate`, which creates public.outbox_events, or name your own table with `outbox.table`";
        return vec![refusal(format!("table {table} does not exist in database {}", wanted.database), mend)];
    };
    let mut refusals = Vec::new();
    if !found.is_table {
        refusals.push(refusal(
            format!("{table} is not a table"),
            "name a table with `outbox.table`: only tables can be published",
        ));
    }
    if !found.logged {
        let mend = format!("run `alter table {table} set logged`");
        refusals.push(refusal(format!("table {table} is unlogged or temporary: its rows never reach the log"), mend));
    }
    if found.is_partition {
        let mend = "name the table above the partitions with `outbox.table`: rows of all of them travel under its name";
        refusals.push(refusal(format!("table {table} is a partition"), mend));
    }
    let missing: Vec<_> =
        wanted.columns.iter().filter(|column| !found.columns.contains(column)).map(String::as_str).collect();
    if !missing.is_empty() {
        refusals.push(refusal(
            format!("table {table} has no column {}", missing.join(", ")),
            "name the columns it has in [outbox.columns]; payload_bytes and headers may be \"\"",
        ));
    }
    refusals
}

fn refuse_publication(wanted: &Wanted, found: &PublicationFound) -> Vec<Refusal> {
    let (name, quoted) = (&wanted.publication, escape_identifier(&wanted.publication));
    let own = "or name another with `source.publication` and run this again";
    let set_table = format!("run `alter publication {quoted} set table {}`, {own}", wanted.table.quoted());
    let mut refusals = Vec::new();
    if found.by_rule {
        let mend = format!("name another with `source.publication` and run this again; {name} stays as it is");
        return vec![refusal(format!("publication {name} publishes all tables, or all of a schema"), mend)];
    }
    if !found.options_fit {
        let mend = format!(
            "run `alter publication {quoted} set (publish = 'insert', publish_via_partition_root = true)`, {own}"
        );
        let what = format!("publication {name} does not publish insertions alone, partitions under their root");
        refusals.push(refusal(what, mend));
    }
    if found.narrowed {
        let what = format!("publication {name} leaves out rows or columns: events would be missing");
        refusals.push(refusal(what, set_table.clone()));
    }
    // Without the option, partitions are listed rather than their root: then the option is what to mend first.
    if found.options_fit && found.tables != BTreeSet::from([wanted.table.clone()]) {
        let others: Vec<_> = found.tables.iter().map(Table::quoted).collect();
        let what = match others.len() {
            0 => format!("publication {name} publishes no table"),
            _ => format!("publication {name} publishes {}, not {} alone", others.join(", "), wanted.table.quoted()),
        };
        refusals.push(refusal(what, set_table));
    }
    refusals
}

fn refuse_slot(wanted: &Wanted, found: &SlotFound) -> Vec<Refusal> {
    let slot = &wanted.slot;
    let other = "name another with `source.slot` and run this again";
    let drop = format!("select pg_drop_replication_slot({})", escape_literal(slot));
    let mut refusals = Vec::new();
    match &found.plugin {
        Some(plugin) if plugin == "pgoutput" => {}
        Some(plugin) => refusals.push(refusal(format!("slot {slot} is of the plugin {plugin}, not pgoutput"), other)),
        None => return vec![refusal(format!("slot {slot} is a physical slot"), other)],
    }
    if let Some(database) = found.database.as_ref().filter(|database| **database != wanted.database) {
        refusals.push(refusal(format!("slot {slot} belongs to database {database}, not {}", wanted.database), other));
    }
    if found.temporary {
        refusals.push(refusal(format!("slot {slot} is temporary: it goes with the session that made it"), other));
    }
    if found.two_phase {
        refusals
            .push(refusal(format!("slot {slot} decodes prepared transactions, which the relay does not read"), other));
    }
    if found.lost {
        let mend = format!(
            "events since its last confirmed position may be missing: publish them again from the table, then run `{drop}` and this again"
        );
        refusals.push(refusal(format!("slot {slot} is lost: the server removed WAL that it needs"), mend));
    }
    if wanted.failover && !found.failover {
        let mend = format!(
            "with the relay stopped, send `ALTER_REPLICATION_SLOT {slot} (FAILOVER true)` over a replication connection, or run this without --failover"
        );
        refusals.push(refusal(format!("slot {slot} is not kept over a failover"), mend));
    }
    refusals
}

fn slot_before_publication(wanted: &Wanted) -> Refusal {
    let (slot, publication) = (&wanted.slot, &wanted.publication);
    refusal(
        format!(
            "slot {slot} exists and publication {publication} does not: a slot cannot see a publication younger than itself"
        ),
        format!(
            "name the publication that the slot was made for with `source.publication`; or, if nobody needs the slot, run `select pg_drop_replication_slot({})` and this again",
            escape_literal(slot)
        ),
    )
}
