//! What cannot be captured as it is, each with its mend.

use postgres_protocol::escape::escape_identifier;

use crate::slots::error::Refusal;
use crate::slots::setup::Table;
use crate::slots::setup::capture::{CaptureFound, CapturePublication, CaptureWanted, Relation, RelationKind, is_exact};

/// Tables that a message names at most.
const NAMED_MAX: usize = 5;

/// Everything that is wrong, so that it can be mended at once.
pub(in crate::slots) fn refusals(wanted: &CaptureWanted, found: &CaptureFound) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for table in wanted.tables.iter().filter(|table| is_exact(table)) {
        refusals.extend(named(wanted, table, found));
    }
    if found.captured().next().is_none() && refusals.is_empty() {
        refusals.push(none(wanted));
    }
    for relation in found.captured() {
        refusals.extend(without_identity(wanted, relation));
        refusals.extend(partitions(wanted, found, relation));
    }
    refusals.extend(signal_table(wanted, found));
    if let Some(publication) = &found.publication {
        refusals.extend(publication_differs(wanted, found, publication));
    }
    refusals
}

fn refusal(what: impl Into<String>, mend: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), mend: mend.into() }
}

/// A table that the configuration names outright must be one. What a pattern fits beside tables is passed over.
fn named(wanted: &CaptureWanted, table: &Table, found: &CaptureFound) -> Option<Refusal> {
    let name = table.quoted();
    let leave_out = format!("or take it out of `{}.tables`", wanted.section);
    let Some(relation) = found.relations.iter().find(|relation| relation.table == *table) else {
        let mend = format!("create it, {leave_out}; a name that is not plain lower case stands in double quotes there");
        return Some(refusal(format!("there is no table {name} to capture"), mend));
    };
    let what = match relation.kind {
        RelationKind::View => "a view: its rows are those of other tables, and only those are in the log",
        RelationKind::Foreign => "a foreign table: its rows are in the log of another server",
        RelationKind::Table | RelationKind::Partitioned if relation.logged => return None,
        RelationKind::Table | RelationKind::Partitioned => {
            let mend = format!("run `alter table {name} set logged`, {leave_out}");
            return Some(refusal(format!("table {name} is unlogged or temporary: its rows never reach the log"), mend));
        }
    };
    Some(refusal(format!("{name} is {what}"), format!("name the table itself, {leave_out}")))
}

fn none(wanted: &CaptureWanted) -> Refusal {
    let patterns: Vec<String> = wanted.tables.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    refusal(
        format!("no table that can be captured fits {}", patterns.join(", ")),
        format!(
            "correct `{0}.tables` and `{0}.tables_except`, or connect to the database that has the tables: `--print` knows only \
             tables that are named without `*`",
            wanted.section
        ),
    )
}

/// A table of which Postgres would refuse every UPDATE and DELETE once it is published.
fn without_identity(wanted: &CaptureWanted, relation: &Relation) -> Option<Refusal> {
    let changes = wanted.operations.update || wanted.operations.delete;
    let first = relation.without_identity.first().filter(|_| changes && !relation.is_published)?;
    let more = match relation.without_identity.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more partitions)"),
    };
    Some(refusal(
        format!(
            "table {first}{more} has no replica identity: once it is published, Postgres refuses every UPDATE and DELETE of it"
        ),
        format!(
            "run `alter table {first} add primary key (…)`, `alter table {first} replica identity using index …` with a unique \
             index of columns that are not null, or `alter table {first} replica identity full`, then this again; or name it \
             in `{}.tables_except`",
            wanted.section
        ),
    ))
}

/// A partitioned table none of whose partitions is meant, where each partition goes by its own name.
fn partitions(wanted: &CaptureWanted, found: &CaptureFound, relation: &Relation) -> Option<Refusal> {
    let meant = found.relations.iter().any(|relation| relation.is_partition);
    if wanted.via_root || relation.kind != RelationKind::Partitioned || meant {
        return None;
    }
    let name = relation.table.quoted();
    Some(refusal(
        format!("table {name} is partitioned, and `{}.tables` names none of its partitions", wanted.section),
        format!(
            "name the partitions too, by a pattern such as \"public.readings_*\", or set `{}.publish_via_partition_root = true`",
            wanted.section
        ),
    ))
}

fn signal_table(wanted: &CaptureWanted, found: &CaptureFound) -> Option<Refusal> {
    let name = wanted.signal_table.as_ref()?.quoted();
    match &found.signal_table {
        Some(relation) if relation.can_be_published() => None,
        Some(_) => Some(refusal(
            format!("{name} is no table whose rows reach the log, so nobody can give signals by it"),
            "name an ordinary table in `capture.signal_table`",
        )),
        None => Some(refusal(
            format!("there is no signal table {name}"),
            format!(
                "run `create table {name} (id varchar(42) primary key, type varchar(32) not null, data text)`, or leave \
                 `capture.signal_table` out"
            ),
        )),
    }
}

fn publication_differs(wanted: &CaptureWanted, found: &CaptureFound, publication: &CapturePublication) -> Vec<Refusal> {
    let (name, quoted) = (&wanted.publication, escape_identifier(&wanted.publication));
    let own = "or name another with `capture.publication` and run this again";
    let mut refusals = Vec::new();
    if !publication.operations.cover(wanted.operations) {
        refusals.push(refusal(
            format!("publication {name} publishes {}, not {}", publication.operations.list(), wanted.operations.list()),
            format!(
                "run `alter publication {quoted} set (publish = '{}')`, {own}; or name what is not needed in \
                 `capture.skipped_operations`",
                wanted.operations.list()
            ),
        ));
    }
    let partitioned = found.captured().any(|relation| relation.kind == RelationKind::Partitioned);
    if publication.via_root != wanted.via_root && partitioned {
        let way = if wanted.via_root { "does not publish partitions" } else { "publishes partitions" };
        refusals.push(refusal(
            format!("publication {name} {way} under the table above them"),
            format!(
                "run `alter publication {quoted} set (publish_via_partition_root = {})`, or set \
                 `capture.publish_via_partition_root = {}`",
                wanted.via_root, publication.via_root
            ),
        ));
    }
    let missing: Vec<String> =
        found.to_publish().filter(|relation| !relation.is_published).map(|relation| relation.table.quoted()).collect();
    if publication.by_rule && !missing.is_empty() {
        refusals.push(refusal(
            format!("publication {name} takes in tables by rule, and not {}", some_of(&missing)),
            format!("name another with `capture.publication` and run this again; {name} stays as it is"),
        ));
    }
    refusals
}

/// The first of the names, and how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}
