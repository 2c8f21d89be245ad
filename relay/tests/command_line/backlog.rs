//! `init --backlog` on a real Postgres: what a new slot shows of the rows that were there before it.

use std::thread;

use postrider_relay::postgres::pgoutput::{self, Column, Message};

use crate::command_line::database::Database;
use crate::command_line::program::{Program, Said};

fn init(program: &Program, database: &Database, options: &[&str]) -> Said {
    let writer = database.writer();
    program.run(&[&["init", "--writer-role", &writer], options].concat())
}

fn migrated(test: &str) -> (Database, Program) {
    let database = Database::new(test);
    let program = database.administered();
    program.succeed(&["migrate"]);
    (database, program)
}

fn emit(database: &Database, key: &str) {
    database.run(&format!("select postrider.emit('Order', '{key}', 'Placed', '{{}}', '{{\"a\": \"b\"}}')"));
}

/// The aggregate ids of the insertions that the slot would deliver, in its order.
fn delivered(database: &Database) -> Vec<String> {
    let sql = format!(
        "select encode(data, 'hex')
         from pg_logical_slot_peek_binary_changes('{}', null, null, 'proto_version', '1', 'publication_names', 'postrider')
         where get_byte(data, 0) = ascii('I')",
        database.name
    );
    let rows = database.run(&sql);
    rows.iter().map(|row| aggregate_id(row[0].as_deref().expect("a message"))).collect()
}

fn aggregate_id(hex: &str) -> String {
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect();
    let Message::Insert(insert) = pgoutput::decode(&bytes).expect("pgoutput") else { panic!("an insertion") };
    let Some(Column::Text(id)) = insert.new.columns().nth(2) else { panic!("a text") };
    String::from_utf8(id.to_vec()).expect("UTF-8")
}

#[test]
fn events_older_than_the_slot_must_be_decided_on_and_nothing_is_done_until_then() {
    let (database, program) = migrated("undecided");
    emit(&database, "a");
    emit(&database, "b");
    let said = init(&program, &database, &[]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.error.contains("holds 2 events that the new slot would never see"), "{}", said.error);
    assert!(said.error.contains("--backlog publish") && said.error.contains("--backlog skip"), "{}", said.error);
    assert_eq!(database.value("select count(*) from pg_publication"), "0");
    assert_eq!(database.value(&format!("select count(*) from pg_roles where rolname = '{}'", database.name)), "0");
}

#[test]
fn a_skipped_backlog_stays_in_the_table_and_out_of_the_slot() {
    let (database, program) = migrated("skipped");
    emit(&database, "old");
    assert_eq!(init(&program, &database, &["--backlog", "skip"]).code, 0);
    emit(&database, "new");
    assert_eq!(delivered(&database), ["new"]);
    assert_eq!(database.value("select count(*) from public.outbox_events"), "2");
    assert!(init(&program, &database, &[]).out.starts_with("nothing to do"), "what was decided is not asked again");
}

#[test]
fn a_published_backlog_comes_first_in_its_order_and_keeps_every_value() {
    let (database, program) = migrated("published");
    for key in ["a", "b", "a2"] {
        emit(&database, key);
    }
    // Published by a polling relay before.
    database.run("update public.outbox_events set published_at = now() where aggregate_id = 'b'");
    // Physical order is another than that of writing: `a` is the last now.
    database.run("update public.outbox_events set headers = headers where aggregate_id = 'a'");
    let rows = "select string_agg(to_jsonb(o) - 'xid' || '{}'::text, ' ' order by seq) from public.outbox_events o";
    let rows = rows.replace(" || '{}'::text", "").replace("to_jsonb(o) - 'xid'", "(to_jsonb(o) - 'xid')::text");
    let before = database.value(&rows);
    let said = init(&program, &database, &["--backlog", "publish"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("older than slot {}: 2\n", database.name)), "{}", said.out);
    emit(&database, "c");
    assert_eq!(delivered(&database), ["a", "a2", "c"]);
    database.run("delete from public.outbox_events where aggregate_id = 'c'");
    assert_eq!(database.value(&rows), before);
    // The identity goes on, and no slot is left but the one.
    assert_eq!(
        database.value(&format!("select count(*) from pg_replication_slots where slot_name like '{}%'", database.name)),
        "1"
    );
}

#[test]
fn what_commits_while_the_slot_is_made_is_published_once_whether_or_not_anything_was_there() {
    for (test, options) in [("meanwhile", &["--backlog", "publish"][..]), ("meanwhile_empty", &[])] {
        let (database, program) = migrated(test);
        if !options.is_empty() {
            emit(&database, "old");
        }
        // The slot waits for this transaction, so its row is older than the slot though nobody saw it before.
        let mut open = database.session(&database.server.user, None).unwrap();
        open.simple_query("begin; select postrider.emit('Order', 'open', 'Placed', '{}')").unwrap();
        thread::scope(|scope| {
            let running = scope.spawn(|| init(&program, &database, options));
            wait_for(
                &database,
                "select count(*) from pg_replication_slots where slot_name like current_database() || '%'",
            );
            emit(&database, "meanwhile");
            open.simple_query("commit").unwrap();
            let said = running.join().unwrap();
            assert_eq!(said.code, 0, "{said:?}");
        });
        let mut expected = vec!["open", "meanwhile"];
        expected.splice(0..0, options.first().map(|_| "old"));
        assert_eq!(delivered(&database), expected, "{test}");
    }
}

#[test]
fn a_set_up_waits_for_another_of_the_same_database() {
    let (database, program) = migrated("both");
    let mut first = database.session(&database.server.user, None).unwrap();
    first.simple_query("begin; select pg_advisory_xact_lock(x'706f7374696e6974'::bigint)").unwrap();
    thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| init(&program, &database, &[]))).collect();
        wait_for(
            &database,
            "select count(*) = 2 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
        );
        first.simple_query("rollback").unwrap();
        let mut said: Vec<_> =
            runs.into_iter().map(|run| run.join().unwrap()).map(|said| (said.code, said.out)).collect();
        said.sort_by_key(|(_, out)| out.starts_with("nothing"));
        assert!(said[0].0 == 0 && said[0].1.contains("done: create slot"), "{said:?}");
        assert!(said[1].0 == 0 && said[1].1.starts_with("nothing to do"), "{said:?}");
    });
}

#[test]
fn a_backlog_whose_rows_cannot_be_published_anew_is_refused_with_the_reason() {
    let (database, program) = migrated("obstacles");
    emit(&database, "old");
    database.run("create trigger soft after insert on public.outbox_events for each row execute function postrider.emit_soft_delete('a', 'b')");
    let said = init(&program, &database, &["--backlog", "publish", "--backlog-order", "nowhere", "--failover"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    for words in ["trigger soft would take part", "has no column nowhere", "PostgreSQL 17"] {
        assert!(said.error.contains(words), "{}", said.error);
    }
    // Half way is no way: a failure leaves the rows, and no slot.
    database.run("drop trigger soft on public.outbox_events; alter table public.outbox_events add constraint never check (aggregate_id <> 'old') not valid");
    let said = init(&program, &database, &["--backlog", "publish"]);
    assert!(said.code == 1 && said.error.starts_with("error: cannot publish the rows of"), "{said:?}");
    assert_eq!(database.value("select count(*) from public.outbox_events"), "1");
    wait_for(&database, "select count(*) = 0 from pg_replication_slots where slot_name like current_database() || '%'");
    database.run("alter table public.outbox_events drop constraint never");
    assert_eq!(init(&program, &database, &["--backlog", "publish"]).code, 0);
    assert_eq!(delivered(&database), ["old"]);
}

#[test]
fn the_printed_sql_publishes_a_backlog_too() {
    let (database, program) = migrated("printed_backlog");
    emit(&database, "old");
    let sql = program.succeed(&["init", "--print", "--backlog", "publish", "--writer-role", &database.writer()]);
    let (_, sql) = sql.split_once("begin;").expect("the commands of psql stand before the transaction");
    let (transaction, rest) = sql.split_once("\ncommit;\n").expect("a transaction");
    let mut session = database.session(&database.server.user, None).unwrap();
    session.simple_query(&format!("begin; {transaction} commit")).unwrap();
    // As psql does: one statement after the other, in one session.
    let (hold, rest) = rest.split_once("begin;").expect("a second transaction");
    let (publish, rest) = rest.split_once("\ncommit;\n").expect("its end");
    let publish = format!("begin; {publish}; commit");
    for statement in [hold, publish.as_str()].into_iter().chain(rest.lines().filter(|line| !line.starts_with("--"))) {
        session.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    emit(&database, "new");
    assert_eq!(delivered(&database), ["old", "new"]);
}

#[test]
fn one_role_for_the_relay_and_the_writers_is_refused() {
    let (database, program) = migrated("one_role");
    let said = program.run(&["init", "--writer-role", &database.name]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.error.contains("is to be both the relay's and the writers'"), "{}", said.error);
}

/// Waits until the query's only value is neither zero nor false.
fn wait_for(database: &Database, sql: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while matches!(database.value(sql).as_str(), "0" | "f") {
        assert!(std::time::Instant::now() < deadline, "{sql}");
        thread::yield_now();
    }
}
