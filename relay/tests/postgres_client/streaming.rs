//! Streaming: nothing lost or skipped wherever it is cut, alive whatever the consumer does, ended with the right word.

use std::time::{Duration, Instant};

use postrider_relay::postgres::error::Kind;
use postrider_relay::postgres::lsn::EndLsn;
use postrider_relay::postgres::replication::StartOptions;

use crate::postgres_client::database::{Arrived, DEADLINE, Database, Tape, inserted, last_end, outbox};
use crate::postgres_client::model::Said;

const TABLE: &str = "create table t(id text, filler text); create publication outbox for table t";

#[tokio::test]
async fn rows_of_one_copy_and_of_interleaved_transactions_arrive_in_commit_order() {
    let database = Database::new("copy");
    database.run(TABLE);
    let slot = database.slot("s");
    database.run("copy t(id) from program 'seq 1 10000'");
    interleave(&database);

    let mut tape = database.read(&slot);
    let all = tape.transactions(3).await;
    let mut wanted: Vec<String> = (1..=10_000).map(|id| id.to_string()).collect();
    wanted.extend(["b1", "b2", "a1", "a2"].map(String::from));
    assert_eq!(inserted(&all), wanted);
    let mut open = None;
    for said in &all {
        match said {
            Said::Begin { final_lsn, .. } => assert_eq!(open.replace(*final_lsn), None),
            Said::Commit { commit_lsn, end_lsn, .. } => {
                assert_eq!(open.take(), Some(*commit_lsn), "a commit closes the transaction that began");
                assert!(end_lsn > commit_lsn);
            }
            _ => assert!(open.is_some(), "changes stand between Begin and Commit: {said:?}"),
        }
    }
}

/// Transaction a starts first and ends last.
fn interleave(database: &Database) {
    let (mut a, mut b) = (database.session(), database.session());
    for (session, sql) in
        [(&mut a, "begin; insert into t values ('a1')"), (&mut b, "begin; insert into t values ('b1')")]
    {
        session.simple_query(sql).expect("a transaction starts");
    }
    a.simple_query("insert into t values ('a2')").expect("it goes on");
    b.simple_query("insert into t values ('b2'); commit").expect("it commits first");
    a.simple_query("commit").expect("it commits last");
}

#[tokio::test]
async fn a_stream_cut_at_any_message_resumes_after_the_last_confirmed_transaction() {
    let database = Database::new("cut");
    database.run(TABLE);
    let slot = database.slot("s");
    interleave(&database);
    database.run("insert into t values ('c')");
    let all = database.read(&database.copy_slot(&slot, "whole")).transactions(3).await;

    for cut in 0..=all.len() {
        let copy = database.copy_slot(&slot, "cut");
        let mut tape = database.read(&copy);
        for wanted in &all[..cut] {
            assert_eq!(&tape.said().await.unwrap(), wanted);
        }
        let confirmed = last_end(&all[..cut]);
        if let Some(confirmed) = confirmed {
            tape.stream.confirm(confirmed);
        }
        let before = database.confirmed(&copy);
        tape.stream.stop().await.unwrap();
        assert_eq!(database.confirmed(&copy), confirmed.unwrap_or(before), "the last report was heard");

        let whole_before_cut = all[..cut].iter().rposition(|said| matches!(said, Said::Commit { .. }));
        let rest = &all[whole_before_cut.map_or(0, |at| at + 1)..];
        let commits = rest.iter().filter(|said| matches!(said, Said::Commit { .. })).count();
        let mut tape = database.read_from(&copy, confirmed.unwrap_or_default());
        // The relation is described anew in each session, before its first change.
        let is_row = |said: &&Said| !matches!(said, Said::Relation { .. });
        let resumed = tape.transactions(commits).await;
        assert!(resumed.iter().filter(is_row).eq(rest.iter().filter(is_row)), "cut at {cut}: {resumed:?}");
        tape.stream.stop().await.unwrap();
        database.connect().drop_slot(&copy, false).unwrap();
    }
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_for_many_timeouts_loses_neither_connection_nor_messages() {
    let database = Database::new("stalled");
    database.run(&format!("alter database {} set wal_sender_timeout = '2s'", database.name));
    database.run(TABLE);
    let slot = database.slot("s");
    database.run("insert into t select n, repeat('x', 400) from generate_series(1, 100000) n");
    let mut tape = database.read(&slot);
    let pid = active_pid(&database, &slot);
    let sender = format!("from pg_stat_replication where pid = {pid}");

    // More than three timeouts later by the server's own clock, it has heard from us and cannot send on.
    let last_word = database.value(&format!("select clock_timestamp() + '7 s' {sender}"));
    database.wait_until(&format!("coalesce((select reply_time > '{last_word}' {sender}), true)"));
    assert_eq!(database.value(&format!("select count(*) {sender}")), "1", "the connection is still there");
    let ahead = format!("pg_current_wal_lsn() - sent_lsn > 10000000 {sender}");
    assert_eq!(database.value(&format!("select {ahead}")), "t", "what is not taken stays with the server");

    let all = tape.transactions(1).await;
    assert!(inserted(&all).iter().eq((1..=100_000).map(|n| n.to_string()).collect::<Vec<_>>().iter()));
    assert_eq!(active_pid(&database, &slot), pid);
    tape.stream.stop().await.unwrap();
}

fn active_pid(database: &Database, slot: &str) -> String {
    database.value(&format!("select active_pid from pg_replication_slots where slot_name = '{slot}'"))
}

#[tokio::test]
async fn a_slot_beside_a_busy_table_follows_by_keepalives_alone() {
    let database = Database::new("idle");
    database.run(TABLE);
    database.run("create table neighbour(id int)");
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    database.run("insert into neighbour select generate_series(1, 10000)");
    let busy_until: EndLsn = database.value("select pg_current_wal_lsn()").parse().unwrap();
    loop {
        match tape.arrived().await.unwrap() {
            Arrived::Keepalive(end) if end >= busy_until => {
                tape.stream.confirm(end);
                break;
            }
            Arrived::Keepalive(_) => {}
            Arrived::Data(_) => panic!("nothing published was changed"),
        }
    }
    let standing = format!("from pg_replication_slots where slot_name = '{slot}'");
    database.wait_until(&format!("confirmed_flush_lsn >= '{busy_until}' {standing}"));
}

#[tokio::test]
async fn what_was_received_and_what_is_durable_are_reported_apart() {
    let database = Database::new("honest");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    database.run("insert into t values ('1'); ");
    database.run("insert into t values ('2')");
    let first = last_end(&tape.transactions(1).await).unwrap();
    let second = last_end(&tape.transactions(1).await).unwrap();
    tape.stream.confirm(first);
    // A lower one changes nothing.
    tape.stream.confirm(EndLsn::new(1));
    let sender = format!("from pg_stat_replication where pid = {}", active_pid(&database, &slot));
    database
        .wait_until(&format!("write_lsn >= '{second}' and flush_lsn = '{first}' and replay_lsn = '{first}' {sender}"));
    assert_eq!(database.confirmed(&slot), first);
}

#[tokio::test]
async fn a_row_larger_than_any_buffer_arrives_whole_between_its_neighbours() {
    let database = Database::new("large");
    database.run(TABLE);
    let slot = database.slot("s");
    for (id, bytes) in [("before", 1), ("large", 9_000_000), ("after", 1), ("edge", 262_144 - 60), ("last", 300_000)] {
        database.run(&format!("insert into t values ('{id}', repeat('y', {bytes}))"));
    }
    for options in [database.options(), database.tcp_options()] {
        let copy = database.copy_slot(&slot, "copy");
        let connection = postrider_relay::postgres::connection::Connection::connect(&options).unwrap();
        let mut tape = Tape::new(connection.start_logical(&outbox(&copy, EndLsn::ZERO)).unwrap());
        let all = tape.transactions(5).await;
        assert_eq!(inserted(&all), ["before", "large", "after", "edge", "last"]);
        let sizes: Vec<usize> = all.iter().map(|said| said.encode().len()).filter(|size| *size > 1000).collect();
        assert!(sizes.len() == 3 && sizes[0] > 9_000_000, "{sizes:?}");
        tape.stream.stop().await.unwrap();
        database.connect().drop_slot(&copy, false).unwrap();
    }
}

#[tokio::test]
async fn a_terminated_backend_ends_the_stream_after_every_message_before_it() {
    let database = Database::new("terminated");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    database.run("insert into t values ('1')");
    // Sent, but not taken yet.
    let sender = format!("from pg_stat_replication where pid = {}", active_pid(&database, &slot));
    let written = database.value("select pg_current_wal_insert_lsn()");
    database.wait_until(&format!("write_lsn >= '{written}' {sender}"));
    database.run(&format!("select pg_terminate_backend({})", active_pid(&database, &slot)));
    database.wait_until_inactive(&slot);

    assert_eq!(inserted(&tape.transactions(1).await), ["1"]);
    let error = tape.data().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Unavailable, Some("57P01")));
    let error = tape.data().await.unwrap_err();
    assert_eq!(error.to_string(), "the stream has ended");
    assert!(tape.stream.stop().await.is_ok(), "it was told already");
}

#[tokio::test]
async fn a_stream_that_is_dropped_lets_go_of_its_slot() {
    let database = Database::new("dropped");
    database.run(TABLE);
    let slot = database.slot("s");
    drop(database.read(&slot));
    database.wait_until_inactive(&slot);
}

#[tokio::test]
async fn a_cancelled_wait_loses_no_message() {
    let database = Database::new("cancelled");
    database.run(TABLE);
    let slot = database.slot("s");
    let mut tape = database.read(&slot);
    let mut session = database.session();
    let writer = std::thread::spawn(move || {
        for id in 0..300 {
            session.simple_query(&format!("insert into t values ('{id}')")).unwrap();
        }
    });
    let mut said = Vec::new();
    let started = Instant::now();
    while said.iter().filter(|said| matches!(said, Said::Commit { .. })).count() < 300 {
        assert!(started.elapsed() < DEADLINE, "only {} messages arrived", said.len());
        if let Ok(next) = tokio::time::timeout(Duration::from_micros(50), tape.said()).await {
            said.push(next.unwrap());
        }
    }
    writer.join().unwrap();
    assert!(inserted(&said).into_iter().eq((0..300).map(|id| id.to_string())));
}

#[tokio::test]
async fn publications_keep_their_exact_names() {
    let database = Database::new("names");
    database.run("create table t(id text)");
    let names = ["Mixed Case", "comma,comma", "quote\"d", "it's"].map(String::from);
    let slot = database.slot("s");
    for name in &names {
        database.run(&format!("create publication \"{}\" for table t", name.replace('"', "\"\"")));
    }
    database.run("insert into t values ('1')");
    for name in names {
        let copy = database.copy_slot(&slot, "copy");
        let options = StartOptions { publications: vec![name], ..outbox(&copy, EndLsn::ZERO) };
        // The publications are newer than the slot but older than the row, which is when they are looked up.
        let mut tape = Tape::new(database.connect().start_logical(&options).unwrap());
        assert_eq!(inserted(&tape.transactions(1).await), ["1"]);
        tape.stream.stop().await.unwrap();
        database.connect().drop_slot(&copy, false).unwrap();
    }
}

#[tokio::test]
async fn a_missing_publication_ends_the_stream_by_name() {
    let database = Database::new("no_publication");
    database.run("create table t(id text)");
    let slot = database.slot("s");
    database.run("insert into t values ('1')");
    missing_publication(&database, &slot).await;
    // Created after the change, it does not exist where the change is read.
    database.run("create publication outbox for table t");
    missing_publication(&database, &slot).await;
}

pub(crate) async fn missing_publication(database: &Database, slot: &str) {
    let mut tape = database.read(slot);
    let error = tape.data().await.expect_err("a gap would be silent");
    assert_eq!((error.kind(), error.is_transient()), (Kind::PublicationMissing, false));
    let report = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(report.contains("\"outbox\""), "{error}: {report}");
    database.wait_until_inactive(slot);
}
