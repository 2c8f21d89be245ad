//! A declared publication with its slot and reader, and databases with all, some or nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::postgres::lsn::EndLsn;
use crate::slots::facts::{self, Facts, Reader, ServerFacts, SlotFacts};
use crate::slots::plan::{By, Carried, Here, Identity, IdentityFound, Plan, Publication, Slot, Wanted, plan};
use crate::slots::setup::Table;
use crate::slots::setup::capture::{
    CaptureFound, CapturePublication, CaptureWanted, Identity as FoundIdentity, Operations, Relation, RelationKind,
};

pub(super) fn table(name: &str) -> Table {
    Table { schema: "public".to_owned(), name: name.to_owned() }
}

pub(super) fn slot(name: &str) -> Slot {
    Slot {
        name: name.to_owned(),
        plugin: "pgoutput".to_owned(),
        publication: Some("warehouse".to_owned()),
        failover: None,
    }
}

pub(super) const ALL: Operations = Operations { insert: true, update: true, delete: true, truncate: true };

/// A publication of two tables, one of them with a wanted identity, read by a role through a slot.
pub(super) fn wanted() -> Wanted {
    let publication = Publication {
        carries: CaptureWanted {
            section: "publications.warehouse".to_owned(),
            tables: vec![table("logs"), table("users")],
            except: Vec::new(),
            publication: "warehouse".to_owned(),
            via_root: true,
            operations: ALL,
            signal_table: None,
        },
        identities: vec![Identity { table: table("logs"), by: By::Full }],
        readers: vec!["etl".to_owned()],
    };
    Wanted {
        database: "shop".to_owned(),
        relay: None,
        publications: vec![publication],
        slots: vec![slot("warehouse")],
        databases: vec!["shop".to_owned()],
        all_slots: ["postrider".to_owned(), "warehouse".to_owned()].into(),
    }
}

pub(super) fn relation(name: &str, is_published: bool, without_identity: &[&str]) -> Relation {
    Relation {
        table: table(name),
        kind: RelationKind::Table,
        logged: true,
        is_partition: false,
        is_covered: false,
        is_published,
        identity: FoundIdentity::Full,
        primary_key: Vec::new(),
        without_identity: without_identity.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(super) fn server() -> ServerFacts {
    ServerFacts { slots_max: 4, position: EndLsn::new(0x1000), ..facts::plain_server() }
}

pub(super) fn slot_found(name: &str) -> SlotFacts {
    SlotFacts {
        restart_lsn: Some(EndLsn::new(0x800)),
        confirmed_flush_lsn: Some(EndLsn::new(0x900)),
        retained_bytes: Some(3 << 20),
        lag_bytes: Some(0),
        ..facts::plain(name)
    }
}

pub(super) fn reader() -> Reader {
    Reader { pid: 4711, role: None, application: None, client: None, since: None, publications: None }
}

pub(super) fn identity_found(by: &str) -> IdentityFound {
    IdentityFound {
        table: table("logs"),
        label: "public.logs".to_owned(),
        is_partitioned: false,
        by: by.to_owned(),
        index: None,
        has_primary_key: false,
        indexes: vec!["logs_key".to_owned()],
    }
}

/// A database where only the tables and the role are.
pub(super) fn fresh() -> Here {
    Here {
        facts: Facts { server: server(), slots: Vec::new(), publications: Vec::new() },
        relay: None,
        carried: BTreeMap::new(),
        found: vec![CaptureFound {
            relations: vec![relation("logs", false, &["public.logs"]), relation("users", false, &[])],
            publication: None,
            signal_table: None,
        }],
        identities: [(table("logs"), vec![identity_found("d")])].into(),
        roles: ["etl".to_owned()].into(),
        granted: BTreeSet::new(),
        preceding: BTreeSet::new(),
    }
}

pub(super) fn carried() -> Carried {
    Carried {
        operations: ALL,
        via_root: true,
        by_rule: false,
        tables: [table("logs"), table("users")].into(),
        narrowed: BTreeSet::new(),
    }
}

/// What is there after a run.
pub(super) fn complete() -> Here {
    let mut here = fresh();
    here.granted = sql(&plan(&wanted(), &here)).into_iter().collect();
    here.facts.slots.push(slot_found("warehouse"));
    here.carried.insert("warehouse".to_owned(), carried());
    here.found = vec![CaptureFound {
        relations: vec![relation("logs", true, &[]), relation("users", true, &[])],
        publication: Some(CapturePublication { operations: ALL, via_root: true, by_rule: false }),
        signal_table: None,
    }];
    here.identities = [(table("logs"), vec![identity_found("f")])].into();
    here
}

pub(super) fn sql(plan: &Plan) -> Vec<String> {
    plan.steps().map(|said| said.step.sql.clone()).collect()
}
