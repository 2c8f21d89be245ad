//! Captured tables: which of the database's tables are meant, and the publication that carries every change of them.
//!
//! It is a publication of its own, beside that of the outboxes: an outbox publishes insertions alone, so that pruning it
//! costs the stream nothing, and a publication's operations hold for all of its tables.
//!
//! A replica identity is never changed: a table whose UPDATE and DELETE Postgres would refuse once it is published is
//! refused here, before the application fails.

mod read;
mod refuse;

use postgres_protocol::escape::escape_identifier;

use crate::slots::setup::{Step, Table};

pub(crate) use crate::slots::setup::capture::read::read;
pub(in crate::slots) use crate::slots::setup::capture::refuse::refusals;
pub(crate) use crate::slots::setup::capture::refuse::some_of;

/// What shall be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureWanted {
    /// The section of the configuration that says so, such as `capture`.
    pub section: String,
    /// The tables: names in which `*` stands for any characters.
    pub tables: Vec<Table>,
    /// Those of them that are left out.
    pub except: Vec<Table>,
    /// The publication of the captured tables.
    pub publication: String,
    /// Whether the changes of a partition are published as those of the table above it.
    pub via_root: bool,
    /// The operations that are published.
    pub operations: Operations,
    /// The table whose insertions are signals.
    pub signal_table: Option<Table>,
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// Insertions.
    pub insert: bool,
    /// Updates.
    pub update: bool,
    /// Deletions.
    pub delete: bool,
    /// Truncations.
    pub truncate: bool,
}

impl Operations {
    /// As `publish` lists them.
    pub(crate) fn list(self) -> String {
        let all =
            [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate, "truncate")];
        all.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }

    /// These and `others`.
    pub(in crate::slots) fn with(self, others: Self) -> Self {
        Self {
            insert: self.insert || others.insert,
            update: self.update || others.update,
            delete: self.delete || others.delete,
            truncate: self.truncate || others.truncate,
        }
    }

    /// Whether all of `wanted` are among them.
    pub(crate) fn cover(self, wanted: Self) -> bool {
        (self.insert || !wanted.insert)
            && (self.update || !wanted.update)
            && (self.delete || !wanted.delete)
            && (self.truncate || !wanted.truncate)
    }
}

/// What there is of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureFound {
    /// The relations that are meant, by name.
    pub relations: Vec<Relation>,
    /// The publication of the wanted name.
    pub publication: Option<CapturePublication>,
    /// The signal table, if one is wanted and there.
    pub signal_table: Option<Relation>,
}

/// A relation whose name fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub table: Table,
    /// What it is.
    pub kind: RelationKind,
    /// Whether its changes are in the WAL: neither unlogged nor temporary.
    pub logged: bool,
    /// Whether it is a partition of another of these.
    pub is_partition: bool,
    /// Whether its changes go under the name of that one.
    pub is_covered: bool,
    /// Whether the publication carries it already.
    pub is_published: bool,
    /// By what the log tells its rows apart.
    pub identity: Identity,
    /// The columns of its primary key, in the key's order.
    pub primary_key: Vec<String>,
    /// It, or partitions of it, that have no replica identity: as SQL takes their names.
    pub without_identity: Vec<String>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table.
    Table,
    /// A table that is partitioned.
    Partitioned,
    /// A foreign table.
    Foreign,
    /// A view, materialized or not.
    View,
}

/// By what the log tells the rows of a table apart: its REPLICA IDENTITY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By every column.
    Full,
    /// By these columns.
    Columns(Vec<String>),
    /// By nothing.
    Nothing,
}

/// What the publication of captured tables publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturePublication {
    /// The operations.
    pub operations: Operations,
    /// Whether partitions are published under the table above them.
    pub via_root: bool,
    /// Whether it takes in tables by rule: all of them, or those of a schema.
    pub by_rule: bool,
}

impl Relation {
    /// Whether it can be published at all.
    pub(crate) fn can_be_published(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::Partitioned) && self.logged
    }
}

impl CaptureFound {
    /// What a printed script starts from: each table is there that is named outright.
    pub(super) fn fresh(wanted: &CaptureWanted) -> Self {
        let relation = |table: &Table| Relation {
            table: table.clone(),
            kind: RelationKind::Table,
            logged: true,
            is_partition: false,
            is_covered: false,
            is_published: false,
            identity: Identity::Full,
            primary_key: Vec::new(),
            without_identity: Vec::new(),
        };
        let named = wanted.tables.iter().filter(|table| is_exact(table));
        Self {
            relations: named.map(relation).collect(),
            publication: None,
            signal_table: wanted.signal_table.as_ref().map(relation),
        }
    }

    /// The tables that the publication carries, or shall carry by their own names.
    pub(crate) fn captured(&self) -> impl Iterator<Item = &Relation> + Clone {
        self.relations.iter().filter(|relation| relation.can_be_published() && !relation.is_covered)
    }

    /// Their names, and that of the signal table where that is not among them.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Table> + Clone {
        self.to_publish().map(|relation| &relation.table)
    }

    /// What the publication shall list.
    pub(crate) fn to_publish(&self) -> impl Iterator<Item = &Relation> + Clone {
        let signal = self.signal_table.as_ref();
        let signal = signal.filter(|signal| !self.captured().any(|relation| relation.table == signal.table));
        self.captured().chain(signal)
    }
}

/// Whether the name stands for one table only.
pub(crate) fn is_exact(table: &Table) -> bool {
    !table.schema.contains('*') && !table.name.contains('*')
}

/// What makes the publication, or adds to it what is missing.
pub(in crate::slots) fn steps(wanted: &CaptureWanted, found: &CaptureFound, slot: bool) -> Option<Step> {
    let (name, quoted) = (&wanted.publication, escape_identifier(&wanted.publication));
    let list = |tables: &[&Table]| tables.iter().map(|table| table.quoted()).collect::<Vec<_>>().join(", ");
    if found.publication.is_none() {
        let tables: Vec<&Table> = found.published().collect();
        return Some(Step::new(
            format!("create publication {name} of {}", list(&tables)),
            format!(
                "create publication {quoted} for table {} with (publish = '{}', publish_via_partition_root = {})",
                list(&tables),
                wanted.operations.list(),
                wanted.via_root
            ),
        ));
    }
    let missing: Vec<&Table> =
        found.to_publish().filter(|relation| !relation.is_published).map(|relation| &relation.table).collect();
    if missing.is_empty() {
        return None;
    }
    let older = if slot {
        "; the stream has their changes from now on, and `postrider snapshot start` publishes the rows that are there already"
    } else {
        ""
    };
    Some(Step::new(
        format!("add {} to publication {name}{older}", list(&missing)),
        format!("alter publication {quoted} add table {}", list(&missing)),
    ))
}
