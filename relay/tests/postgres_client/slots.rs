//! Slots: created, taken, missing, dropped.

use postrider_relay::postgres::error::Kind;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::slot::{NewSlot, Snapshot};

use crate::postgres_client::database::{Database, outbox};

#[test]
fn a_slot_is_created_for_pgoutput_and_dropped() {
    let database = Database::new("create");
    let name = database.slot_name("s");
    let mut connection = database.connect();
    let created = connection.create_logical_slot(&NewSlot::named(&name)).unwrap();
    assert_eq!((&created.name, &created.snapshot_name), (&name, &None));
    assert_eq!(database.confirmed(&name), created.consistent_point);
    let facts = format!("select plugin || temporary from pg_replication_slots where slot_name = '{name}'");
    assert_eq!(database.value(&facts), "pgoutputfalse");

    let error = connection.create_logical_slot(&NewSlot::named(&name)).unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Rejected, Some("42710")));
    connection.drop_slot(&name, false).unwrap();
    let error = connection.drop_slot(&name, false).unwrap_err();
    assert_eq!(error.kind(), Kind::SlotMissing);
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn a_name_that_is_no_slot_name_is_refused_not_executed() {
    let database = Database::new("bad_name");
    let mut connection = database.connect();
    for name in ["", "Upper", "a b", "x\" LOGICAL \"y", "x'; drop table t; --", &"x".repeat(64)] {
        let error = connection.create_logical_slot(&NewSlot::named(name)).unwrap_err();
        assert!(error.kind() == Kind::Rejected && error.to_string().contains("is no slot name"), "{name}: {error}");
        assert_eq!(connection.drop_slot(name, false).unwrap_err().kind(), Kind::Rejected);
    }
}

#[test]
fn an_exported_snapshot_shows_what_was_there_before_the_slot() {
    let database = Database::new("snapshot");
    database.run("create table t as select 1 as id");
    let mut connection = database.connect();
    let slot = NewSlot { temporary: true, snapshot: Snapshot::Export, ..NewSlot::named(database.slot_name("s")) };
    let snapshot = connection.create_logical_slot(&slot).unwrap().snapshot_name.unwrap();
    database.run("insert into t values (2)");
    let mut session = database.session();
    session.simple_query("begin isolation level repeatable read").unwrap();
    session.simple_query(&format!("set transaction snapshot '{snapshot}'")).unwrap();
    let rows = session.simple_query("select id from t").unwrap();
    assert_eq!(rows, [[Some("1".to_owned())]]);
    drop(connection);
    database.wait_until(&format!("not exists (select from pg_replication_slots where slot_name = '{}')", slot.name));
}

#[test]
fn a_missing_slot_is_named() {
    let database = Database::new("missing");
    let error = database.connect().start_logical(&outbox("no_such_slot", EndLsn::ZERO)).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (Kind::SlotMissing, false));
    assert!(error.to_string().contains("no replication slot \"no_such_slot\""), "{error}");
}

#[tokio::test]
async fn a_slot_in_use_elsewhere_names_the_backend_that_holds_it() {
    let database = Database::new("in_use");
    database.run("create publication outbox");
    let slot = database.slot("s");
    let holder = database.connect();
    let pid = holder.backend_pid();
    let held = holder.start_logical(&outbox(&slot, EndLsn::ZERO)).unwrap();
    let error = database.connect().start_logical(&outbox(&slot, EndLsn::ZERO)).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (Kind::SlotActive { pid: Some(pid) }, true));
    let error = database.connect().drop_slot(&slot, false).unwrap_err();
    assert_eq!(error.kind(), Kind::SlotActive { pid: Some(pid) });

    held.stop().await.unwrap();
    let next = database.connect().start_logical(&outbox(&slot, EndLsn::ZERO)).expect("stopped means free");
    next.stop().await.unwrap();
    database.connect().drop_slot(&slot, false).expect("stopped means free");
}

#[test]
fn a_slot_of_another_database_is_a_wrong_prerequisite() {
    let database = Database::new("here");
    let other = Database::new("there");
    let slot = other.slot("s");
    let error = database.connect().start_logical(&outbox(&slot, EndLsn::ZERO)).unwrap_err();
    assert_eq!(error.kind(), Kind::Prerequisite, "{error} {:?}", error.server_error());
}
