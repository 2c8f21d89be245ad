//! Captured tables: whether they are there, wholly published, told apart by the log, and readable for a snapshot.

mod read;
mod rules;

use postgres_protocol::escape::escape_identifier;

use crate::finding::{Finding, Severity};
use crate::slots::check::Expected;
use crate::slots::check::capture::rules::{
    ALL_TABLES, IDENTITY, KEY_COLUMN, KEY_HIDDEN, KEY_IDENTITY, KIND, NO_TABLE, OPERATIONS, OTHER_TABLES, PARTITIONS,
    PUBLICATION, REQUESTS, ROOT, ROW_FILTER, ROW_SECURITY, SELECT, SIGNAL_COLUMNS, SIGNAL_TABLE, SNAPSHOT_SLOT, TABLE,
    TABLE_MISSING, UNLOGGED, YOUNGER,
};
use crate::slots::check::connect::literal;
use crate::slots::check::server::Server;
use crate::slots::check::slot::INIT;
use crate::slots::setup::Table;
use crate::slots::setup::capture::{
    CaptureFound, CapturePublication, CaptureWanted, Identity, Relation, RelationKind, is_exact, some_of,
};

pub(super) use crate::slots::check::capture::read::{Captured, read};
pub(super) use crate::slots::check::capture::rules::RULES;

/// The columns of a signal table, in their order.
const SIGNAL_COLUMNS_NEEDED: usize = 3;

/// What is expected of captured tables.
#[derive(Debug, Clone)]
pub struct ExpectedCapture {
    /// What is captured.
    pub wanted: CaptureWanted,
    /// The keys that are not the primary ones.
    pub keys: Vec<(Table, Vec<String>)>,
    /// Whether rows that are there already are read when the relay starts.
    pub snapshots: bool,
}

/// Judges what was read.
pub(super) fn examine(
    expected: &Expected,
    capture: &ExpectedCapture,
    server: &Server,
    found: &Captured,
) -> Vec<Finding> {
    let CaptureFound { relations, publication, .. } = &found.found;
    let mut findings: Vec<Finding> = capture
        .wanted
        .tables
        .iter()
        .filter(|table| is_exact(table))
        .filter_map(|table| named(table, relations))
        .collect();
    if found.found.captured().next().is_none() && findings.is_empty() {
        findings.push(
            NO_TABLE
                .found(format!("no table that can be captured fits {}", patterns(&capture.wanted)))
                .words(NO_TABLE.mend),
        );
    }
    findings.extend(signal_table(capture, found));
    match publication {
        None => findings.push(publication_missing(capture)),
        Some(publication) => findings.extend(published(capture, found, publication)),
    }
    for relation in found.found.captured() {
        findings.extend(keyed(capture, found, relation));
        findings.extend(partitions(capture, found, relation));
    }
    findings.extend(readable(expected, capture, found));
    findings.extend(requests(expected, found));
    if capture.snapshots && !server.has_room_for_a_slot() {
        findings.push(
            SNAPSHOT_SLOT
                .found("no replication slot or walsender is free beside those in use")
                .sql(format!("alter system set max_replication_slots = {}", server.slots_max + 10))
                .sql("alter system set max_wal_senders = 20")
                .words("restart the server"),
        );
    }
    findings
}

fn patterns(wanted: &CaptureWanted) -> String {
    let tables: Vec<String> = wanted.tables.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    some_of(&tables)
}

/// A table that is named outright must be one.
fn named(table: &Table, relations: &[Relation]) -> Option<Finding> {
    let name = table.quoted();
    let Some(relation) = relations.iter().find(|relation| relation.table == *table) else {
        return Some(TABLE.found(format!("there is no table {name}")).words(TABLE.mend));
    };
    match relation.kind {
        RelationKind::View => Some(KIND.found(format!("{name} is a view")).words(KIND.mend)),
        RelationKind::Foreign => Some(KIND.found(format!("{name} is a foreign table")).words(KIND.mend)),
        _ if !relation.logged => Some(
            UNLOGGED
                .found(format!("table {name} is unlogged or temporary"))
                .sql(format!("alter table {name} set logged"))
                .command(INIT),
        ),
        _ => None,
    }
}

fn signal_table(capture: &ExpectedCapture, found: &Captured) -> Option<Finding> {
    let table = capture.wanted.signal_table.as_ref()?.quoted();
    let Some(relation) = found.found.signal_table.as_ref().filter(|relation| relation.can_be_published()) else {
        return Some(
            SIGNAL_TABLE
                .found(format!("there is no signal table {table}"))
                .sql(format!("create table {table} (id varchar(42) primary key, type varchar(32) not null, data text)"))
                .command(INIT),
        );
    };
    let columns = found.of(relation).map_or(0, |facts| facts.columns.len());
    (columns < SIGNAL_COLUMNS_NEEDED).then(|| {
        SIGNAL_COLUMNS
            .found(format!("the signal table {table} has {columns} columns, and needs id, type and data"))
            .words(SIGNAL_COLUMNS.mend)
    })
}

fn publication_missing(capture: &ExpectedCapture) -> Finding {
    PUBLICATION.found(format!("publication {:?} does not exist", capture.wanted.publication)).command(INIT)
}

fn published(capture: &ExpectedCapture, found: &Captured, publication: &CapturePublication) -> Vec<Finding> {
    let wanted = &capture.wanted;
    let (name, quoted) = (&wanted.publication, escape_identifier(&wanted.publication));
    let mut findings = Vec::new();
    if !publication.operations.cover(wanted.operations) {
        let (publishes, wanted) = (publication.operations.list(), wanted.operations.list());
        findings.push(
            OPERATIONS
                .found(format!("publication {name:?} publishes {publishes}, not {wanted}"))
                .sql(format!("alter publication {quoted} set (publish = '{wanted}')")),
        );
    }
    let partitioned = found.found.captured().any(|relation| relation.kind == RelationKind::Partitioned);
    let differs = publication.via_root != wanted.via_root && partitioned;
    if differs {
        let way = if wanted.via_root { "does not publish partitions" } else { "publishes partitions" };
        findings.push(
            ROOT.found(format!("publication {name:?} {way} under the table above them"))
                .sql(format!("alter publication {quoted} set (publish_via_partition_root = {})", wanted.via_root)),
        );
    }
    // Without the option a partitioned table is not listed, and that is told by itself.
    let missing: Vec<String> = found
        .found
        .to_publish()
        .filter(|relation| !(relation.is_published || differs && relation.kind == RelationKind::Partitioned))
        .map(|relation| relation.table.quoted())
        .collect();
    if !missing.is_empty() {
        findings.push(
            TABLE_MISSING
                .found(format!("publication {name:?} does not carry {}", some_of(&missing)))
                .sql(format!("alter publication {quoted} add table {}", missing.join(", ")))
                .words("what was changed until then is not in the stream: `postrider snapshot start` publishes the rows as they are"),
        );
    }
    for relation in found.found.captured() {
        findings.extend(narrowed(capture, found, relation));
    }
    findings.extend(harm(capture, found, publication));
    findings
}

/// What the publication leaves out of a table.
fn narrowed(capture: &ExpectedCapture, found: &Captured, relation: &Relation) -> Vec<Finding> {
    let Some(facts) = found.of(relation) else { return Vec::new() };
    let (name, quoted) = (&capture.wanted.publication, escape_identifier(&capture.wanted.publication));
    let table = relation.table.quoted();
    let whole = format!("alter publication {quoted} drop table {table}; alter publication {quoted} add table {table}");
    let mut findings = Vec::new();
    if facts.filtered {
        findings.push(ROW_FILTER.found(format!("publication {name:?} filters the rows of {table}")).sql(&whole));
    }
    let key = capture.key_of(relation);
    let hidden: Vec<&str> = key
        .iter()
        .map(String::as_str)
        .filter(|column| facts.listed && facts.has(column) && !facts.published.iter().any(|one| one == column))
        .collect();
    if !hidden.is_empty() {
        let hidden = hidden.join(", ");
        findings.push(
            KEY_HIDDEN.found(format!("publication {name:?} leaves out key columns of {table}: {hidden}")).sql(whole),
        );
    }
    findings
}

/// What the publication does to others.
fn harm(capture: &ExpectedCapture, found: &Captured, publication: &CapturePublication) -> Vec<Finding> {
    let (name, quoted) = (&capture.wanted.publication, escape_identifier(&capture.wanted.publication));
    let mut findings = Vec::new();
    if let Some(first) = found.without_identity.first() {
        let what = format!(
            "publication {name:?} publishes updates or deletions of tables without a replica identity: {}",
            some_of(&found.without_identity)
        );
        let finding = found.without_identity.iter().fold(IDENTITY.found(what), |finding, table| {
            finding.sql(format!("alter table {table} replica identity full"))
        });
        findings.push(finding.words(format!("or, better: `alter table {first} add primary key (…)`")));
    }
    if publication.by_rule {
        findings.push(
            ALL_TABLES
                .found(format!("publication {name:?} takes in tables by rule: all of them, or those of a schema"))
                .words(ALL_TABLES.mend),
        );
    } else if !found.others.is_empty() {
        findings.push(
            OTHER_TABLES
                .found(format!("publication {name:?} carries tables that are not captured: {}", some_of(&found.others)))
                .sql(format!("alter publication {quoted} drop table {}", found.others.join(", "))),
        );
    }
    findings
}

/// Whether the key that was chosen can be had for every change.
fn keyed(capture: &ExpectedCapture, found: &Captured, relation: &Relation) -> Vec<Finding> {
    let Some((_, key)) = capture.keys.iter().find(|(table, _)| *table == relation.table) else { return Vec::new() };
    let table = relation.table.quoted();
    let missing: Vec<&str> = match found.of(relation) {
        Some(facts) => key.iter().map(String::as_str).filter(|column| !facts.has(column)).collect(),
        None => Vec::new(),
    };
    if !missing.is_empty() {
        let what = format!("table {table} has no column {}, which `capture.key_columns` names", missing.join(", "));
        return vec![KEY_COLUMN.found(what).words(KEY_COLUMN.mend)];
    }
    let identity: &[String] = match &relation.identity {
        Identity::Full => return Vec::new(),
        Identity::Columns(columns) => columns,
        Identity::Nothing => &[],
    };
    if key.iter().all(|column| identity.contains(column)) {
        return Vec::new();
    }
    let what = format!("the key of {table} by `capture.key_columns` is not in its replica identity");
    vec![KEY_IDENTITY.found(what).sql(format!("alter table {table} replica identity full"))]
}

fn partitions(capture: &ExpectedCapture, found: &Captured, relation: &Relation) -> Option<Finding> {
    let meant = found.found.relations.iter().any(|relation| relation.is_partition);
    if capture.wanted.via_root || relation.kind != RelationKind::Partitioned || meant {
        return None;
    }
    let what = format!("table {} is partitioned, and none of its partitions is named", relation.table.quoted());
    Some(PARTITIONS.found(what).configuration("capture.publish_via_partition_root", "true"))
}

/// Whether a snapshot sees every row.
fn readable(expected: &Expected, capture: &ExpectedCapture, found: &Captured) -> Vec<Finding> {
    let role = &expected.connect.user;
    let quoted = escape_identifier(role);
    let severity = if capture.snapshots { Severity::Error } else { Severity::Warning };
    let mut findings = Vec::new();
    for relation in found.found.captured() {
        let (table, schema) = (relation.table.quoted(), escape_identifier(&relation.table.schema));
        let Some(facts) = found.of(relation) else { continue };
        if !facts.usage || !facts.select {
            let mut finding = SELECT.found(format!("role {role:?} may not read {table}")).as_bad_as(severity);
            if !facts.usage {
                finding = finding.sql(format!("grant usage on schema {schema} to {quoted}"));
            }
            if !facts.select {
                finding = finding.sql(format!("grant select on table {table} to {quoted}"));
            }
            findings.push(finding);
        }
        if facts.row_security {
            findings.push(
                ROW_SECURITY
                    .found(format!("table {table} has row-level security, which holds for role {role:?}"))
                    .as_bad_as(severity)
                    .sql(format!("alter role {quoted} bypassrls")),
            );
        }
    }
    findings
}

/// Whether snapshots can be asked for.
fn requests(expected: &Expected, found: &Captured) -> Option<Finding> {
    let role = &expected.connect.user;
    let quoted = escape_identifier(role);
    match found.requests {
        (true, true) => None,
        (false, _) => Some(
            REQUESTS.found("the table postrider.snapshots is not there").command("postrider migrate").command(INIT),
        ),
        (true, false) => Some(
            REQUESTS
                .found(format!("role {role:?} may not use the table postrider.snapshots"))
                .sql(format!("grant usage on schema postrider to {quoted}"))
                .sql(format!("grant select, insert, update, delete on postrider.snapshots to {quoted}")),
        ),
    }
}

/// That the slot does not know the publication of captured tables.
pub(super) fn younger(expected: &Expected, capture: &ExpectedCapture) -> Finding {
    let (slot, publication) = (&expected.slot, &capture.wanted.publication);
    let finding =
        YOUNGER.found(format!("slot {slot:?} has to read what was written before publication {publication:?} existed"));
    if expected.has_outbox {
        return finding
            .command("postrider run")
            .words("what is changed in captured tables until then is not in the stream: `postrider snapshot start` publishes it");
    }
    finding
        .as_bad_as(Severity::Error)
        .sql(format!("select pg_drop_replication_slot({})", literal(slot)))
        .command(INIT)
        .words("if changes were delivered through it before: `postrider slot recover --anew` instead; a snapshot publishes the rest")
}

impl ExpectedCapture {
    /// The columns of a table's key.
    fn key_of<'a>(&'a self, relation: &'a Relation) -> &'a [String] {
        let chosen = self.keys.iter().find(|(table, _)| *table == relation.table);
        chosen.map_or(relation.primary_key.as_slice(), |(_, columns)| columns.as_slice())
    }
}

#[cfg(test)]
mod tests;
