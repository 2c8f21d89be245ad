//! `outbox prune` and `outbox stats` on a real Postgres: what goes, what must stay, and who keeps vacuum waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use xtask::services::PrivatePostgres;

use crate::command_line::database::Database;
use crate::command_line::program::Program;

/// A server where nobody else holds a transaction open, and nobody else waits for ours; and a database there.
fn alone(test: &str) -> (PrivatePostgres, Database, Program) {
    let server = PrivatePostgres::start(None, &[("wal_level", "logical"), ("max_prepared_transactions", "5")]);
    let server = server.expect("a private Postgres starts");
    let (database, program) = prepared(Database::on(server.environment(), test));
    (server, database, program)
}

/// Migrated and initialised, on the shared server.
pub(crate) fn ready(test: &str) -> (Database, Program) {
    prepared(Database::new(test))
}

fn prepared(database: Database) -> (Database, Program) {
    let program = database.administered();
    program.succeed(&["migrate"]);
    program.succeed(&["init", "--writer-role", &database.writer()]);
    (database, program)
}

/// What a relay that has delivered everything does.
pub(crate) fn confirm(database: &Database) {
    database.run(&format!("select pg_replication_slot_advance('{}', pg_current_wal_lsn())", database.name));
}

pub(crate) fn json(program: &Program, arguments: &[&str]) -> Value {
    let text = program.succeed(&[arguments, &["--output", "json"]].concat());
    let Value::Array(mut tables) = serde_json::from_str(&text).expect("JSON") else { panic!("{text}") };
    assert_eq!(tables.len(), 1, "{text}");
    tables.remove(0)
}

/// Prunes while a reader keeps up, as a running relay does: the server writes to the log by itself, too.
fn prune(database: &Database, program: &Program, arguments: &[&str]) -> Value {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                confirm(database);
            }
        });
        // Set even if the program fails, or the other thread would go on for ever.
        let _done = OnDrop(&done);
        json(program, arguments)
    })
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn emit(database: &Database, key: &str) {
    database.run(&format!("select postrider.emit('Order', '{key}', 'Placed', '{{}}')"));
}

fn keys(database: &Database) -> String {
    database.value("select coalesce(string_agg(aggregate_id, ' ' order by seq), '') from public.outbox_events")
}

const PRUNE: &[&str] = &["outbox", "prune", "--older-than", "0s", "--pause-ms", "0"];

/// The same, where no reader keeps up.
const IMPATIENT: &[&str] = &["outbox", "prune", "--older-than", "0s", "--wait-ms", "0"];

#[test]
fn only_what_every_slot_has_confirmed_is_pruned() {
    let (_server, database, program) = alone("prune_slots");
    emit(&database, "a");
    let said = program.run(IMPATIENT);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.error.contains(&format!("slot {} has confirmed ", database.name)), "{}", said.error);
    assert!(said.error.contains("nothing was deleted"), "{}", said.error);

    // Another reader of the same database counts as much as our own.
    database.run(&format!("select pg_create_logical_replication_slot('{}_other', 'pgoutput')", database.name));
    emit(&database, "b");
    confirm(&database);
    let said = program.run(IMPATIENT);
    assert!(said.error.contains(&format!("slot {}_other has confirmed ", database.name)), "{}", said.error);
    assert_eq!(keys(&database), "a b");

    database.run(&format!("select pg_drop_replication_slot('{}_other')", database.name));
    confirm(&database);
    let counted = prune(&database, &program, &[PRUNE, &["--dry-run"]].concat());
    assert_eq!((counted["deleted"].as_u64(), counted["dry_run"].as_bool()), (Some(2), Some(true)));
    assert_eq!(keys(&database), "a b");
    let pruned = prune(&database, &program, PRUNE);
    assert_eq!((pruned["deleted"].as_u64(), pruned["stopped"].as_bool()), (Some(2), Some(false)));
    assert_eq!(keys(&database), "");

    database.run(&format!("select pg_drop_replication_slot('{}')", database.name));
    assert!(program.run(IMPATIENT).error.contains("does not exist, so nothing tells what was delivered"));
}

#[test]
fn a_row_whose_transaction_commits_late_is_never_pruned_however_old_it_says_it_is() {
    let (_server, database, program) = alone("prune_open");
    let old =
        "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, created_at) values ('Order', ";
    let mut open = database.session(&database.server.user, None).unwrap();
    open.simple_query(&format!("begin; {old} 'late', 'Placed', now() - interval '30 days')")).unwrap();
    let mut prepared = database.session(&database.server.user, None).unwrap();
    let gid = &database.name;
    prepared
        .simple_query(&format!(
            "begin; {old} 'prepared', 'Placed', now() - interval '30 days'); prepare transaction '{gid}'"
        ))
        .unwrap();
    database.run(&format!("{old} 'behind', 'Placed', now() - interval '30 days')"));
    confirm(&database);
    // The slot is past where the log ends; the two commit only now, and are visible when rows are deleted.
    let horizon = prune(&database, &program, &[PRUNE, &["--dry-run"]].concat());
    // What began after the oldest open transaction is not proven either, and stays for once.
    assert_eq!(horizon["deleted"].as_u64(), Some(0), "{horizon}");
    open.simple_query("commit").unwrap();
    prepared.simple_query(&format!("commit prepared '{gid}'")).unwrap();
    let said = program.run(IMPATIENT);
    assert_eq!(said.code, 1, "the slot has not confirmed them: {said:?}");
    assert_eq!(database.value("select count(*) from public.outbox_events"), "3");
    confirm(&database);
    assert_eq!(prune(&database, &program, PRUNE)["deleted"].as_u64(), Some(3));
}

#[test]
fn young_rows_locked_rows_and_parked_events_stay_and_batches_cover_the_table() {
    let (_server, database, program) = alone("prune_kept");
    let rows = "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload, created_at)
        select 'Order', i::text, 'Placed', jsonb_build_object('text', repeat(i::text, 300)), now() - interval '2 days'
        from generate_series(1, 5000) i";
    database.run(rows);
    emit(&database, "young");
    database.run(
        "insert into postrider.parked (slot, position, route, topic, headers, committed_at, event_id, bytes, state)
         select 's', repeat('0', 32), 'outbox', 't', '[]', now(), id, 1, 'parked' from public.outbox_events where aggregate_id = '7'",
    );
    let mut holder = database.session(&database.server.user, None).unwrap();
    // A lock alone writes the log, but begins no transaction that others would have to wait for after it ended.
    holder.simple_query("begin; select from public.outbox_events where aggregate_id = '4999' for key share").unwrap();
    confirm(&database);
    let arguments = ["outbox", "prune", "--older-than", "1d", "--pause-ms", "0", "--batch", "100"];
    let pruned = prune(&database, &program, &arguments);
    assert_eq!(keys(&database), "7 4999 young", "{pruned}");
    assert_eq!(pruned["deleted"].as_u64(), Some(4998));
    assert!(pruned["batches"].as_u64().is_some_and(|batches| batches >= 50), "{pruned}");
    holder.simple_query("rollback").unwrap();
    confirm(&database);
    assert_eq!(prune(&database, &program, &arguments)["deleted"].as_u64(), Some(1));
}

#[test]
fn a_table_without_the_column_or_without_rights_is_refused_with_the_mend() {
    let (_server, database, program) = alone("prune_refused");
    emit(&database, "a");
    let said = program.run(&[IMPATIENT, &["--time-column", "born"]].concat());
    assert!(
        said.code == 1 && said.error.contains("has no column born") && said.error.contains("--time-column"),
        "{said:?}"
    );
    let said = program.run(&[IMPATIENT, &["--outbox", "other"]].concat());
    assert!(said.error.contains("no outbox with a table is called other"), "{said:?}");
    let relay = database.program();
    let said = thread::scope(|scope| {
        let running = scope.spawn(|| relay.run(PRUNE));
        while !running.is_finished() {
            confirm(&database);
        }
        running.join().unwrap()
    });
    assert!(
        said.code == 1 && said.error.contains("permission denied") && said.error.contains("--admin-url"),
        "{said:?}"
    );
    assert_eq!(program.run(&["outbox", "prune", "--older-than", "7"]).code, 2);
}

#[test]
fn stats_tell_what_the_table_costs_and_who_holds_vacuum_back() {
    let (_server, database, program) = alone("stats");
    database.run("alter table public.outbox_events set (autovacuum_enabled = false)");
    database.run(
        "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, payload)
         select 'Order', i::text, 'Placed', jsonb_build_object('text', repeat('x', 200)) from generate_series(1, 2000) i",
    );
    confirm(&database);
    let mut holder = database.session(&database.server.user, None).unwrap();
    let mut secret = database.session(&database.server.user, None).unwrap();
    holder.simple_query("begin; select pg_current_xact_id(), 'a secret value'").unwrap();
    secret
        .simple_query(&format!("begin; select pg_current_xact_id(); prepare transaction '{}'", database.name))
        .unwrap();
    database.run("delete from public.outbox_events where seq % 2 = 0");
    database.run("vacuum analyze public.outbox_events");
    emit(&database, "more");

    let stats = json(&program, &["outbox", "stats", "--exact"]);
    assert_eq!((stats["rows"].as_i64(), stats["rows_exact"].as_bool()), (Some(1001), Some(true)));
    assert!(
        stats["undelivered_log_bytes"].as_i64() > Some(0) && stats["undelivered_rows_estimate"].as_i64() > Some(0),
        "{stats}"
    );
    assert!(stats["heap_bytes"].as_i64() > Some(300_000) && stats["index_bytes"].as_i64() > Some(0), "{stats}");
    let bloat = stats["bloat_bytes_estimate"].as_i64().unwrap();
    assert!((100_000..stats["heap_bytes"].as_i64().unwrap()).contains(&bloat), "{stats}");
    assert_eq!(stats["horizon_hidden"], false);
    assert!(stats["last_vacuum"].is_string() && stats["last_autovacuum"].is_null(), "{stats}");
    let horizon = stats["horizon"].as_array().unwrap();
    let session = horizon.iter().find(|holder| holder["state"] == "idle in transaction").expect("the session");
    assert!(session["advice"].as_str().unwrap().contains("pg_terminate_backend"), "{session}");
    assert!(session.get("query").is_none());
    assert!(horizon.iter().any(|holder| holder["kind"] == "prepared transaction" && holder["name"] == *database.name));
    assert!(horizon.iter().any(|holder| holder["kind"] == "slot (catalogs only)" && holder["name"] == *database.name));

    let text = program.succeed(&["outbox", "stats"]);
    assert!(text.contains("idle in transaction") && !text.contains("a secret value"), "{text}");
    assert!(program.succeed(&["outbox", "stats", "--show-query"]).contains("a secret value"));
    holder.simple_query("rollback").unwrap();
    secret.simple_query(&format!("rollback prepared '{}'", database.name)).unwrap();
}
