//! `postrider parked` on a real database: what it lists, what it changes, and what the audit knows of it afterwards.

use serde_json::Value;

use crate::command_line::database::Database;
use crate::command_line::program::{Program, Said};

/// A position by its last digit.
fn at(digit: u32) -> String {
    format!("0001000000000000000000000000000{digit}")
}

/// A migrated database with parked events: one that was refused, one behind it, one without a key, one that is unfit.
fn with_parked(test: &str) -> (Database, Program) {
    let database = Database::new(test);
    let program = database.administered();
    program.succeed(&["migrate"]);
    let rows = [
        (1, "'orders'", "'k'", "parked", "'too large'", "false"),
        (2, "'orders'", "'k'", "waiting", "null", "false"),
        (3, "'parcels'", "null", "parked", "'no topic'", "false"),
        (4, "''", "'l'", "parked", "'it has no topic'", "true"),
    ];
    for (digit, topic, key, state, reason, unfit) in rows {
        database.run(&format!(
            "insert into postrider.parked
               (slot, position, route, topic, key, key_hash, value, headers, committed_at, event_id, event_type, bytes, state, reason, unfit)
             values ('{}', '{}', 'outbox', {topic}, {key}::text::bytea, md5({key}::text), 'a secret', '[[\"id\", \"7\"]]', now(), 'id-{digit}',
               'Changed', 8, '{state}', {reason}, {unfit})",
            database.name,
            at(digit),
        ));
    }
    (database, program)
}

fn states(database: &Database) -> String {
    database.value("select string_agg(state, ' ' order by position) from postrider.parked")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, 1, "{said:?}");
    for word in words {
        assert!(said.error.contains(word), "{word:?} is not in {}", said.error);
    }
}

#[test]
fn list_shows_what_is_parked_by_filter_and_never_what_it_holds() {
    let (database, program) = with_parked("parkedlist");
    let text = program.succeed(&["parked", "list"]);
    for part in ["POSITION", &at(1), "too large", "behind another", "parcels", "waiting"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
    let count = |arguments: &[&str]| {
        let all = [&["parked", "list", "--output", "json"], arguments].concat();
        json(&program.succeed(&all)).as_array().expect("a list").len()
    };
    assert_eq!(count(&[]), 4);
    assert_eq!(count(&["--topic", "orders"]), 2);
    assert_eq!(count(&["--topic", "orders", "--key", "k", "--state", "waiting"]), 1);
    assert_eq!(count(&["--slot", "another"]), 0);
    assert_eq!(count(&["--limit", "3"]), 3);
    assert!(program.succeed(&["parked", "list", "--limit", "3"]).contains("the first 3"));
    database.run("update postrider.parked set state = 'delivered' where event_id = 'id-1'");
    assert_eq!((count(&[]), count(&["--all"]), count(&["--state", "delivered"])), (3, 4, 1));
    database.run("delete from postrider.parked");
    assert_eq!(program.succeed(&["parked", "list"]), "nothing is parked\n");
}

#[test]
fn show_tells_the_history_and_the_payload_only_if_asked() {
    let (_database, program) = with_parked("parkedshow");
    program.succeed(&["parked", "retry", &at(1), "--by", "ann"]);
    let text = program.succeed(&["parked", "show", &at(1)]);
    for part in ["state         retry", "topic         orders", "too large", "history", "retry by ", "(ann)"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
    assert!(program.succeed(&["parked", "show", &at(1), "--payload"]).contains("a secret"));
    let shown = json(&program.succeed(&["parked", "show", &at(1), "--output", "json"]));
    assert_eq!((shown["state"].as_str(), shown["value"].as_str()), (Some("retry"), None));
    assert_eq!((shown["log"][0]["verb"].as_str(), shown["log"][0]["by"].as_str()), (Some("retry"), Some("ann")));
    let shown = json(&program.succeed(&["parked", "show", &at(1), "--payload", "--output", "json"]));
    assert_eq!((shown["value"].as_str(), shown["headers"][0][1].as_str()), (Some("a secret"), Some("7")));
    refused(&program.run(&["parked", "show", &at(9)]), &["no event", &at(9), "parked list --all"]);
}

#[test]
fn each_act_changes_the_state_and_is_in_the_audit_with_who_did_it() {
    let (database, program) = with_parked("parkedacts");
    assert_eq!(program.succeed(&["parked", "retry", &at(1)]), format!("retry: {}\n", at(1)));
    assert_eq!(states(&database), "retry waiting parked parked");
    program.succeed(&["parked", "retry", &at(4), "--reroute", "letters", "--by", "bob"]);
    program.succeed(&["parked", "skip", &at(1), &at(2)]);
    let said = json(&program.succeed(&["parked", "discard", "--all", "--topic", "parcels", "--output", "json"]));
    assert_eq!((said["verb"].as_str(), said["positions"][0].as_str()), (Some("discard"), Some(at(3).as_str())));
    assert_eq!(states(&database), "skipped skipped discarded retry");
    let audit = "select string_agg(concat_ws(' ', verb, right(position, 1), by_whom, note), ', ' order by id) from postrider.parked_log";
    assert_eq!(database.value(audit), "retry 1, retry 4 bob to topic letters, skip 1, skip 2, discard 3");
    assert_eq!(database.value("select min(role) from postrider.parked_log"), database.server.user);
    let kept = "select string_agg(coalesce(convert_from(value, 'utf8'), 'gone'), ', ' order by position) from postrider.parked";
    assert_eq!(database.value(kept), "a secret, a secret, gone, a secret");
    // What was skipped can still be made to forget.
    program.succeed(&["parked", "discard", &at(2)]);
    assert_eq!(states(&database), "skipped discarded discarded retry");
}

#[test]
fn all_means_those_that_are_parked_themselves_and_can_be_tried() {
    let (database, program) = with_parked("parkedall");
    program.succeed(&["parked", "retry", "--all"]);
    assert_eq!(states(&database), "retry waiting retry parked");
    assert_eq!(program.succeed(&["parked", "retry", "--all"]), "nothing to do: no parked event fits\n");
    program.succeed(&["parked", "skip", "--all", "--state", "retry"]);
    assert_eq!(states(&database), "skipped waiting skipped parked");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing() {
    let (database, program) = with_parked("parkedrefuse");
    let said = program.run(&["parked", "retry", &at(1), &at(2), &at(4), &at(9)]);
    refused(
        &said,
        &["waits behind another", "could not be made into a message", "--reroute", "no event", "parked list"],
    );
    assert_eq!(states(&database), "parked waiting parked parked");
    database.run("update postrider.parked set state = 'delivered'");
    refused(&program.run(&["parked", "skip", &at(1)]), &["delivered already"]);
    assert_eq!(database.value("select count(*) from postrider.parked_log"), "0");
    for wrong in [&["parked", "retry"][..], &["parked", "retry", "12"], &["parked", "skip", "--all", &at(1)]] {
        assert_eq!(program.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_database_that_was_not_migrated_is_told_what_to_run() {
    let database = Database::new("parkedbare");
    refused(&database.administered().run(&["parked", "list"]), &["parked events", "postrider migrate"]);
}

#[test]
fn the_role_of_the_relay_may_look_and_act_after_init() {
    let (database, program) = with_parked("parkedrole");
    program.succeed(&["init", "--writer-role", &database.writer()]);
    let relay = database.program();
    relay.succeed(&["parked", "retry", &at(1)]);
    assert!(relay.succeed(&["parked", "list"]).contains("retry"));
    assert_eq!(database.value("select min(role) from postrider.parked_log"), database.name);
}
