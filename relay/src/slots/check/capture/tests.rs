//! Tables of facts and what is found in them.

use super::*;
use crate::slots::check::capture::read::Facts;
use crate::slots::check::server::sound;
use crate::slots::check::table::expected;
use crate::slots::setup::capture::Operations;

fn users() -> Table {
    Table { schema: "public".to_owned(), name: "users".to_owned() }
}

fn capture() -> ExpectedCapture {
    ExpectedCapture {
        wanted: CaptureWanted {
            section: "capture".to_owned(),
            tables: vec![users()],
            except: Vec::new(),
            publication: "postrider_capture".to_owned(),
            via_root: true,
            operations: Operations { insert: true, update: true, delete: true, truncate: true },
            signal_table: None,
        },
        keys: Vec::new(),
        snapshots: true,
    }
}

fn found() -> Captured {
    let relation = Relation {
        table: users(),
        kind: RelationKind::Table,
        logged: true,
        is_partition: false,
        is_covered: false,
        is_published: true,
        identity: Identity::Columns(vec!["id".to_owned()]),
        primary_key: vec!["id".to_owned()],
        without_identity: Vec::new(),
    };
    let columns = vec!["id".to_owned(), "email".to_owned()];
    Captured {
        found: CaptureFound {
            relations: vec![relation],
            publication: Some(CapturePublication {
                operations: capture().wanted.operations,
                via_root: true,
                by_rule: false,
            }),
            signal_table: None,
        },
        facts: vec![Facts {
            table: users(),
            usage: true,
            select: true,
            row_security: false,
            published: columns.clone(),
            columns,
            listed: true,
            filtered: false,
        }],
        requests: (true, true),
        ..Captured::default()
    }
}

#[test]
fn nothing_is_said_of_a_table_that_is_as_it_should_be() {
    assert_eq!(examine(&expected(), &capture(), &sound(), &found()), []);
}

/// What is changed in what is good.
type Change = fn(&mut ExpectedCapture, &mut Captured);

/// What is changed, what is found, how bad it is, and a part of what mends it.
const FAULTS: &[(Change, &str, Severity, &str)] = &[
    (|_, f| f.found.relations.clear(), "capture-table", Severity::Error, "create the table"),
    (|_, f| f.found.relations[0].kind = RelationKind::View, "capture-kind", Severity::Error, "name the table itself"),
    (|_, f| f.found.relations[0].logged = false, "capture-unlogged", Severity::Error, "set logged"),
    (|_, f| f.found.publication = None, "capture-publication-missing", Severity::Error, "postrider init"),
    (
        |_, f| f.found.publication.as_mut().unwrap().operations.truncate = false,
        "capture-publication-operations",
        Severity::Error,
        "set (publish = 'insert, update, delete, truncate')",
    ),
    (
        |_, f| {
            f.found.relations[0].kind = RelationKind::Partitioned;
            f.found.relations[0].is_published = false;
            f.found.publication.as_mut().unwrap().via_root = false;
        },
        "capture-publication-root",
        Severity::Error,
        "set (publish_via_partition_root = true)",
    ),
    (
        |c, f| {
            c.wanted.via_root = false;
            f.found.relations[0].kind = RelationKind::Partitioned;
            f.found.publication.as_mut().unwrap().via_root = false;
        },
        "capture-partitions",
        Severity::Error,
        "capture.publish_via_partition_root = true",
    ),
    (|_, f| f.facts[0].filtered = true, "capture-row-filter", Severity::Warning, "drop table \"public\".\"users\""),
    (
        |_, f| drop(f.facts[0].published.remove(0)),
        "capture-key-hidden",
        Severity::Error,
        "add table \"public\".\"users\"",
    ),
    (
        |_, f| f.without_identity.push("public.users".to_owned()),
        "capture-replica-identity",
        Severity::Error,
        "alter table public.users replica identity full",
    ),
    (
        |c, _| c.keys.push((users(), vec!["phone".to_owned()])),
        "capture-key-column",
        Severity::Error,
        "capture.key_columns",
    ),
    (
        |c, _| c.keys.push((users(), vec!["email".to_owned()])),
        "capture-key-identity",
        Severity::Error,
        "replica identity full",
    ),
    (|_, f| f.requests = (false, false), "capture-requests", Severity::Error, "postrider migrate"),
    (|_, f| f.requests.1 = false, "capture-requests", Severity::Error, "on postrider.snapshots to"),
    (|_, f| f.facts[0].select = false, "capture-select", Severity::Error, "grant select on table"),
    (
        |c, f| {
            c.snapshots = false;
            f.facts[0].row_security = true;
        },
        "capture-row-security",
        Severity::Warning,
        "alter role \"postrider\" bypassrls",
    ),
    (
        |_, f| f.found.publication.as_mut().unwrap().by_rule = true,
        "capture-all-tables",
        Severity::Warning,
        "publication",
    ),
    (
        |_, f| f.others.push("public.posts".to_owned()),
        "capture-other-tables",
        Severity::Warning,
        "drop table public.posts",
    ),
    (
        |c, _| c.wanted.signal_table = Some(Table { schema: "public".to_owned(), name: "signals".to_owned() }),
        "capture-signal-table",
        Severity::Error,
        "create table \"public\".\"signals\"",
    ),
];

#[test]
fn each_fault_has_a_code_of_its_own() {
    for (change, code, severity, mend) in FAULTS {
        let (mut capture, mut found) = (capture(), found());
        change(&mut capture, &mut found);
        let findings = examine(&expected(), &capture, &sound(), &found);
        let [finding] = findings.as_slice() else { panic!("{code}: {findings:#?}") };
        assert_eq!((finding.code(), finding.severity()), (*code, *severity));
        let mends = finding.mend().iter().any(|step| step.text().to_lowercase().contains(&mend.to_lowercase()));
        assert!(mends, "{code}: {finding}");
    }
}

#[test]
fn a_snapshot_needs_room_for_a_slot_of_its_own() {
    let mut server = sound();
    server.slots = server.slots_max;
    let findings = examine(&expected(), &capture(), &server, &found());
    assert_eq!(findings.iter().map(Finding::code).collect::<Vec<_>>(), ["capture-snapshot-slot"]);
    let without = ExpectedCapture { snapshots: false, ..capture() };
    assert_eq!(examine(&expected(), &without, &server, &found()), []);
}
