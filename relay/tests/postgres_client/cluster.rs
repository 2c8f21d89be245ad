//! What needs a server of its own: other authentication, restarts, another `wal_level`, the newest version.

use std::path::Path;

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::error::Kind;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret};
use postrider_relay::postgres::slot::NewSlot;
use xtask::services::PrivatePostgres;

use crate::postgres_client::database::{Arrived, Database, inserted, last_end, outbox};
use crate::postgres_client::model::Said;
use crate::postgres_client::streaming::missing_publication;

const TABLE: &str = "create table t(id text); create publication outbox for table t";

fn prepend(path: &Path, lines: &str) {
    let rest = std::fs::read_to_string(path).expect("the file can be read");
    std::fs::write(path, format!("{lines}{rest}")).expect("the file can be written");
}

#[test]
fn a_local_name_prefers_the_socket_and_falls_back_to_tcp_where_the_socket_does_not_let_us_in() {
    let mut server = PrivatePostgres::start(None, &[]).unwrap();
    let database = Database::on(server.environment(), "local");
    let mut local = database.tcp_options();
    local.servers[0].host = Host::parse("127.0.0.1");
    let port = local.servers[0].port;
    let tcp = format!("127.0.0.1:{port}");
    let peer = |options: &ConnectOptions| Connection::connect(options).map(|connection| connection.peer().to_owned());
    assert_eq!(peer(&local).unwrap(), tcp, "there is no socket in a usual directory");

    let directories = format!("{}, /tmp", server.environment().socket_dir.display());
    server.set("unix_socket_directories", &directories).unwrap();
    server.restart().unwrap();
    let socket = format!("/tmp/.s.PGSQL.{port}");
    assert_eq!(peer(&local).unwrap(), socket);

    database.run("create role remote login replication password 'secret'");
    prepend(&server.data_dir().join("pg_hba.conf"), "local all remote reject\n");
    server.restart().unwrap();
    let remote = ConnectOptions { user: "remote".into(), password: Some(Secret::new("secret")), ..local };
    assert_eq!(peer(&remote).unwrap(), tcp);
}

#[test]
fn a_role_that_may_not_replicate_is_told_what_it_lacks() {
    let database = Database::new("attribute");
    let role = database.slot_name("role");
    database.run(&format!("create role {role} login"));
    let options = ConnectOptions { user: role.clone(), ..database.options() };
    let error = Connection::connect(&options).unwrap_err();
    database.run(&format!("drop role {role}"));
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Rejected, Some("42501")));
    assert!(error.to_string().contains("alter role"), "{error}");
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
    let confirmed = last_end(&first).unwrap();

    // A server that shuts down waits until everything it sent is confirmed, and asks.
    let reader = tokio::spawn(async move {
        loop {
            match tape.arrived().await {
                Ok(Arrived::Keepalive(end)) => tape.stream.confirm(end),
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

#[tokio::test]
async fn a_transaction_whose_commit_starts_where_the_confirmed_one_ended_still_arrives() {
    let server = PrivatePostgres::start(None, &[]).unwrap();
    let database = Database::on(server.environment(), "adjacent");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    let (mut a, mut b) = (database.session(), database.session());
    // The server's own background writing may come between; then it is done again.
    for _ in 0..100 {
        for session in [&mut a, &mut b] {
            session.simple_query("begin; insert into t values ('x')").unwrap();
        }
        for session in [&mut a, &mut b] {
            session.simple_query("set local synchronous_commit = off; commit").unwrap();
        }
        let first = tape.transactions(1).await;
        let second = tape.transactions(1).await;
        let end = last_end(&first).unwrap();
        let Some(Said::Begin { final_lsn, .. }) = second.first() else { panic!("a transaction begins") };
        if *final_lsn != end.as_u64() {
            continue;
        }
        tape.stream.confirm(end);
        tape.stream.stop().await.unwrap();
        assert_eq!(database.confirmed(&slot), end);
        let again = database.read_from(&slot, end).transactions(1).await;
        assert_eq!(again.first(), second.first(), "the adjacent transaction is not skipped");
        return;
    }
    panic!("no two commits were adjacent in 100 tries");
}
