//! What a lot promises, on a real Postgres: parking twice changes nothing, what is due comes in order, and every act is in
//! the audit.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

pub(crate) mod database;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_relay::pipeline::parking::{Cause, Entry, Holding, Loaded, Lot, Returned, RunLimit};
use postrider_relay::pipeline::{HeaderName, Kind, Message, Messages, Refused};

use self::database::Database;

const LIMIT: RunLimit = RunLimit { events_max: 100, bytes_max: 1 << 20 };

/// Messages of topic `t`; the key `-` is none.
fn messages(batch: &[(u128, &str)]) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    for (position, key) in batch {
        let id = messages.keep(format!("id-{position}").as_bytes());
        let raw = messages.keep(&[0, 255]);
        let mark = messages.header_mark();
        messages.header(HeaderName::Static("id"), Some(id));
        messages.header(HeaderName::Static("raw"), Some(raw));
        messages.header(HeaderName::Static("none"), None);
        let headers = mark..messages.header_mark();
        let key = (*key != "-").then(|| messages.keep(key.as_bytes()));
        let value = Some(messages.keep(format!("{{\"n\": {position}}}").as_bytes()));
        let (topic, position) = (Arc::from("t"), *position);
        messages.push(Message { topic, key, value, headers, timestamp_ms: 1_700_000_000_123, position, route: 0 });
    }
    messages
}

/// Parks the messages; those at `refused` are refused, the others wait.
async fn park(lot: &mut impl Lot, messages: &Messages, refused: &[u128]) {
    let why = Refused { help: Some("Raise it.".into()), overtaken: true, ..Refused::new(0, "too large") };
    let entries: Vec<Entry<'_>> = messages
        .iter()
        .map(|message| {
            let cause = match refused.contains(&message.position()) {
                true => Cause::Refused { refused: &why, unfit: false },
                false => Cause::Waiting,
            };
            Entry { message, route: "orders", cause }
        })
        .collect();
    lot.park(&entries).await.unwrap();
}

async fn holding(lot: &mut impl Lot) -> Holding {
    match lot.load().await.unwrap() {
        Loaded::Ready(holding) => holding,
        Loaded::Absent { why, mend } => panic!("{why}: {mend}"),
    }
}

async fn due(lot: &mut impl Lot) -> Vec<u128> {
    lot.due(LIMIT).await.unwrap().iter().map(|message| message.position()).collect()
}

/// Waits until the bell rings.
async fn asked(lot: &mut impl Lot) {
    tokio::time::timeout(Duration::from_secs(30), lot.asked()).await.expect("the lot hears what is asked for");
}

#[tokio::test]
async fn what_is_parked_comes_back_whole_and_parking_it_twice_changes_nothing() {
    let database = Database::migrated("whole").await;
    let mut lot = database.lot("a");
    assert_eq!(holding(&mut lot).await.rows, []);
    let batch = messages(&[(7, "k"), (8, "-"), (9, "k")]);
    park(&mut lot, &batch, &[7, 8]).await;
    park(&mut lot, &batch, &[]).await;
    let held = holding(&mut lot).await;
    assert_eq!(
        held.rows.iter().map(|row| (row.position, row.key.is_some())).collect::<Vec<_>>(),
        [(7, true), (8, false), (9, true)]
    );
    assert_eq!((held.rows[0].topic.as_str(), held.rows[0].timestamp_ms), ("t", 1_700_000_000_123));
    assert_eq!(
        database.texts("select state from postrider.parked order by position").await,
        ["parked", "parked", "waiting"]
    );
    let said = "select concat_ws(' ', reason, help, order_broken, event_id, route) from postrider.parked where position like '%7'";
    assert_eq!(database.texts(said).await, ["too large Raise it. t id-7 orders"]);

    database.run("update postrider.parked set state = 'retry'").await;
    let back = lot.due(LIMIT).await.unwrap();
    for (sent, back) in batch.iter().zip(back.iter()) {
        assert_eq!((back.topic(), back.key(), back.value()), (sent.topic(), sent.key(), sent.value()));
        assert_eq!(back.headers().collect::<Vec<_>>(), sent.headers().collect::<Vec<_>>());
        assert_eq!((back.position(), back.timestamp_ms()), (sent.position(), sent.timestamp_ms()));
    }
}

#[tokio::test]
async fn what_is_due_is_what_nothing_of_its_key_stands_in_front_of_in_order_and_in_bounds() {
    let database = Database::migrated("due").await;
    let mut lot = database.lot("a");
    let batch = messages(&[(1, "k"), (2, "l"), (3, "k"), (4, "k"), (5, "k"), (6, "l"), (7, "-")]);
    park(&mut lot, &batch, &[1, 2, 4, 7]).await;
    assert_eq!(due(&mut lot).await, Vec::<u128>::new());
    // The first of k is asked for: it and what follows, up to the next that is parked itself.
    database.ask(1, "retry").await;
    asked(&mut lot).await;
    assert_eq!(due(&mut lot).await, [1, 3]);
    // One that is asked for behind one that is not must wait.
    database.ask(1, "parked").await;
    database.ask(4, "retry").await;
    assert_eq!(due(&mut lot).await, Vec::<u128>::new());
    database.ask(1, "skipped").await;
    database.ask(2, "discarded").await;
    database.ask(7, "retry").await;
    assert_eq!(due(&mut lot).await, [3, 4, 5, 6, 7]);
    let two = RunLimit { events_max: 2, ..LIMIT };
    assert_eq!(lot.due(two).await.unwrap().len(), 2);
    let small = RunLimit { bytes_max: 1, ..LIMIT };
    assert_eq!(lot.due(small).await.unwrap().len(), 1, "a large one passes alone");
    assert_eq!(holding(&mut lot).await.newest_settled, Some(2));
}

#[tokio::test]
async fn what_became_of_each_is_noted_with_an_audit_of_every_act() {
    let database = Database::migrated("conclude").await;
    let mut lot = database.lot("a");
    park(&mut lot, &messages(&[(1, "k"), (2, "k"), (3, "l")]), &[1, 3]).await;
    database.ask(1, "retry").await;
    database.ask(3, "retry").await;
    let again = Returned { position: 3, refused: Refused::new(0, "still too large") };
    lot.conclude(&[1, 2], &[again]).await.unwrap();
    let states =
        "select concat_ws(' ', right(position, 1), state, attempts, reason) from postrider.parked order by position";
    assert_eq!(
        database.texts(states).await,
        ["1 delivered 1 too large", "2 delivered 1", "3 parked 1 still too large"]
    );
    let settled: Vec<u128> = lot.settled(2).await.unwrap().iter().map(|row| row.position).collect();
    assert_eq!(settled, [2]);
    let log = "select concat_ws(' ', verb, right(position, 1), note) from postrider.parked_log order by id";
    let mut log = database.texts(log).await;
    log.sort();
    assert_eq!(
        log,
        [
            "deliver 1 to topic t",
            "deliver 2 to topic t",
            "park 1 too large",
            "park 3 too large",
            "refuse 3 still too large",
            "wait 2"
        ]
    );
}

#[tokio::test]
async fn one_that_a_person_settled_while_it_was_tried_is_not_parked_again() {
    let database = Database::migrated("race").await;
    let mut lot = database.lot("a");
    park(&mut lot, &messages(&[(1, "k")]), &[1]).await;
    database.ask(1, "discarded").await;
    let again = Returned { position: 1, refused: Refused::new(0, "still too large") };
    lot.conclude(&[], &[again]).await.unwrap();
    assert_eq!(database.texts("select state from postrider.parked").await, ["discarded"]);
}

#[tokio::test]
async fn lots_of_two_slots_share_a_table_and_never_a_row() {
    let database = Database::migrated("slots").await;
    let (mut one, mut other) = (database.lot("a"), database.lot("b"));
    park(&mut one, &messages(&[(1, "k")]), &[1]).await;
    park(&mut other, &messages(&[(1, "k"), (2, "k")]), &[1]).await;
    assert_eq!((holding(&mut one).await.rows.len(), holding(&mut other).await.rows.len()), (1, 2));
    database.run("update postrider.parked set state = 'retry' where slot = 'b' and position like '%1'").await;
    assert_eq!((due(&mut one).await.len(), due(&mut other).await.len()), (0, 2));
}

#[tokio::test]
async fn another_event_at_the_position_of_a_parked_one_is_refused_and_nothing_is_overwritten() {
    let database = Database::migrated("others").await;
    let mut lot = database.lot("a");
    park(&mut lot, &messages(&[(1, "k")]), &[1]).await;
    database.run("update postrider.parked set committed_at = committed_at - interval '1 day'").await;
    let batch = messages(&[(1, "k")]);
    let entry = Entry { message: batch.at(0).unwrap(), route: "orders", cause: Cause::Waiting };
    let error = lot.park(&[entry]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("another event"), "{error}");
    assert_eq!(database.texts("select state from postrider.parked").await, ["parked"]);
}

#[tokio::test]
async fn a_database_without_the_table_or_the_right_says_which_command_mends_it() {
    let database = Database::empty("absent").await;
    let Loaded::Absent { why, mend } = database.lot("a").load().await.unwrap() else { panic!("there is no table") };
    assert!(why.contains("no table") && mend.contains("postrider migrate"), "{why} {mend}");

    let database = Database::migrated("norights").await;
    let name = database.name();
    database.run(&format!("create role {name}_poor login")).await;
    // Something may wait there: going on without looking could let a newer event overtake it.
    let error = database.lot_as("a", &format!("{name}_poor")).load().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Setup);
    assert!(error.to_string().contains("may not use"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("postrider init")), "{:?}", error.help());
}

#[tokio::test]
async fn a_lost_session_is_an_outage_and_the_next_call_has_a_new_one() {
    let database = Database::migrated("lost").await;
    let mut lot = database.lot("a");
    park(&mut lot, &messages(&[(1, "k")]), &[1]).await;
    let others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    database.run(others).await;
    // Whether the loss was noticed before the call or by it: an outage at most, and never a wrong answer.
    for _ in 0..2 {
        match lot.load().await {
            Ok(Loaded::Ready(holding)) => assert_eq!(holding.rows.len(), 1),
            Ok(Loaded::Absent { why, .. }) => panic!("{why}"),
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain()),
        }
    }
    park(&mut lot, &messages(&[(1, "k"), (2, "k")]), &[1]).await;
    assert_eq!(holding(&mut lot).await.rows.len(), 2);
}

#[tokio::test]
async fn what_is_parked_is_flushed_to_disk_even_if_the_role_does_not_ask_for_it() {
    let database = Database::migrated("sync").await;
    let name = database.name();
    database.run(&format!("alter database {name} set synchronous_commit = off")).await;
    let mut lot = database.lot("a");
    database.run("create table seen (setting text)").await;
    database
        .run(
            "create function see() returns trigger language plpgsql as
               $$ begin insert into seen select current_setting('synchronous_commit'); return null; end $$;
             create trigger see after insert on postrider.parked for each row execute function see()",
        )
        .await;
    park(&mut lot, &messages(&[(1, "k")]), &[1]).await;
    assert_eq!(database.texts("select setting from seen").await, ["on"]);
}

#[tokio::test]
async fn what_was_settled_long_ago_goes_and_the_audit_stays() {
    let database = Database::migrated("prune").await;
    let mut lot = database.lot("a");
    park(&mut lot, &messages(&[(1, "k"), (2, "k"), (3, "l")]), &[1, 3]).await;
    database.ask(1, "skipped").await;
    database.ask(3, "discarded").await;
    database
        .run("update postrider.parked set changed_at = now() - interval '31 days' where position not like '%3'")
        .await;
    holding(&mut lot).await;
    let left = "select concat_ws(' ', right(position, 1), state) from postrider.parked order by position";
    assert_eq!(database.texts(left).await, ["2 waiting", "3 discarded"]);
    assert_eq!(database.texts("select count(*)::text from postrider.parked_log").await, ["3"]);
}
