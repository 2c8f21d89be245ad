//! Streaming over TLS: the same promises, whoever waits for whom.

use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::lsn::EndLsn;

use crate::postgres_client::database::{Database, Tape, inserted, last_end, outbox};
use crate::postgres_client::secured::Secured;

const TABLE: &str = "create table t(id text, filler text); create publication outbox for table t";

fn read(server: &Secured, database: &Database, slot: &str) -> Tape {
    let connection = Connection::connect(&server.options("scram", &database.name)).expect("the server lets us in");
    assert!(connection.security().tls.is_some());
    Tape::new(connection.start_logical(&outbox(slot, EndLsn::ZERO)).expect("the stream starts"))
}

#[tokio::test]
async fn a_consumer_that_stalls_inside_a_large_transaction_keeps_its_secured_connection_and_every_message() {
    let server = Secured::shared();
    let database = Database::on(server.environment(), "tls_stalled");
    database.run(&format!("alter database {} set wal_sender_timeout = '2s'", database.name));
    database.run(TABLE);
    let slot = database.slot("s");
    database.run("insert into t select n, repeat('x', 400) from generate_series(1, 100000) n");
    let mut tape = read(&server, &database, &slot);
    let pid = database.value(&format!("select active_pid from pg_replication_slots where slot_name = '{slot}'"));
    let sender = format!("from pg_stat_replication where pid = {pid}");

    // Several timeouts later by the server's own clock, it has heard from us and cannot send on.
    let last_word = database.value(&format!("select clock_timestamp() + '5 s' {sender}"));
    database.wait_until(&format!("coalesce((select reply_time > '{last_word}' {sender}), true)"));
    assert_eq!(database.value(&format!("select count(*) {sender}")), "1", "the connection is still there");
    let waiting = format!("(select wait_event = 'WalSenderWriteData' from pg_stat_activity where pid = {pid})");
    database.wait_until(&waiting);

    let all = tape.transactions(1).await;
    assert!(inserted(&all).iter().eq((1..=100_000).map(|n| n.to_string()).collect::<Vec<_>>().iter()));
    let end = last_end(&all).unwrap();
    tape.stream.confirm(end);
    tape.stream.stop().await.unwrap();
    assert!(database.confirmed(&slot) >= end, "the last report went out before the farewell");
}

#[tokio::test]
async fn a_secured_stream_whose_backend_is_terminated_hands_over_what_came_before() {
    let server = Secured::shared();
    let database = Database::on(server.environment(), "tls_terminated");
    database.run(TABLE);
    let slot = database.slot("s");
    database.run("insert into t select n, repeat('x', 400) from generate_series(1, 1000) n");
    let mut tape = read(&server, &database, &slot);
    assert_eq!(inserted(&tape.transactions(1).await).len(), 1000);
    database
        .run(&format!("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}'"));
    let error = loop {
        if let Err(error) = tape.arrived().await {
            break error;
        }
    };
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.sqlstate(), Some("57P01"), "the server's last word is read: {error}");
}
