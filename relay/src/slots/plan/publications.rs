//! Publications: what has drifted is altered, what is missing is made, what would break what runs is refused.

use std::collections::BTreeSet;

use postgres_protocol::escape::escape_identifier;

use crate::slots::error::Refusal;
use crate::slots::plan::{Carried, Here, Plan, Relay, Wanted, list, refusal};
use crate::slots::setup::capture::{self, CaptureFound, CaptureWanted, Operations, RelationKind, some_of};
use crate::slots::setup::{self, Found, PublicationFound, Step, Table, reader_grants};

/// What an outbox's publication carries.
const INSERTIONS: Operations = Operations { insert: true, update: false, delete: false, truncate: false };

/// Plans what the relay itself needs: what has drifted is mended, and all else is as `postrider init` has it.
pub(super) fn relay(wanted: &Wanted, here: &Here, mended: &BTreeSet<String>, plan: &mut Plan) {
    let Some((relay, found)) = wanted.relay.as_ref().zip(here.relay.as_ref()) else { return };
    let mut found = found.clone();
    let mut drift = Vec::new();
    if relay.setup.outbox.is_some() {
        drift.extend(outbox(relay, here, &mut found));
    }
    if let Some((wanted, capture)) = relay.setup.capture.as_ref().zip(found.capture.as_mut()) {
        let carried = here.carried.get(&wanted.publication);
        let (steps, refusals) = drifted(wanted, capture, carried, mended, false);
        drift.extend(steps);
        plan.refusals.extend(refusals);
    }
    let setup = as_it_can_be(&relay.setup, &mut found);
    match setup::plan(&setup, &found) {
        Ok(setup) => {
            plan.setup.transaction.extend(drift);
            let before = std::mem::take(&mut plan.setup.transaction);
            plan.setup = setup;
            plan.setup.transaction.splice(..0, before);
        }
        Err(refusals) => plan.refusals.extend(refusals),
    }
}

/// What is asked of `init`: a failover flag that can be changed is none of its refusals, and a standby takes slots from
/// PostgreSQL 16 on, whose rows are then not published anew.
fn as_it_can_be(wanted: &setup::Wanted, found: &mut Found) -> setup::Wanted {
    let mut wanted = wanted.clone();
    if let Some(slot) = &mut found.slot {
        slot.failover |= wanted.failover;
    }
    if found.server.standby && found.server.version >= super::server::VERSION_STANDBY {
        found.server.standby = false;
        if wanted.backlog.choice.is_none() && found.backlog.as_ref().is_none_or(|backlog| backlog.rows == 0) {
            wanted.backlog.choice = Some(setup::Choice::Skip);
        }
    }
    wanted
}

/// The publication of the outboxes, as it has drifted; `found` is then as if it were mended.
fn outbox(relay: &Relay, here: &Here, found: &mut Found) -> Vec<Step> {
    let name = &relay.setup.publication;
    let (Some(carried), Some(publication)) = (here.carried.get(name), found.publication.as_mut()) else {
        return Vec::new();
    };
    if carried.by_rule || publication.narrowed {
        return Vec::new();
    }
    let wanted: BTreeSet<Table> = relay.setup.tables().cloned().collect();
    let mut steps: Vec<Step> = options(name, carried, INSERTIONS, true).into_iter().collect();
    let missing: Vec<&Table> = wanted.difference(&carried.tables).collect();
    if !missing.is_empty() {
        steps.push(add(name, &missing, "; what was written to it since it was taken out is not in the stream"));
    }
    *publication = PublicationFound { options_fit: true, by_rule: false, narrowed: false, tables: wanted };
    steps
}

/// Plans the publications beside the relay's own, and the rights of their readers.
pub(super) fn declared(wanted: &Wanted, here: &Here, mended: &BTreeSet<String>, plan: &mut Plan) {
    for (publication, found) in wanted.publications.iter().zip(&here.found) {
        let mut found = found.clone();
        let carried = here.carried.get(&publication.carries.publication);
        let (steps, mut refusals) = drifted(&publication.carries, &mut found, carried, mended, true);
        refusals.extend(capture::refusals(&publication.carries, &found));
        plan.setup.transaction.extend(steps);
        if refusals.is_empty() {
            plan.setup.transaction.extend(capture::steps(&publication.carries, &found, false));
        }
        plan.refusals.extend(refusals);
        readers(wanted, here, &publication.readers, &found, plan);
    }
}

fn readers(wanted: &Wanted, here: &Here, readers: &[String], found: &CaptureFound, plan: &mut Plan) {
    let made = |role: &String| {
        let relay = wanted.relay.as_ref().map(|relay| &relay.setup);
        relay.is_some_and(|setup| *role == setup.relay_role || (setup.outbox.is_some() && *role == setup.writer_role))
    };
    for role in readers {
        if !here.roles.contains(role) && !made(role) {
            plan.refusals.push(refusal(
                format!("there is no role {role} that could read"),
                format!(
                    "run `create role {} login` with what else it needs, or take it out of `readers`",
                    escape_identifier(role)
                ),
            ));
            continue;
        }
        for grant in reader_grants(role, &wanted.database, found.published()) {
            let is_new = !plan.setup.transaction.iter().any(|step| step.sql == grant.sql);
            if is_new && !here.granted.contains(&grant.sql) {
                plan.setup.transaction.push(Step::new(grant.what, grant.sql));
            }
        }
    }
}

/// What leads a publication that is there back to what is wanted, but for tables that are missing; `found` is then as if that
/// were done. `exact` tells whether it may carry no more than what is wanted.
fn drifted(
    wanted: &CaptureWanted,
    found: &mut CaptureFound,
    carried: Option<&Carried>,
    mended: &BTreeSet<String>,
    exact: bool,
) -> (Vec<Step>, Vec<Refusal>) {
    for relation in &mut found.relations {
        relation.without_identity.retain(|table| !mended.contains(table));
    }
    let mut refusals = if found.publication.is_some() { unidentified(wanted, found) } else { Vec::new() };
    let (Some(carried), Some(publication)) = (carried, found.publication.as_ref()) else {
        return (Vec::new(), refusals);
    };
    let name = &wanted.publication;
    if exact && carried.by_rule {
        refusals.push(refusal(
            format!("publication {name} takes in tables by rule: all of them, or those of a schema"),
            format!(
                "give the section another name, or run `drop publication {}` where nobody reads it, then this again",
                escape_identifier(name)
            ),
        ));
        return (Vec::new(), refusals);
    }
    refusals.extend(narrowed(wanted, found, carried));
    let partitioned = found.captured().any(|relation| relation.kind == RelationKind::Partitioned);
    let operations = match exact {
        true => wanted.operations,
        // What others read of it stays.
        false => publication.operations.with(wanted.operations),
    };
    let via_root = if exact || partitioned { wanted.via_root } else { publication.via_root };
    let steps = options(name, carried, operations, via_root);
    if let Some(publication) = &mut found.publication {
        publication.operations = operations;
        publication.via_root = via_root;
    }
    (steps.into_iter().collect(), refusals)
}

/// Tables that are published already and whose updates and deletes Postgres refuses.
fn unidentified(wanted: &CaptureWanted, found: &CaptureFound) -> Vec<Refusal> {
    if !wanted.operations.update && !wanted.operations.delete {
        return Vec::new();
    }
    let published = found.to_publish().filter(|relation| relation.is_published);
    let lacking = published.filter_map(|relation| relation.without_identity.first().map(|table| (relation, table)));
    let refuse = |(relation, table): (&capture::Relation, &String)| {
        let example = format!("{}.{}", relation.table.schema, relation.table.name);
        refusal(
            format!(
                "table {table} has no replica identity and is in publication {}: Postgres refuses every UPDATE and DELETE of it now",
                wanted.publication
            ),
            format!(
                "give it a primary key, or say by what its rows are told apart: `\"{example}\" = \"full\"` in \
                 [{}.replica_identities], then this again",
                wanted.section
            ),
        )
    };
    lacking.map(refuse).collect()
}

/// Tables of which rows or columns are left out. To widen that could show what is hidden on purpose.
fn narrowed(wanted: &CaptureWanted, found: &CaptureFound, carried: &Carried) -> Option<Refusal> {
    let narrowed: Vec<String> =
        found.published().filter(|table| carried.narrowed.contains(table)).map(Table::quoted).collect();
    (!narrowed.is_empty()).then(|| {
        let quoted = escape_identifier(&wanted.publication);
        refusal(
            format!("publication {} leaves out rows or columns of {}", wanted.publication, some_of(&narrowed)),
            format!(
                "where nothing is hidden on purpose, run `alter publication {quoted} drop table {}` and this again, which adds \
                 them whole; what is published in part cannot be declared",
                narrowed.join(", ")
            ),
        )
    })
}

/// Sets what the publication publishes of each table, if it is another.
fn options(name: &str, carried: &Carried, operations: Operations, via_root: bool) -> Option<Step> {
    if carried.operations == operations && carried.via_root == via_root {
        return None;
    }
    let list = operations.list();
    let root = if via_root { "under the table above them" } else { "by their own names" };
    Some(Step::new(
        format!("let publication {name} publish {list}, partitions {root}"),
        format!(
            "alter publication {} set (publish = '{list}', publish_via_partition_root = {via_root})",
            escape_identifier(name)
        ),
    ))
}

fn add(name: &str, tables: &[&Table], warning: &str) -> Step {
    let tables = list(tables.iter().copied());
    Step::new(
        format!("add {tables} to publication {name}{warning}"),
        format!("alter publication {} add table {tables}", escape_identifier(name)),
    )
}
