//! What needs a server of its own: other authentication, restarts, another `wal_level`, the newest version.

use std::path::Path;

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::error::Kind;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::options::{ConnectOptions, Secret};
use postrider_relay::postgres::slot::NewSlot;
use xtask::services::PrivatePostgres;

use crate::postgres_client::database::{Database, inserted, outbox};
use crate::postgres_client::streaming::missing_publication;

const TABLE: &str = "create table t(id text); create publication outbox for table t";

#[test]
fn authentication_that_is_not_supported_is_named_and_no_clear_password_leaves_the_machine() {
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    let database = Database::on(server.environment(), "auth");
    database.run(
        "set password_encryption = 'md5'; create role md5 login replication password 'secret';
         set password_encryption = 'scram-sha-256'; create role clear login replication password 'secret';",
    );
    prepend(
        &server.data_dir().join("pg_hba.conf"),
        "local all clear password\nhost all clear all password\nhost all md5 all md5\n",
    );
    server.restart().unwrap();
    let user = |options: ConnectOptions, user: &str| ConnectOptions {
        user: user.into(),
        password: Some(Secret::new("secret")),
        ..options
    };
    assert!(Connection::connect(&user(database.options(), "clear")).is_ok(), "a socket may carry it");
    for (role, method) in [("clear", "clear text"), ("md5", "md5")] {
        let error = Connection::connect(&user(database.tcp_options(), role)).unwrap_err();
        assert_eq!(error.kind(), Kind::Authentication);
        let text = error.to_string();
        assert!(text.contains(method) && text.contains("scram-sha-256"), "{text}");
    }
}

fn prepend(path: &Path, lines: &str) {
    let rest = std::fs::read_to_string(path).expect("the file can be read");
    std::fs::write(path, format!("{lines}{rest}")).expect("the file can be written");
}

#[tokio::test]
async fn a_restarted_server_is_read_on_from_where_it_was_confirmed() {
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    let database = Database::on(server.environment(), "restart");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    database.run("insert into t values ('1')");
    let first = tape.transactions(1).await;
    let confirmed = crate::postgres_client::database::last_end(&first).unwrap();

    // A server that shuts down waits until everything it sent is confirmed, and asks.
    let reader = tokio::spawn(async move {
        loop {
            match tape.arrived().await {
                Ok(crate::postgres_client::database::Arrived::Keepalive(end)) => tape.stream.confirm(end),
                Ok(data) => panic!("nothing else was written: {data:?}"),
                Err(error) => return error,
            }
        }
    });
    let stopped = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    });
    let error = reader.await.unwrap();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    let mut server = stopped.await.unwrap();
    let error = Connection::connect(&database.options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);

    server.start_again().unwrap();
    database.run("insert into t values ('2')");
    let resumed = database.read_from(&slot, confirmed).transactions(1).await;
    assert_eq!(inserted(&resumed), ["2"]);
}

#[tokio::test]
async fn a_crashed_server_ends_the_stream_and_resends_what_was_not_confirmed() {
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    let database = Database::on(server.environment(), "crash");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    database.run("insert into t values ('1')");
    let before = tape.transactions(1).await;
    server.stop_immediate();
    let error = tape.data().await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.is_transient(), "{error:?}");
    server.start_again().unwrap();
    let again = database.read(&slot).transactions(1).await;
    assert_eq!(again, before);
}

#[test]
fn a_server_without_logical_wal_is_told_apart_from_a_missing_slot() {
    let server = PrivatePostgres::start(None, &[("wal_level", "replica")]).unwrap();
    let database = Database::on(server.environment(), "replica");
    let error = database.connect().create_logical_slot(&NewSlot::named("s")).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (Kind::Prerequisite, false));
    assert!(error.server_error().unwrap().message.contains("wal_level"), "{error:?}");
}

#[tokio::test]
async fn an_invalidated_slot_is_told_apart_from_a_missing_one() {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let server = PrivatePostgres::start(None, &settings).unwrap();
    let database = Database::on(server.environment(), "lost");
    database.run(TABLE);
    let slot = database.slot("s");
    let lost = format!("wal_status = 'lost' from pg_replication_slots where slot_name = '{slot}'");
    while database.value(&format!("select {lost}")) != "t" {
        database.run("select pg_logical_emit_message(false, 'x', repeat('x', 8000000)); select pg_switch_wal()");
        database.run("checkpoint");
    }
    let error = database.connect().start_logical(&outbox(&slot, EndLsn::ZERO)).unwrap_err();
    assert_eq!(error.kind(), Kind::Prerequisite, "{error:?}");
}

#[tokio::test]
async fn the_newest_version_streams_and_a_publication_it_would_skip_ends_the_stream() {
    let server = PrivatePostgres::start(Some(18), &[]).unwrap();
    let database = Database::on(server.environment(), "newest");
    database.run(&format!("alter database {} set transaction_timeout = '1s'", database.name));
    database.run("create table t(id text)");
    let slot = database.slot("early");
    database.run("insert into t values ('too early')");
    missing_publication(&database, &slot).await;

    database.run("create publication outbox for table t");
    let slot = NewSlot { failover: true, ..NewSlot::named(database.slot_name("s")) };
    database.connect().create_logical_slot(&slot).unwrap();
    database.run("copy t(id) from program 'seq 1 10000'");
    let mut tape = database.read(&slot.name);
    let all = tape.transactions(1).await;
    assert!(inserted(&all).into_iter().eq((1..=10_000).map(|id| id.to_string())));
    tape.stream.stop().await.unwrap();
}
