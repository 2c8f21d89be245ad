//! What shall be in a database, held against what is there: publications, slots, replica identities and rights, as steps in the
//! order in which they must be done, and as refusals where a step would break what runs.
//!
//! [`plan`] is pure. What the relay itself needs is planned by [`setup::plan`], which refuses whatever is there and different;
//! here the database is what a declaration says, so what has drifted is mended first and then shown to it as mended.
//!
//! Guarantees: nothing is destroyed but by [`Plan::prune`]; a publication comes before its slot; no step makes Postgres refuse an
//! UPDATE or DELETE that it took before.

mod apply;
mod identities;
mod publications;
mod read;
mod script;
mod server;
mod slots;
#[cfg(test)]
mod tests;
mod undeclared;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::slots::error::{Error, Refusal};
use crate::slots::facts::Facts;
use crate::slots::setup::capture::{CaptureFound, CaptureWanted, Operations};
use crate::slots::setup::{self, Step, Table};

pub use crate::slots::plan::apply::{Means, apply};
pub use crate::slots::plan::read::read;
pub use crate::slots::plan::script::{document, script};
pub use crate::slots::plan::undeclared::{Kind, Undeclared};

/// What shall be in one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The database.
    pub database: String,
    /// What the relay itself needs, in its own database.
    pub relay: Option<Relay>,
    /// The publications beside the relay's own.
    pub publications: Vec<Publication>,
    /// The slots beside the relay's own.
    pub slots: Vec<Slot>,
    /// Every database that is declared, the relay's own first: what is in none of them is shown with that one.
    pub databases: Vec<String>,
    /// Every slot that is declared, the relay's own too.
    pub all_slots: BTreeSet<String>,
}

/// What the relay itself needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// As `postrider init` makes it.
    pub setup: setup::Wanted,
    /// The replica identities of captured tables.
    pub identities: Vec<Identity>,
    /// Whether its slot shall be kept over a failover, if that is said.
    pub failover: Option<bool>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What it carries.
    pub carries: CaptureWanted,
    /// The replica identities of its tables.
    pub identities: Vec<Identity>,
    /// The roles that may read its tables.
    pub readers: Vec<String>,
}

/// The replica identity that a table shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The table.
    pub table: Table,
    /// By what its rows are told apart.
    pub by: By,
}

/// By what the rows of a table are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// By all columns.
    Full,
    /// By the primary key.
    Default,
    /// By the columns of this index.
    Index(String),
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// The publication that must be there before it.
    pub publication: Option<String>,
    /// Whether it shall be kept over a failover, if that is said.
    pub failover: Option<bool>,
}

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Here {
    /// The server, its slots, and the names of the database's publications.
    pub facts: Facts,
    /// What `postrider init` looks at, where the relay's own needs are among what is wanted.
    pub relay: Option<setup::Found>,
    /// What each publication of the database carries.
    pub carried: BTreeMap<String, Carried>,
    /// What fits the tables of each wanted publication, in their order.
    pub found: Vec<CaptureFound>,
    /// Tables whose replica identity is wanted, and their partitions, by table.
    pub identities: BTreeMap<Table, Vec<IdentityFound>>,
    /// The roles that shall read and are there.
    pub roles: BTreeSet<String>,
    /// Rights of readers that hold, as the statement that would give them.
    pub granted: BTreeSet<String>,
    /// Slots that have still to read what is older than one of their publications: slot and publication.
    pub preceding: BTreeSet<(String, String)>,
}

/// What a publication carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The operations.
    pub operations: Operations,
    /// Whether partitions are published under the table above them.
    pub via_root: bool,
    /// Whether it takes in tables by rule: all of them, or those of a schema.
    pub by_rule: bool,
    /// The tables that it names.
    pub tables: BTreeSet<Table>,
    /// Those of them of which it leaves out rows or columns.
    pub narrowed: BTreeSet<Table>,
}

/// How the rows of a table are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFound {
    /// The table, or a partition of it.
    pub table: Table,
    /// Its name as the server would write it.
    pub label: String,
    /// Whether it is partitioned: then it has no rows of its own.
    pub is_partitioned: bool,
    /// `pg_class.relreplident`.
    pub by: String,
    /// The index, if it is by an index.
    pub index: Option<String>,
    /// Whether it has a primary key.
    pub has_primary_key: bool,
    /// The indexes by which it could be.
    pub indexes: Vec<String>,
}

/// What leads from what is there to what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The database.
    pub database: String,
    /// All that goes into one transaction, and then the relay's own slot.
    pub setup: setup::Plan,
    /// The slots, each by itself.
    pub slots: Vec<Work>,
    /// What is there and was not declared.
    pub undeclared: Vec<Undeclared>,
    /// Why nothing is to be run.
    pub refusals: Vec<Refusal>,
}

/// A step and the way in which it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The step.
    pub step: Step,
    /// Whether it is a command for a replication connection rather than SQL.
    pub replication: bool,
}

impl Work {
    fn sql(step: Step) -> Self {
        Self { step, replication: false }
    }
}

impl Plan {
    /// Whether there is nothing to do and nothing to refuse.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none() && self.refusals.is_empty()
    }

    /// Every step but those that destroy, in their order.
    pub fn steps(&self) -> impl Iterator<Item = Said<'_>> {
        let of = |step, by| Said { step, by };
        let setup = &self.setup;
        let backlog = setup.backlog.iter().flat_map(setup::BacklogPlan::steps);
        let transaction = setup.transaction.iter().map(move |step| of(step, Run::Transaction));
        let own = setup.slot.iter().chain(backlog).map(move |step| of(step, Run::Alone));
        let slots = self.slots.iter();
        let slots = slots.map(move |work| of(&work.step, if work.replication { Run::Replication } else { Run::Alone }));
        transaction.chain(own).chain(slots)
    }

    /// The steps that destroy what was not declared, slots first: a publication may be read through one.
    pub fn prune(&self) -> impl Iterator<Item = &Step> {
        let of = |kind| {
            self.undeclared.iter().filter(move |found| found.kind == kind).filter_map(|found| found.drop.as_ref())
        };
        of(Kind::Slot).chain(of(Kind::Table)).chain(of(Kind::Publication))
    }
}

/// A step, and by what it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'p> {
    /// The step.
    pub step: &'p Step,
    /// By what it is run.
    pub by: Run,
}

/// By what a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// In one transaction with the others.
    Transaction,
    /// By itself.
    Alone,
    /// Over a replication connection.
    Replication,
}

/// The steps that lead from what is there to what is wanted.
#[must_use]
pub fn plan(wanted: &Wanted, here: &Here) -> Plan {
    let mut plan = Plan { database: wanted.database.clone(), ..Plan::default() };
    let mended = identities::plan(wanted, here, &mut plan);
    publications::relay(wanted, here, &mended, &mut plan);
    publications::declared(wanted, here, &mended, &mut plan);
    slots::plan(wanted, here, &mut plan);
    server::plan(wanted, here, &mut plan);
    undeclared::plan(wanted, here, &mut plan);
    plan
}

/// Whether nothing is refused, in any of the databases.
///
/// # Errors
/// [`Error::Refused`] with all that is.
pub fn refused(plans: &[Plan]) -> Result<(), Error> {
    let refusals: Vec<Refusal> = plans.iter().flat_map(|plan| plan.refusals.clone()).collect();
    if refusals.is_empty() { Ok(()) } else { Err(Error::Refused(refusals)) }
}

fn refusal(what: impl Into<String>, mend: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), mend: mend.into() }
}

/// The tables as SQL lists them.
fn list<'t>(tables: impl IntoIterator<Item = &'t Table>) -> String {
    tables.into_iter().map(Table::quoted).collect::<Vec<_>>().join(", ")
}
