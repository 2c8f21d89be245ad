//! What chance would not find: truncation, partitions, odd names, tables of few columns, messages, large rows.

use crate::compare::workload::Draft;

/// A table whose name and columns need care.
const ODD: &str = "\"Odd Näme\"";

pub(super) fn prepare(draft: &mut Draft) {
    draft.prepare("create schema other".to_owned());
    draft.table("parent", "id int primary key, note text");
    draft.table("child", "id int primary key, parent int references parent on delete cascade");
    draft.table("keyless_truncated", "note text");
    draft.prepare(format!("create table {ODD} (\"Id\" int primary key, \"a.b\" text, \"c d\" int, \"é\" text)"));
    // What is no letter, digit, point, line or underscore becomes an underscore in a topic's name.
    draft.topic("public.Odd_N_me");
    draft.prepare("create table other.people (id int primary key, name text)".to_owned());
    draft.topic("other.people");
    draft.table(
        "computed",
        "id int primary key, a int default 1 + 1, t text default lower('ABC'), at timestamptz default now(), d date default current_date, \
         u uuid default gen_random_uuid(), n numeric(10,2) default random()::numeric(10,2), s text not null default md5('x'), \
         text_expression text default 'a' || 'b', m text default null, x int default (-5), y timestamptz default now() + interval '1 day'",
    );
    draft.prepare_rows("insert into computed (id) values (1)".to_owned(), 1);
    draft.table("two_keys", "b text, a int, note text, primary key (a, b)");
    draft.table("key_only", "id int primary key");
    draft.table(
        "generated",
        "id int generated always as identity primary key, a int, b int generated always as (a * 2) stored",
    );
    draft.table("toast_default", "id int primary key, t text, j jsonb, large_bytea bytea, a text[], n int");
    draft.table("toast_full", "id int primary key, t text, j jsonb, large_bytea bytea, a text[], n int");
    draft.prepare(
        "alter table toast_full replica identity full;\
         alter table toast_default alter t set storage external, alter j set storage external, alter large_bytea set storage external, alter a set storage external;\
         alter table toast_full alter t set storage external, alter j set storage external, alter large_bytea set storage external, alter a set storage external"
            .to_owned(),
    );
    draft.prepare(
        "create table measures (id int, at date, value float8, primary key (id, at)) partition by range (at)"
            .to_owned(),
    );
    draft.topic("public.measures");
    for (name, bounds) in [
        ("measures_2023", "for values from ('2023-01-01') to ('2024-01-01')"),
        ("measures_2024", "for values from ('2024-01-01') to ('2025-01-01')"),
        ("measures_rest", "default"),
    ] {
        draft.prepare(format!("create table {name} partition of measures {bounds}"));
        draft.topic(&format!("public.{name}"));
    }
    draft.prepare_rows(
        "insert into measures select n, '2023-06-01'::date + n * 60, n / 3.0 from generate_series(1, 20) n".to_owned(),
        20,
    );
    draft.prepare_rows(format!("insert into {ODD} values (1, 'x', 2, 'é')"), 1);
    draft.prepare_rows("insert into parent select n, 'note ' || n from generate_series(1, 5) n".to_owned(), 5);
    draft.prepare_rows(large("toast_default", 1), 1);
    draft.prepare_rows(large("toast_full", 1), 1);
}

/// A row whose every value is stored out of it.
fn large(table: &str, id: u32) -> String {
    format!(
        "insert into {table} values ({id}, repeat('text {id} ', 1000), jsonb_build_object('k', repeat('json ', 1000)), \
         convert_to(repeat('bytes', 1000), 'UTF8'), array[repeat('list ', 1000), null], 0)"
    )
}

pub(super) fn play(draft: &mut Draft) {
    draft.run("insert into computed (id) values (2); insert into computed values (3, null, null, null, null, null, null, 's', null, null, null, null)", 2);
    draft.run("update computed set a = null where id = 2; delete from computed", 5);
    truncation(draft);
    partitions(draft);
    toast(draft);
    for (sql, records) in [
        (format!("insert into {ODD} values (2, 'y', null, '🐎')"), 1),
        (format!("update {ODD} set \"Id\" = 3, \"a.b\" = null where \"Id\" = 2"), 3),
        (format!("delete from {ODD} where \"Id\" = 3"), 2),
        ("insert into other.people values (1, 'a'), (2, 'b'); update other.people set name = upper(name)".to_owned(), 4),
        ("insert into two_keys values ('x', 1, 'n'), ('y', 1, null)".to_owned(), 2),
        ("update two_keys set note = 'changed' where b = 'x'".to_owned(), 1),
        ("update two_keys set b = 'z' where b = 'x'".to_owned(), 3),
        ("delete from two_keys".to_owned(), 4),
        ("insert into key_only select generate_series(1, 3); update key_only set id = 9 where id = 3; delete from key_only".to_owned(), 12),
        ("insert into generated (a) values (1), (null); update generated set a = 5 where a = 1; delete from generated".to_owned(), 7),
        // What a statement changes in an order of its own, and what comes to nothing in the end.
        ("insert into other.people select n, 'many' from generate_series(10, 400) n".to_owned(), 391),
        ("update other.people set name = null where id >= 10".to_owned(), 391),
        ("delete from other.people where id >= 10".to_owned(), 782),
        ("insert into other.people values (1, 'again') on conflict (id) do update set name = excluded.name || '!'".to_owned(), 1),
        ("insert into other.people values (1, 'never') on conflict do nothing".to_owned(), 0),
        ("select pg_logical_emit_message(true, '', '')".to_owned(), 1),
        ("select pg_logical_emit_message(false, 'bytes', '\\x00ff80'::bytea)".to_owned(), 1),
        ("insert into key_only values (1); select pg_logical_emit_message(true, 'inside', 'a'); delete from key_only".to_owned(), 4),
    ] {
        draft.run(sql, records);
    }
}

fn truncation(draft: &mut Draft) {
    for (sql, records) in [
        ("insert into parent values (10, 'a'); insert into child values (1, 10)", 2),
        ("delete from parent where id = 10", 4),
        ("insert into keyless_truncated values ('a'), (null)", 2),
        ("truncate keyless_truncated", 1),
        ("truncate parent restart identity cascade", 2),
        (
            "begin; insert into parent values (1, 'b'); truncate parent, child; insert into parent values (1, 'c'); commit",
            4,
        ),
        ("begin; truncate parent cascade; rollback", 0),
    ] {
        draft.run(sql, records);
    }
}

fn partitions(draft: &mut Draft) {
    for (sql, records) in [
        ("insert into measures values (100, '2023-05-05', 1.5), (101, '2024-05-05', null), (102, '1999-01-01', 0)", 3),
        ("update measures set value = 2.5 where id = 100", 1),
        // A row that moves to another partition is deleted in one and inserted into the other.
        ("update measures set at = '2024-06-06' where id = 100", 3),
        ("update measures set id = 200 where id = 101", 3),
        ("delete from measures where id in (102, 200)", 4),
        ("truncate measures_rest", 1),
        ("truncate measures", 3),
        ("insert into measures_2023 values (1, '2023-01-01', 'NaN')", 1),
    ] {
        draft.run(sql, records);
    }
}

fn toast(draft: &mut Draft) {
    for table in ["toast_default", "toast_full"] {
        draft.run(large(table, 2), 1);
        for (sql, records) in [
            (format!("update {table} set n = n + 1"), 2),
            (format!("update {table} set t = 'short' where id = 2"), 1),
            (format!("update {table} set j = null, n = 7 where id = 2"), 1),
            (format!("update {table} set id = id + 10"), 6),
            (format!("update {table} set large_bytea = null, a = null where id = 11"), 1),
            (format!("delete from {table}"), 4),
        ] {
            draft.run(sql, records);
        }
    }
}
