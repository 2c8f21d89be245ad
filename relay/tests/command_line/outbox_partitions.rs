//! `migrate --partition-by day` and `outbox partitions` on a real Postgres: days that come, stay and leave.

use serde_json::Value;

use crate::command_line::database::Database;
use crate::command_line::outbox::{confirm, json, ready};
use crate::command_line::program::Program;

/// Migrated, initialised and cut by days.
fn cut(test: &str) -> (Database, Program) {
    let (database, program) = ready(test);
    program.succeed(&["migrate", "--partition-by", "day"]);
    (database, program)
}

/// Attaches a partition for a day this many days ago, with an event in it.
fn add_old_day(database: &Database, days_ago: u32) -> String {
    let day = format!("date_trunc('day', now() at time zone 'UTC')::date - {days_ago}");
    let name = database.value(&format!("select 'outbox_events_p' || to_char({day}, 'YYYYMMDD')"));
    database.run(&format!(
        "create table public.{name} (like public.outbox_events including defaults including constraints)"
    ));
    let bounds = database.value(&format!(
        "select format('from (%L) to (%L)', ({day})::text || ' 00:00+00', ({day} + 1)::text || ' 00:00+00')"
    ));
    database.run(&format!("alter table public.outbox_events attach partition public.{name} for values {bounds}"));
    database.run(&format!(
        "insert into public.outbox_events (aggregate_type, aggregate_id, event_type, created_at)
         values ('Order', 'old', 'Placed', (({day})::text || ' 12:00+00')::timestamptz)"
    ));
    name
}

fn acts(program: &Program, apply: bool) -> Vec<(String, String)> {
    let apply: &[&str] = if apply { &["--apply"] } else { &[] };
    let cared = json(program, &[&["outbox", "partitions"], apply].concat());
    let text = |act: &Value, field: &str| act[field].as_str().expect("a text").to_owned();
    cared["acts"].as_array().expect("acts").iter().map(|act| (text(act, "state"), text(act, "what"))).collect()
}

fn states(acts: &[(String, String)]) -> Vec<&str> {
    acts.iter().map(|(state, _)| state.as_str()).collect()
}

fn attached(database: &Database) -> String {
    database.value(
        "select string_agg(inhrelid::regclass::text, ' ' order by inhrelid::regclass::text) from pg_inherits
         where inhparent = 'public.outbox_events'::regclass",
    )
}

fn exists(database: &Database, name: &str) -> bool {
    database.value(&format!("select to_regclass('public.{name}') is not null")) == "t"
}

#[test]
fn an_empty_table_is_cut_by_days_and_keeps_columns_checks_grants_publications_and_numbers() {
    let (database, program) = ready("cut");
    let seen = "select string_agg(format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attidentity), ', ' order by attnum)
        from pg_attribute where attrelid = 'public.outbox_events'::regclass and attnum > 0";
    let grants = "select string_agg(format('%s %s', grantee, privilege_type), ', ' order by grantee, privilege_type)
        from information_schema.role_table_grants where table_name = 'outbox_events'";
    let checks = "select string_agg(conname, ', ' order by conname) from pg_constraint
        where conrelid = 'public.outbox_events'::regclass and contype = 'c'";
    database.run("select postrider.emit('Order', 'a', 'Placed', '{}'); delete from public.outbox_events");
    let before = [seen, grants, checks].map(|sql| database.value(sql));
    let said = program.succeed(&["migrate", "--partition-by", "day"]);
    assert!(said.contains("done: attach partitions for ") && said.contains("outbox_events_rest behind them"), "{said}");
    assert_eq!([seen, grants, checks].map(|sql| database.value(sql)), before);
    assert_eq!(
        database.value("select pg_get_constraintdef(oid) from pg_constraint where conname = 'outbox_events_pkey'"),
        "PRIMARY KEY (id, created_at)"
    );
    assert_eq!(
        database.value("select tablename from pg_publication_tables where pubname = 'postrider'"),
        "outbox_events"
    );
    assert_eq!(
        program.succeed(&["migrate", "--partition-by", "day"]),
        "nothing to do: every migration was applied before\n"
    );
    assert!(program.succeed(&["init", "--writer-role", &database.writer()]).starts_with("nothing to do"));

    let mut writer = database.session(&database.server.user, None).unwrap();
    writer
        .simple_query(&format!("set role {}; select postrider.emit('Order', 'b', 'Placed', '{{}}')", database.writer()))
        .unwrap();
    assert_eq!(database.value("select seq from public.outbox_events"), "2", "numbers go on");
    assert_eq!(attached(&database).split(' ').count(), 13, "today, seven days, half as many again, the rest");
    // Everybody's clock runs ahead at times: nobody fails for it.
    database.run("insert into public.outbox_events (aggregate_type, aggregate_id, event_type, created_at) values ('Order', 'c', 'Placed', '2500-01-01')");
    assert_eq!(database.value("select count(*) from public.outbox_events_rest"), "1");
}

#[test]
fn a_table_with_events_or_triggers_is_not_cut_and_the_reason_is_told() {
    let (database, program) = ready("uncut");
    database.run("select postrider.emit('Order', 'a', 'Placed', '{}')");
    let said = program.run(&["migrate", "--partition-by", "day"]);
    assert!(said.code == 1 && said.error.contains("holds events") && said.error.contains("outbox prune"), "{said:?}");
    database.run("truncate public.outbox_events; create trigger t after insert on public.outbox_events for each row execute function postrider.emit_soft_delete('a', 'b')");
    let said = program.run(&["migrate", "--partition-by", "day"]);
    assert!(said.code == 1 && said.error.contains("trigger t"), "{said:?}");
    let said = program.run(&["outbox", "partitions"]);
    assert!(
        said.code == 1 && said.error.contains("is not partitioned") && said.error.contains("outbox prune"),
        "{said:?}"
    );
}

#[test]
fn an_old_day_is_only_dropped_when_every_slot_has_passed_its_detachment() {
    let (database, program) = cut("leaves");
    let old = add_old_day(&database, 9);
    let young = add_old_day(&database, 7);
    let planned = acts(&program, false);
    assert_eq!(states(&planned), ["planned"; 3], "{planned:?}");
    assert!(attached(&database).contains(&old), "only told");

    let done = acts(&program, true);
    assert_eq!(states(&done), ["done", "done", "done", "waiting"], "{done:?}");
    assert!(done[3].1.contains(&format!("{old} stays: slot {} has confirmed ", database.name)), "{done:?}");
    assert!(!attached(&database).contains(&old) && exists(&database, &old));
    assert_eq!(states(&acts(&program, true)), ["waiting"], "its event may not be delivered yet");

    confirm(&database);
    assert_eq!(acts(&program, true), [("done".to_owned(), format!("drop {old}"))]);
    assert!(!exists(&database, &old) && exists(&database, &young));
    assert_eq!(acts(&program, true), []);
    assert_eq!(database.value("select count(*) from postrider.partitions"), "0");
    assert_eq!(program.succeed(&["outbox", "partitions"]), "\"public\".\"outbox_events\": nothing to do\n");
}

#[test]
fn a_removal_that_was_cut_off_anywhere_is_gone_on_with() {
    let (database, program) = cut("resumed");
    let old = add_old_day(&database, 20);
    let record =
        format!("insert into postrider.partitions (schema, name, root) values ('public', '{old}', 'outbox_events')");
    let close = format!("alter table public.{old} add constraint postrider_closed check (false) not valid");
    let detach = format!("alter table public.outbox_events detach partition public.{old} concurrently");
    // Closed, not detached.
    database.run(&record);
    database.run(&close);
    // Half detached: a session that looks at the table keeps the server from ending it, until that gives up.
    let mut reader = database.session(&database.server.user, None).unwrap();
    reader.simple_query("begin isolation level repeatable read; select count(*) from public.outbox_events").unwrap();
    let mut cut_off = database.session(&database.server.user, None).unwrap();
    cut_off.simple_query("set statement_timeout = '500ms'").unwrap();
    assert!(cut_off.simple_query(&detach).is_err(), "the reader is in the way");
    assert_eq!(database.value("select count(*) from pg_inherits where inhdetachpending"), "1");
    reader.simple_query("rollback").unwrap();
    // Finished, recorded, and not dropped before the slot is past.
    let done = acts(&program, true);
    assert_eq!(states(&done), ["done", "done", "waiting"], "{done:?}");
    assert!(done[0].1.starts_with("finish detaching"), "{done:?}");

    // Detached, and the record of the position lost: the position is taken anew, never guessed.
    confirm(&database);
    database.run("update postrider.partitions set detached_lsn = null");
    let done = acts(&program, true);
    assert_eq!(states(&done), ["done", "waiting"], "{done:?}");
    confirm(&database);
    assert_eq!(states(&acts(&program, true)), ["done"]);
    // Dropped by hand meanwhile.
    let other = add_old_day(&database, 21);
    assert_eq!(acts(&program, true).len(), 4);
    database.run(&format!("drop table public.{other}"));
    assert_eq!(acts(&program, true), [("done".to_owned(), format!("forget {other}, which somebody dropped"))]);
}

#[test]
fn a_hold_and_a_parked_event_keep_their_days() {
    let (database, program) = cut("held");
    let old = add_old_day(&database, 9);
    database.run("insert into postrider.holds (name, created_from, reason) values ('audit', now() - interval '30 days', 'case 17')");
    assert_eq!(
        acts(&program, true),
        [("waiting".to_owned(), format!("{old} stays: the hold \"audit\" in postrider.holds covers its days"))]
    );
    assert!(attached(&database).contains(&old));
    database.run("delete from postrider.holds");
    database.run(&format!(
        "insert into postrider.parked (slot, position, route, topic, headers, committed_at, event_id, bytes, state)
         select 's', repeat('0', 32), 'outbox', 't', '[]', now(), id, 1, 'waiting' from public.{old}"
    ));
    assert!(acts(&program, true)[0].1.contains("1 of its events are parked"));
    database.run("update postrider.parked set state = 'delivered'");
    assert_eq!(states(&acts(&program, true)), ["done", "done", "done", "waiting"]);
    // What is parked after it was detached keeps it too.
    confirm(&database);
    database.run("update postrider.parked set state = 'parked'");
    assert_eq!(states(&acts(&program, true)), ["waiting"]);
    database.run("delete from postrider.parked");
    assert_eq!(states(&acts(&program, true)), ["done"]);
    assert!(!exists(&database, &old));
}

#[test]
fn days_that_nobody_made_in_time_cost_no_writer_anything() {
    let (database, program) = cut("lapsed");
    // As if the care had stopped four days ago: what came since is in the rest.
    database.run(
        "do $$ declare part regclass; begin
         for part in select inhrelid::regclass from pg_inherits where inhparent = 'public.outbox_events'::regclass loop
           execute format('drop table %s', part);
         end loop; end $$",
    );
    database.run(
        "create table public.outbox_events_rest (like public.outbox_events including defaults including constraints)",
    );
    let lower =
        database.value("select (date_trunc('day', now() at time zone 'UTC') - interval '4 days')::text || '+00'");
    database.run(&format!("alter table public.outbox_events attach partition public.outbox_events_rest for values from ('{lower}') to (maxvalue)"));
    database.run("select postrider.emit('Order', 'a', 'Placed', '{}')");
    database.run("insert into public.outbox_events (aggregate_type, aggregate_id, event_type, created_at) values ('Order', 'b', 'Placed', now() - interval '2 days')");
    let done = acts(&program, true);
    assert_eq!(states(&done), ["done"], "{done:?}");
    assert!(done[0].1.starts_with("bound outbox_events_rest by "), "{done:?}");
    assert_eq!(database.value("select count(*) from public.outbox_events"), "2");
    assert_eq!(database.value("select count(*) from public.outbox_events_rest"), "0");
    assert_eq!(acts(&program, true), []);
    database.run("select postrider.emit('Order', 'c', 'Placed', '{}')");
    assert_eq!(
        database.value("select count(distinct tableoid) from public.outbox_events"),
        "1",
        "today still goes where it went"
    );
}

#[test]
fn a_role_that_does_not_own_the_table_is_told_which_grant_it_lacks_and_that_grant_is_enough() {
    let (database, program) = cut("owner");
    let owner = format!("{}_nobody", database.name);
    database.run(&format!(
        "create role {owner}; grant create, usage on schema public to {owner}; alter table public.outbox_events owner to {owner}; grant usage on schema postrider to {owner}"
    ));
    for partition in attached(&database).split(' ') {
        database.run(&format!("alter table {partition} owner to {owner}"));
    }
    let old = add_old_day(&database, 9);
    database.run(&format!("alter table public.{old} owner to {owner}"));
    confirm(&database);
    let relay = database.program();
    let said = relay.run(&["outbox", "partitions", "--apply"]);
    let grant = format!("grant \"{owner}\" to \"{}\"", database.name);
    assert!(said.code == 1 && said.error.contains("may not change table") && said.error.contains(&grant), "{said:?}");
    let grants = "grant select, insert, update, delete on postrider.partitions to";
    assert!(said.error.contains(grants), "{said:?}");
    database.run(&format!("{grant}; {grants} {owner}; grant select on postrider.holds, postrider.parked to {owner}"));
    let done = acts(&relay, true);
    assert_eq!(states(&done)[..3], ["done"; 3], "{done:?}");
    drop(program);
    database.run(&format!("reassign owned by {owner} to {}; drop owned by {owner}", database.server.user));
}

#[test]
fn a_layout_that_cannot_be_cared_for_is_refused_in_words() {
    let (database, program) = cut("layouts");
    database.run("create table public.outbox_other partition of public.outbox_events default");
    let said = program.run(&["outbox", "partitions"]);
    assert!(said.code == 1 && said.error.contains("has a default partition"), "{said:?}");
    database.run("drop table public.outbox_events; create table public.outbox_events (id uuid, created_at timestamptz) partition by hash (id)");
    let said = program.run(&["outbox", "partitions", "--apply"]);
    assert!(said.code == 1 && said.error.contains("is not partitioned by range of created_at alone"), "{said:?}");
    let said = program.run(&["outbox", "prune", "--older-than", "0s"]);
    assert!(said.code == 1 && said.error.contains("use `postrider outbox partitions`"), "{said:?}");
}
