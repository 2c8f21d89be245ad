//! Tables of what is found and what is then planned, refused or shown.

mod world;

use super::*;
use crate::slots::facts::SlotFacts;
use world::*;

#[test]
fn the_order_is_identity_publication_rights_and_slot() {
    let plan = plan(&wanted(), &fresh());
    assert_eq!(plan.refusals, []);
    assert_eq!(
        sql(&plan),
        [
            r#"alter table "public"."logs" replica identity full"#,
            r#"create publication "warehouse" for table "public"."logs", "public"."users" with (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"#,
            r#"grant connect on database "shop" to "etl""#,
            r#"grant usage on schema "public" to "etl""#,
            r#"grant select on table "public"."logs" to "etl""#,
            r#"grant select on table "public"."users" to "etl""#,
            "select pg_create_logical_replication_slot('warehouse', 'pgoutput')",
        ]
    );
    let run: Vec<Run> = plan.steps().map(|said| said.by).collect();
    assert_eq!(run[5..], [Run::Transaction, Run::Alone]);
}

#[test]
fn what_is_as_it_shall_be_needs_nothing() {
    let plan = plan(&wanted(), &complete());
    assert!(plan.is_empty() && plan.undeclared.is_empty(), "{plan:?}");
}

#[test]
fn what_has_drifted_is_mended_by_its_own_statement() {
    type Change = fn(&mut Wanted, &mut Here);
    let cases: &[(Change, &[&str])] = &[
        (
            |_, h| h.found[0].relations[1].is_published = false,
            &[r#"alter publication "warehouse" add table "public"."users""#],
        ),
        (
            |_, h| h.carried.get_mut("warehouse").unwrap().operations.delete = false,
            &[
                r#"alter publication "warehouse" set (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"#,
            ],
        ),
        (
            |_, h| h.carried.get_mut("warehouse").unwrap().via_root = false,
            &[
                r#"alter publication "warehouse" set (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"#,
            ],
        ),
        (
            |_, h| {
                h.identities = [(table("logs"), vec![identity_found("n")])].into();
                h.found[0].relations[0].without_identity = vec!["public.logs".to_owned()];
            },
            &[r#"alter table "public"."logs" replica identity full"#],
        ),
        (
            |w, _| w.publications[0].identities[0].by = By::Index("logs_key".to_owned()),
            &[r#"alter table "public"."logs" replica identity using index "logs_key""#],
        ),
        (
            |_, h| {
                h.granted.remove(r#"grant select on table "public"."users" to "etl""#);
            },
            &[r#"grant select on table "public"."users" to "etl""#],
        ),
        (|_, h| h.facts.slots.clear(), &["select pg_create_logical_replication_slot('warehouse', 'pgoutput')"]),
        (|w, _| w.slots[0].failover = Some(true), &[r#"ALTER_REPLICATION_SLOT "warehouse" (FAILOVER true)"#]),
        (
            |w, h| {
                w.slots[0].failover = Some(true);
                h.facts.slots.clear();
            },
            &["select pg_create_logical_replication_slot('warehouse', 'pgoutput', failover => true)"],
        ),
        (
            |w, h| {
                w.slots = vec![Slot { plugin: "test_decoding".to_owned(), publication: None, ..slot("audit") }];
                h.facts.slots.clear();
            },
            &["select pg_create_logical_replication_slot('audit', 'test_decoding')"],
        ),
        (|w, _| w.slots[0].failover = Some(false), &[]),
    ];
    for (change, expected) in cases {
        let (mut wanted, mut here) = (wanted(), complete());
        change(&mut wanted, &mut here);
        let plan = plan(&wanted, &here);
        assert_eq!(plan.refusals, [], "{expected:?}");
        assert_eq!(sql(&plan), *expected);
    }
}

/// What is wrong, what is said of it, and its mend.
type Wrong = (fn(&mut Wanted, &mut Here), &'static str, &'static str);

#[test]
fn a_publication_that_would_break_what_runs_is_refused_with_its_mend() {
    let cases: &[Wrong] = &[
        (
            |w, h| {
                w.publications[0].identities.clear();
                h.found[0].relations[0].without_identity = vec!["public.logs".to_owned()];
            },
            "Postgres refuses every UPDATE and DELETE of it now",
            "[publications.warehouse.replica_identities]",
        ),
        (
            |w, h| {
                w.publications[0].identities.clear();
                h.found[0].relations[0].without_identity = vec!["public.logs".to_owned()];
                h.found[0].relations[0].is_published = false;
            },
            "once it is published, Postgres refuses every UPDATE",
            "replica identity full",
        ),
        (|w, _| w.publications[0].identities[0].by = By::Default, "has no primary key", "add primary key"),
        (|w, _| w.publications[0].identities[0].by = By::Index("x".to_owned()), "has no index x", "unique index"),
        (|_, h| h.identities.clear(), "there is no table \"public\".\"logs\"", "replica_identities"),
        (
            |_, h| {
                h.preceding.insert(("warehouse".to_owned(), "warehouse".to_owned()));
            },
            "before publication warehouse existed",
            "postrider slot advance warehouse --to-now --yes",
        ),
        (
            |_, h| {
                h.carried.clear();
                h.found[0].publication = None;
            },
            "slot warehouse exists and publication warehouse does not",
            "postrider slot drop warehouse --yes",
        ),
        (
            |w, h| {
                w.slots[0].publication = Some("nowhere".to_owned());
                h.facts.slots.clear();
            },
            "publication nowhere, which does not exist",
            "create publication \"nowhere\"",
        ),
        (
            |_, h| {
                h.carried.get_mut("warehouse").unwrap().narrowed.insert(table("users"));
            },
            "leaves out rows or columns of \"public\".\"users\"",
            "where nothing is hidden on purpose",
        ),
        (
            |_, h| h.carried.get_mut("warehouse").unwrap().by_rule = true,
            "takes in tables by rule",
            "give the section another name",
        ),
    ];
    refused(cases);
}

#[test]
fn a_slot_that_cannot_be_as_declared_is_refused_with_its_mend() {
    let cases: &[Wrong] = &[
        (|_, h| h.roles.clear(), "there is no role etl", "create role \"etl\""),
        (|_, h| h.facts.slots[0].plugin = None, "is a physical slot", "another name"),
        (|_, h| h.facts.slots[0].plugin = Some("wal2json".to_owned()), "plugin wal2json, not pgoutput", "correct it"),
        (|_, h| h.facts.slots[0].database = Some("other".to_owned()), "database other, not shop", "correct it"),
        (|_, h| h.facts.slots[0].temporary = true, "is temporary", "another name"),
        (|_, h| h.facts.slots[0].wal_status = Some("lost".to_owned()), "is lost", "postrider slot drop warehouse"),
        (
            |w, h| {
                w.slots[0].failover = Some(true);
                h.facts.slots[0].reader = Some(reader());
            },
            "the process 4711 does",
            "stop its reader",
        ),
        (
            |w, h| {
                w.slots[0].failover = Some(true);
                h.facts.server.version = 160_004;
            },
            "needs PostgreSQL 17",
            "leave `failover` out",
        ),
        (
            |_, h| {
                h.facts.slots.clear();
                h.facts.server.slots_max = 0;
            },
            "0 of 0 are free",
            "set max_replication_slots = 11",
        ),
        (
            |_, h| {
                h.facts.slots.clear();
                h.facts.server.wal_level = "replica".to_owned();
            },
            "wal_level is replica",
            "set wal_level = logical",
        ),
        (
            |_, h| {
                h.facts.slots.clear();
                h.facts.server.standby = true;
                h.facts.server.version = 150_010;
            },
            "before PostgreSQL 16 a standby has no logical slots",
            "primary",
        ),
        (
            |_, h| {
                h.facts.server.standby = true;
                h.granted.clear();
            },
            "what is wanted needs some: grant connect on database shop to etl and 3 more",
            "with its primary first",
        ),
    ];
    refused(cases);
}

/// Insists that each case has one refusal, of these words.
fn refused(cases: &[Wrong]) {
    for (change, what, mend) in cases {
        let (mut wanted, mut here) = (wanted(), complete());
        change(&mut wanted, &mut here);
        let plan = plan(&wanted, &here);
        let [refusal] = plan.refusals.as_slice() else { panic!("{what}: {:?}", plan.refusals) };
        assert!(refusal.what.contains(what), "{}", refusal.what);
        assert!(refusal.mend.contains(mend), "{}", refusal.mend);
    }
}

#[test]
fn a_standby_from_postgresql_16_on_takes_slots_of_its_own() {
    let mut here = complete();
    here.facts.slots.clear();
    here.facts.server.standby = true;
    here.facts.server.version = 160_004;
    let plan = plan(&wanted(), &here);
    assert_eq!((plan.refusals.len(), sql(&plan).len()), (0, 1), "{plan:?}");
}

#[test]
fn what_is_not_declared_is_shown_and_what_somebody_uses_is_never_dropped() {
    let mut here = complete();
    let other = |name: &str, change: &dyn Fn(&mut SlotFacts)| {
        let mut slot = slot_found(name);
        change(&mut slot);
        slot
    };
    here.facts.slots.extend([
        other("idle", &|_| {}),
        other("read", &|slot| slot.reader = Some(reader())),
        other("abroad", &|slot| slot.database = Some("elsewhere".to_owned())),
        other("standby", &|slot| (slot.plugin, slot.database) = (None, None)),
        other("passing", &|slot| slot.temporary = true),
        other("copied", &|slot| slot.synced = true),
        other("postrider", &|_| {}),
    ]);
    here.carried.insert("legacy".to_owned(), Carried { via_root: false, ..carried() });
    here.carried.get_mut("warehouse").unwrap().tables.insert(table("tmp"));
    let plan = plan(&wanted(), &here);
    assert!(plan.is_empty(), "nothing of it is a step: {plan:?}");
    let shown: Vec<_> = plan.undeclared.iter().map(|found| (found.name.as_str(), found.drop.is_some())).collect();
    assert_eq!(
        shown,
        [
            ("idle", true),
            ("read", false),
            ("abroad", false),
            ("standby", false),
            ("passing", false),
            ("copied", false),
            ("legacy", true),
            ("\"public\".\"tmp\"", true),
        ]
    );
    let pruned: Vec<_> = plan.prune().map(|step| step.sql.as_str()).collect();
    assert_eq!(
        pruned,
        [
            "select pg_drop_replication_slot('idle')",
            r#"alter publication "warehouse" drop table "public"."tmp""#,
            r#"drop publication "legacy""#,
        ]
    );
    let text = script(std::slice::from_ref(&plan), false);
    assert!(
        text.contains("-- not declared: slot read (pgoutput of database shop, retains 3072 KiB, read by process 4711)"),
        "{text}"
    );
    assert!(!text.contains("drop publication"), "{text}");
    assert!(script(&[plan], true).contains("drop publication \"legacy\";"));
}

#[test]
fn slots_of_other_declared_databases_are_listed_there_and_nowhere_else() {
    let mut here = complete();
    here.facts.slots.push(SlotFacts { database: Some("sales".to_owned()), ..slot_found("theirs") });
    let both = vec!["shop".to_owned(), "sales".to_owned()];
    let first = Wanted { databases: both.clone(), ..wanted() };
    assert!(plan(&first, &here).undeclared.is_empty());
    let second = Wanted {
        database: "sales".to_owned(),
        databases: both,
        publications: Vec::new(),
        slots: Vec::new(),
        ..wanted()
    };
    assert_eq!(plan(&second, &here).undeclared[0].name, "theirs");
}

fn relay() -> (Wanted, Here) {
    let setup = setup::Wanted {
        database: "shop".to_owned(),
        relay_role: "postrider".to_owned(),
        writer_role: "postrider_writer".to_owned(),
        outbox: Some(setup::OutboxTable { table: table("outbox_events"), columns: vec!["id".to_owned()] }),
        further: Vec::new(),
        publication: "postrider".to_owned(),
        capture: None,
        republishes: false,
        slot: "postrider".to_owned(),
        failover: false,
        backlog: setup::BacklogWanted { block_ms_max: 60_000, ..setup::BacklogWanted::default() },
        polling: None,
    };
    let mut here = complete();
    let insertions = Operations { insert: true, update: false, delete: false, truncate: false };
    here.carried.insert(
        "postrider".to_owned(),
        Carried { operations: insertions, tables: [table("outbox_events")].into(), ..carried() },
    );
    let mut found = setup::Found::fresh(&setup);
    let all = setup::plan(&setup, &found).unwrap();
    found.granted = all.transaction.into_iter().map(|step| step.sql).collect();
    found.relay = Some(setup::RoleFound { login: true, replication: true });
    found.writer = true;
    found.publication = Some(setup::PublicationFound {
        options_fit: true,
        by_rule: false,
        narrowed: false,
        tables: [table("outbox_events")].into(),
    });
    found.slot = Some(setup::SlotFound {
        plugin: Some("pgoutput".to_owned()),
        database: Some("shop".to_owned()),
        temporary: false,
        two_phase: false,
        failover: false,
        lost: false,
    });
    here.relay = Some(found);
    here.facts.slots.push(slot_found("postrider"));
    let wanted = Wanted { relay: Some(Relay { setup, identities: Vec::new(), failover: None }), ..wanted() };
    (wanted, here)
}

#[test]
fn what_the_relay_needs_is_mended_where_init_would_refuse_it() {
    let (wanted, here) = relay();
    let before = plan(&wanted, &here);
    assert!(before.is_empty() && before.undeclared.is_empty(), "{before:?}");

    let (wanted, mut here) = relay();
    here.carried.get_mut("postrider").unwrap().tables = [table("users")].into();
    here.carried.get_mut("postrider").unwrap().operations.update = true;
    let found = here.relay.as_mut().unwrap().publication.as_mut().unwrap();
    (found.tables, found.options_fit) = ([table("users")].into(), false);
    let plan = plan(&wanted, &here);
    assert_eq!(
        sql(&plan),
        [
            r#"alter publication "postrider" set (publish = 'insert', publish_via_partition_root = true)"#,
            r#"alter publication "postrider" add table "public"."outbox_events""#,
        ],
        "{plan:?}"
    );
    assert_eq!(plan.undeclared[0].about, "in publication postrider");
}

#[test]
fn the_relay_s_own_slot_is_kept_over_a_failover_if_its_section_says_so() {
    let (mut wanted, here) = relay();
    wanted.relay.as_mut().unwrap().failover = Some(true);
    wanted.relay.as_mut().unwrap().setup.failover = true;
    assert_eq!(sql(&plan(&wanted, &here)), [r#"ALTER_REPLICATION_SLOT "postrider" (FAILOVER true)"#]);
}

#[test]
fn a_slot_of_the_relay_that_precedes_its_publication_is_sent_to_recovery() {
    let (wanted, mut here) = relay();
    here.preceding.insert(("postrider".to_owned(), "postrider".to_owned()));
    let refusals = plan(&wanted, &here).refusals;
    assert!(refusals[0].mend.contains("postrider slot recover"), "{refusals:?}");

    let (wanted, mut here) = relay();
    here.carried.remove("postrider");
    here.relay.as_mut().unwrap().publication = None;
    let refusals = plan(&wanted, &here).refusals;
    assert!(refusals[0].what.contains("a slot cannot see a publication younger than itself"), "{refusals:?}");
}
