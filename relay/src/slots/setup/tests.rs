//! Tables of what is found and what is then done, refused or left alone.

use super::capture::{CapturePublication, Operations, Relation, RelationKind};
use super::{script::script, *};

fn wanted() -> Wanted {
    Wanted {
        database: "shop".to_owned(),
        relay_role: "postrider".to_owned(),
        writer_role: "postrider_writer".to_owned(),
        outbox: Some(OutboxTable {
            table: Table { schema: "public".to_owned(), name: "outbox_events".to_owned() },
            columns: vec!["id".to_owned(), "payload".to_owned()],
        }),
        capture: None,
        further: Vec::new(),
        publication: "postrider".to_owned(),
        slot: "postrider".to_owned(),
        failover: false,
        republishes: false,
        backlog: BacklogWanted { block_ms_max: 60_000, ..BacklogWanted::default() },
        polling: None,
    }
}

/// What is there after a run.
fn complete(wanted: &Wanted) -> Found {
    Found {
        relay: Some(RoleFound { login: true, replication: true }),
        writer: true,
        granted: grants(wanted, true, [].iter()).into_iter().map(|grant| grant.sql).collect(),
        publication: Some(PublicationFound {
            options_fit: true,
            by_rule: false,
            narrowed: false,
            tables: wanted.tables().cloned().collect(),
        }),
        slot: Some(SlotFound {
            plugin: Some("pgoutput".to_owned()),
            database: Some(wanted.database.clone()),
            temporary: false,
            two_phase: false,
            failover: false,
            lost: false,
        }),
        ..Found::fresh(wanted)
    }
}

#[test]
fn a_fresh_database_gets_everything_and_the_slot_last() {
    let wanted = wanted();
    let plan = plan(&wanted, &Found::fresh(&wanted)).unwrap();
    assert_eq!(
        script(&wanted, &plan),
        r#"-- Sets database shop up for Postrider.
-- Run it there with psql, as a superuser or the table's owner; it needs wal_level = logical.
\set ON_ERROR_STOP on
begin;
create role "postrider" login replication;
create role "postrider_writer" nologin;
grant connect on database "shop" to "postrider";
grant usage on schema "public" to "postrider";
grant select on table "public"."outbox_events" to "postrider";
grant usage on schema "public" to "postrider_writer";
grant insert on table "public"."outbox_events" to "postrider_writer";
grant usage on schema "postrider" to "postrider_writer";
grant execute on all functions in schema "postrider" to "postrider_writer";
grant usage on schema "postrider" to "postrider";
grant select, insert, update, delete on table "postrider"."parked" to "postrider";
grant select, insert on table "postrider"."parked_log" to "postrider";
grant select, insert, update, delete on table "postrider"."snapshots" to "postrider";
grant select, insert, update on table "postrider"."leases" to "postrider";
create publication "postrider" for table "public"."outbox_events" with (publish = 'insert', publish_via_partition_root = true);
commit;
-- The role has no password yet. In psql: \password "postrider"
-- After the publication, and outside a transaction that writes. Waits for transactions that are open. Rows that are in the table
-- by then are older than the slot and not published: see the option --backlog.
select pg_create_logical_replication_slot('postrider', 'pgoutput');
-- Every service that writes events: grant "postrider_writer" to the_service;
"#
    );
}

#[test]
fn every_table_of_several_outboxes_is_granted_and_published() {
    let table = Table { schema: "sales".to_owned(), name: "orders_outbox".to_owned() };
    let wanted = Wanted { further: vec![OutboxTable { table, columns: vec!["id".to_owned()] }], ..wanted() };
    let both = plan(&wanted, &Found::fresh(&wanted)).unwrap();
    let sql: Vec<_> = both.transaction.iter().map(|step| step.sql.as_str()).collect();
    for expected in [
        r#"grant usage on schema "sales" to "postrider""#,
        r#"grant select on table "sales"."orders_outbox" to "postrider""#,
        r#"grant insert on table "sales"."orders_outbox" to "postrider_writer""#,
        r#"create publication "postrider" for table "public"."outbox_events", "sales"."orders_outbox" with (publish = 'insert', publish_via_partition_root = true)"#,
    ] {
        assert!(sql.contains(&expected), "{expected} is missing: {sql:#?}");
    }
    let mut found = Found::fresh(&wanted);
    found.further[0].rows = 3;
    assert!(plan(&wanted, &found).unwrap_err()[0].what.contains("would never see"));
    found.further[0] = FurtherFound { table: None, rows: 0 };
    assert!(plan(&wanted, &found).unwrap_err()[0].what.contains("\"sales\".\"orders_outbox\" does not exist"));
}

#[test]
fn a_complete_database_needs_nothing() {
    let wanted = wanted();
    assert_eq!(plan(&wanted, &complete(&wanted)), Ok(Plan::default()));
}

#[test]
fn only_what_is_missing_is_done() {
    let wanted = wanted();
    let missing = |change: &dyn Fn(&mut Found)| {
        let mut found = complete(&wanted);
        change(&mut found);
        let plan = plan(&wanted, &found).unwrap();
        plan.transaction.iter().chain(&plan.slot).map(|step| step.what.clone()).collect::<Vec<_>>()
    };
    let role = |login, replication| Some(RoleFound { login, replication });
    assert_eq!(missing(&|found| found.relay = role(false, true)), ["give role postrider login"]);
    assert_eq!(missing(&|found| found.relay = role(true, false)), ["give role postrider replication"]);
    assert_eq!(missing(&|found| found.relay = role(false, false)), ["give role postrider login replication"]);
    assert_eq!(missing(&|found| found.slot = None), ["create slot postrider"]);
    assert_eq!(
        missing(&|found| {
            found.granted.pop_first();
        }),
        ["grant connect on database shop to postrider"]
    );
    assert_eq!(
        missing(&|found| {
            found.publication = None;
            found.slot = None;
        }),
        ["create publication postrider", "create slot postrider"]
    );
    assert_eq!(missing(&|found| found.our_schema = false), [""; 0]);
}

#[test]
fn no_name_can_end_its_quotes() {
    let wanted = Wanted {
        database: "it's".to_owned(),
        relay_role: "a\"; drop role b; --".to_owned(),
        outbox: Some(OutboxTable {
            table: Table { schema: "My \"Schema\"".to_owned(), name: "out'box".to_owned() },
            columns: vec!["id".to_owned()],
        }),
        publication: "p\"q".to_owned(),
        failover: true,
        ..wanted()
    };
    let plan = plan(&wanted, &Found::fresh(&wanted)).unwrap();
    let sql: Vec<_> = plan.transaction.iter().chain(&plan.slot).map(|step| step.sql.as_str()).collect();
    assert_eq!(sql[0], r#"create role "a""; drop role b; --" login replication"#);
    assert_eq!(sql[2], r#"grant connect on database "it's" to "a""; drop role b; --""#);
    assert_eq!(sql[4], r#"grant select on table "My ""Schema"""."out'box" to "a""; drop role b; --""#);
    assert!(sql[7].starts_with(r#"create publication "p""q" for table "My ""Schema"""."out'box" with"#), "{}", sql[7]);
    assert_eq!(sql[8], "select pg_create_logical_replication_slot('postrider', 'pgoutput', failover => true)");
}

#[test]
fn what_is_there_and_different_is_refused_with_its_mend() {
    type Change = fn(&mut Found);
    let cases: &[(Change, &str, &str)] = &[
        (|f| f.server.version = 140_009, "older than PostgreSQL 15", "upgrade"),
        (
            |f| f.server.database = "other".to_owned(),
            "to database other, but `postgres.database` is shop",
            "--admin-url",
        ),
        (|f| f.server.standby = true, "is a standby", "primary"),
        (|f| f.server.wal_level = "replica".to_owned(), "wal_level is replica", "alter system set wal_level = logical"),
        (|f| f.server.senders_max = 0, "max_wal_senders is 0", "alter system set max_wal_senders"),
        (
            |f| {
                f.slot = None;
                f.server.slots = f.server.slots_max;
            },
            "all 2 replication slots are taken",
            "max_replication_slots",
        ),
        (|f| f.table = None, "\"public\".\"outbox_events\" does not exist in database shop", "postrider migrate"),
        (|f| f.table.as_mut().unwrap().is_table = false, "is not a table", "outbox.table"),
        (|f| f.table.as_mut().unwrap().logged = false, "unlogged", "set logged"),
        (|f| f.table.as_mut().unwrap().is_partition = true, "is a partition", "above the partitions"),
        (|f| f.table.as_mut().unwrap().columns.truncate(1), "has no column payload", "[outbox.columns]"),
        (|f| f.publication.as_mut().unwrap().by_rule = true, "publishes all tables", "source.publication"),
        (|f| f.publication.as_mut().unwrap().options_fit = false, "insertions alone", "set (publish = 'insert'"),
        (|f| f.publication.as_mut().unwrap().narrowed = true, "leaves out rows or columns", "set table"),
        (|f| f.publication.as_mut().unwrap().tables.clear(), "publishes no table", "set table"),
        (
            |f| {
                let other = Table { schema: "public".to_owned(), name: "users".to_owned() };
                f.publication.as_mut().unwrap().tables.insert(other);
            },
            "publishes \"public\".\"outbox_events\", \"public\".\"users\", not \"public\".\"outbox_events\" alone",
            "set table \"public\".\"outbox_events\"",
        ),
        (|f| f.publication = None, "a slot cannot see a publication younger than itself", "pg_drop_replication_slot"),
        (|f| f.slot.as_mut().unwrap().plugin = Some("wal2json".to_owned()), "plugin wal2json", "source.slot"),
        (|f| f.slot.as_mut().unwrap().plugin = None, "physical", "source.slot"),
        (|f| f.slot.as_mut().unwrap().database = Some("other".to_owned()), "database other, not shop", "source.slot"),
        (|f| f.slot.as_mut().unwrap().temporary = true, "is temporary", "source.slot"),
        (|f| f.slot.as_mut().unwrap().two_phase = true, "prepared transactions", "source.slot"),
        (|f| f.slot.as_mut().unwrap().lost = true, "is lost", "pg_drop_replication_slot('postrider')"),
    ];
    for (change, what, mend) in cases {
        let wanted = wanted();
        let mut found = complete(&wanted);
        change(&mut found);
        let refusals = plan(&wanted, &found).unwrap_err();
        assert_eq!(refusals.len(), 1, "{what}: {refusals:?}");
        assert!(refusals[0].what.contains(what), "{}", refusals[0].what);
        assert!(refusals[0].mend.contains(mend), "{}", refusals[0].mend);
    }
}

#[test]
fn failover_needs_a_server_and_a_slot_that_can() {
    let wanted = Wanted { failover: true, ..wanted() };
    let mut found = complete(&wanted);
    assert!(plan(&wanted, &found).unwrap_err()[0].what.contains("not kept over a failover"));
    found.slot = None;
    found.server.version = 160_004;
    assert!(plan(&wanted, &found).unwrap_err()[0].what.contains("PostgreSQL 17"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let wanted = wanted();
    let mut found = Found::fresh(&wanted);
    found.server.wal_level = "replica".to_owned();
    found.table = None;
    assert_eq!(plan(&wanted, &found).unwrap_err().len(), 2);
}

fn capturing() -> CaptureWanted {
    CaptureWanted {
        section: "capture".to_owned(),
        tables: vec![Table { schema: "public".to_owned(), name: "users".to_owned() }],
        except: Vec::new(),
        publication: "postrider_capture".to_owned(),
        via_root: true,
        operations: Operations { insert: true, update: true, delete: true, truncate: true },
        signal_table: None,
    }
}

/// A database with a captured table and its publication, and one that has no outbox.
fn captured() -> (Wanted, Found) {
    let wanted = Wanted { outbox: None, capture: Some(capturing()), ..wanted() };
    let mut found = complete(&wanted);
    let capture = found.capture.as_mut().unwrap();
    capture.publication =
        Some(CapturePublication { operations: capturing().operations, via_root: true, by_rule: false });
    capture.relations[0].is_published = true;
    found.granted = grants(&wanted, true, capture.published()).into_iter().map(|grant| grant.sql).collect();
    (wanted, found)
}

#[test]
fn captured_tables_get_a_publication_of_their_own_before_the_slot() {
    let wanted = Wanted { capture: Some(capturing()), ..wanted() };
    let both = plan(&wanted, &Found::fresh(&wanted)).unwrap();
    let sql: Vec<_> = both.transaction.iter().map(|step| step.sql.as_str()).collect();
    assert!(sql.contains(&r#"grant select on table "public"."users" to "postrider""#), "{sql:#?}");
    assert!(!sql.iter().any(|sql| sql.contains("insert on table \"public\".\"users\"")), "{sql:#?}");
    let expected = r#"create publication "postrider_capture" for table "public"."users" with (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"#;
    assert_eq!(sql.last(), Some(&expected));
    assert!(both.slot.is_some() && !both.passes);

    // Without an outbox there is nobody who writes events.
    let wanted = Wanted { outbox: None, ..wanted };
    let alone = plan(&wanted, &Found::fresh(&wanted)).unwrap();
    let sql: Vec<_> = alone.transaction.iter().map(|step| step.sql.as_str()).collect();
    assert_eq!(
        sql,
        [
            r#"create role "postrider" login replication"#,
            r#"grant connect on database "shop" to "postrider""#,
            r#"grant usage on schema "public" to "postrider""#,
            r#"grant select on table "public"."users" to "postrider""#,
            expected
        ]
    );
}

#[test]
fn a_second_run_adds_the_tables_that_are_new_and_says_what_the_stream_lacks() {
    let (wanted, mut found) = captured();
    assert_eq!(plan(&wanted, &found), Ok(Plan::default()));
    found.capture.as_mut().unwrap().relations[0].is_published = false;
    let added = plan(&wanted, &found).unwrap();
    let [step] = added.transaction.as_slice() else { panic!("{added:?}") };
    assert_eq!(step.sql, r#"alter publication "postrider_capture" add table "public"."users""#);
    assert!(step.what.contains("postrider snapshot start"), "{}", step.what);

    // A publication that is younger than the slot can be made, and the slot has to pass it.
    found.capture.as_mut().unwrap().publication = None;
    let younger = plan(&wanted, &found).unwrap();
    assert!(younger.passes && younger.transaction[0].sql.starts_with("create publication"), "{younger:?}");
}

#[test]
fn what_cannot_be_captured_is_refused_with_its_mend() {
    type Change = fn(&mut CaptureWanted, &mut CaptureFound);
    let cases: &[(Change, &str, &str)] = &[
        (|_, f| f.relations.clear(), "there is no table \"public\".\"users\" to capture", "capture.tables"),
        (
            |w, f| {
                w.tables[0].name = "user_*".to_owned();
                f.relations.clear();
            },
            "no table that can be captured fits public.user_*",
            "capture.tables_except",
        ),
        (|_, f| f.relations[0].kind = RelationKind::View, "is a view", "name the table itself"),
        (|_, f| f.relations[0].kind = RelationKind::Foreign, "is a foreign table", "name the table itself"),
        (|_, f| f.relations[0].logged = false, "unlogged or temporary", "set logged"),
        (
            |_, f| {
                f.relations[0].is_published = false;
                f.relations[0].without_identity = vec!["public.users".to_owned()];
            },
            "Postgres refuses every UPDATE and DELETE of it",
            "alter table public.users replica identity full",
        ),
        (
            |w, f| {
                w.via_root = false;
                f.relations[0].kind = RelationKind::Partitioned;
                f.publication.as_mut().unwrap().via_root = false;
            },
            "names none of its partitions",
            "public.readings_*",
        ),
        (
            |_, f| {
                f.relations[0].kind = RelationKind::Partitioned;
                f.publication.as_mut().unwrap().via_root = false;
            },
            "does not publish partitions under the table above them",
            "set (publish_via_partition_root = true)",
        ),
        (
            |_, f| f.publication.as_mut().unwrap().operations.delete = false,
            "publishes insert, update, truncate, not insert, update, delete, truncate",
            "set (publish = 'insert, update, delete, truncate')",
        ),
        (
            |_, f| {
                f.publication.as_mut().unwrap().by_rule = true;
                f.relations[0].is_published = false;
            },
            "takes in tables by rule, and not \"public\".\"users\"",
            "capture.publication",
        ),
        (
            |w, _| w.signal_table = Some(Table { schema: "public".to_owned(), name: "signals".to_owned() }),
            "there is no signal table \"public\".\"signals\"",
            "create table \"public\".\"signals\" (id varchar(42) primary key",
        ),
    ];
    for (change, what, mend) in cases {
        let (mut wanted, mut found) = captured();
        change(wanted.capture.as_mut().unwrap(), found.capture.as_mut().unwrap());
        let refusals = plan(&wanted, &found).unwrap_err();
        assert_eq!(refusals.len(), 1, "{what}: {refusals:?}");
        assert!(refusals[0].what.contains(what), "{}", refusals[0].what);
        assert!(refusals[0].mend.contains(mend), "{}", refusals[0].mend);
    }
}

#[test]
fn what_a_pattern_fits_beside_tables_is_passed_over() {
    let (mut wanted, mut found) = captured();
    wanted.capture.as_mut().unwrap().tables[0].name = "*".to_owned();
    let capture = found.capture.as_mut().unwrap();
    let users = capture.relations[0].clone();
    let other = |name: &str| Table { schema: "public".to_owned(), name: name.to_owned() };
    capture.relations.extend([
        Relation { table: other("view"), kind: RelationKind::View, is_published: false, ..users.clone() },
        Relation { table: other("scratch"), logged: false, is_published: false, ..users.clone() },
        Relation { table: other("part"), is_partition: true, is_covered: true, is_published: false, ..users },
    ]);
    assert_eq!(plan(&wanted, &found), Ok(Plan::default()));
}

#[test]
fn only_a_relay_that_may_release_its_slot_may_write_the_outbox() {
    let writes = |republishes| {
        let wanted = Wanted { republishes, ..wanted() };
        let plan = plan(&wanted, &Found::fresh(&wanted)).expect("nothing stands in the way");
        let role = format!("to \"{}\"", wanted.relay_role);
        let grants = plan.transaction.iter().filter(|step| step.sql.ends_with(&role));
        grants.filter(|step| step.sql.starts_with("grant insert, delete on table")).count()
    };
    assert_eq!((writes(false), writes(true)), (0, 1));
}

/// The same, polled.
fn polled(deletes: bool) -> Wanted {
    let column = |name: &str| Some(name.to_owned());
    let polling =
        PollingWanted { deletes, published_at: column("published_at"), xid: column("xid"), falls_back: false };
    Wanted { polling: Some(polling), ..wanted() }
}

#[test]
fn who_polls_gets_neither_publication_nor_slot_and_no_replication() {
    let wanted = polled(false);
    let plan = plan(&wanted, &Found::fresh(&wanted)).expect("a fresh database can be polled");
    assert!(plan.slot.is_none() && plan.backlog.is_none() && !plan.passes);
    let script = script(&wanted, &plan);
    for line in [
        "create role \"postrider\" login;",
        "grant update (\"published_at\") on table \"public\".\"outbox_events\" to \"postrider\";",
        "grant select, insert, update on table \"postrider\".\"leases\" to \"postrider\";",
        "create index if not exists \"outbox_events_unpublished_xid\" on \"public\".\"outbox_events\" (\"xid\") where \"published_at\" is null;",
    ] {
        assert!(script.contains(line), "{line}\n{script}");
    }
    for word in ["replication", "publication", "logical"] {
        assert!(!script.contains(word), "{word}\n{script}");
    }
    let deleting = polled(true);
    let plan = super::plan(&deleting, &Found::fresh(&deleting)).expect("a fresh database can be polled");
    assert!(plan.transaction.iter().any(|step| step.sql.starts_with("grant delete on table")));
}

#[test]
fn a_server_that_keeps_no_logical_log_can_be_polled() {
    let wanted = polled(false);
    let mut found = Found::fresh(&wanted);
    found.server = Server { wal_level: "minimal".to_owned(), slots_max: 0, senders_max: 0, ..found.server };
    assert!(plan(&wanted, &found).is_ok());
    assert!(plan(&Wanted { polling: None, ..wanted }, &found).is_err());
}

#[test]
fn where_no_role_is_given_replication_a_membership_takes_its_place() {
    let wanted = wanted();
    let role = |found: Option<RoleFound>| -> Vec<String> {
        let mut there = Found { relay: found, ..Found::fresh(&wanted) };
        there.server.rds = true;
        let steps = plan(&wanted, &there).expect("a fresh database can be set up").transaction;
        steps.into_iter().map(|step| step.sql).take_while(|sql| !sql.contains("postrider_writer")).collect()
    };
    let grant = r#"grant rds_replication to "postrider""#;
    assert_eq!(role(None), [r#"create role "postrider" login"#, grant]);
    assert_eq!(role(Some(RoleFound { login: true, replication: false })), [grant]);
    assert_eq!(role(Some(RoleFound { login: false, replication: true })), [r#"alter role "postrider" login"#]);
    assert!(role(Some(RoleFound { login: true, replication: true })).is_empty());
}
