//! The many: transactions of chance over tables of every replica identity, until there are enough records.

use crate::compare::workload::types::GROUPS;
use crate::compare::workload::{Draft, Row, edges};

/// The columns of the tables, but for their keys.
const COLUMNS: &str = "id int8 %ID%, email text not null, name text, score numeric(10,2), tags text[], doc jsonb, \
                       seen timestamptz, active bool not null default true, big text";

/// A table of the crowd, and the rows that live in it.
#[derive(Debug, Clone)]
struct Table {
    name: &'static str,
    /// Whether rows can be changed and removed.
    changes: bool,
    /// Whether the number may change, which is the key where there is one.
    moves: bool,
    live: Vec<u64>,
    next: u64,
}

/// The tables with what lives in them.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    tables: Vec<Table>,
    /// The number of the next row in the tables of types, and those that live.
    typed: Vec<Vec<u64>>,
    next_typed: u64,
}

/// Rows of each table in the snapshot.
const FIRST_ROWS: u64 = 40;
/// More than these live in no table, so that deletions keep up with insertions.
const LIVE_MAX: usize = 500;

/// Makes the tables, and a few rows in each.
pub(super) fn prepare(draft: &mut Draft) -> Crowd {
    let tables = [
        // name, key, replica identity, can change, key can change
        ("people", "primary key", "default", true, true),
        ("people_full", "primary key", "full", true, true),
        ("people_index", "primary key", "using index people_index_email", true, true),
        ("people_unique", "not null", "using index people_unique_email", true, true),
        ("people_nothing", "primary key", "nothing", false, false),
        ("people_keyless", "", "default", false, false),
        ("people_keyless_full", "", "full", true, true),
    ];
    let tables = tables.map(|(name, key, identity, changes, moves)| {
        draft.table(name, &COLUMNS.replace("%ID%", key));
        draft.prepare(format!(
            "create unique index {name}_email on {name} (email{}); alter table {name} replica identity {identity}; \
             alter table {name} alter big set storage external",
            // A primary key that the replica identity does not tell has no comparison: see docs/debezium-differences.md.
            if key == "primary key" { ", id" } else { "" }
        ));
        let mut table = Table { name, changes, moves, live: Vec::new(), next: 1 };
        for _ in 0..FIRST_ROWS {
            let row = insert(draft, &mut table);
            draft.prepare_rows(row, 1);
        }
        table
    });
    Crowd { tables: tables.to_vec(), typed: vec![Vec::new(); GROUPS.len()], next_typed: 100_000 }
}

/// One transaction, or two that interleave; now and then one that comes to nothing in part or in whole.
pub(super) fn play(draft: &mut Draft, crowd: &mut Crowd) {
    match draft.random.below(100) {
        0..70 => transaction(draft, crowd),
        70..78 => savepoints(draft, crowd),
        78..82 => rolled_back(draft, crowd),
        82..90 => interleaved(draft, crowd),
        90..94 => copied(draft, crowd),
        94..97 => message(draft),
        _ => wide(draft, crowd),
    }
}

fn transaction(draft: &mut Draft, crowd: &mut Crowd) {
    let (sql, records) = acts(draft, crowd, None);
    draft.run(sql, records);
}

fn savepoints(draft: &mut Draft, crowd: &mut Crowd) {
    let (first, some) = acts(draft, crowd, None);
    let before = crowd.clone();
    let (undone, _) = acts(draft, crowd, None);
    *crowd = before;
    let (kept, more) = acts(draft, crowd, None);
    draft.run(
        format!("begin;{first};savepoint a;{undone};rollback to a;savepoint b;{kept};release b;commit"),
        some + more,
    );
}

fn rolled_back(draft: &mut Draft, crowd: &mut Crowd) {
    let before = crowd.clone();
    let (sql, _) = acts(draft, crowd, None);
    *crowd = before;
    draft.run(format!("begin;{sql};rollback"), 0);
}

/// Two sessions on tables of their own, whose changes alternate in the log and whose commits cross.
fn interleaved(draft: &mut Draft, crowd: &mut Crowd) {
    let one = draft.random.below(crowd.tables.len() as u64) as usize;
    let other = (one + 1) % crowd.tables.len();
    draft.run_in(0, "begin", 0);
    draft.run_in(1, "begin", 0);
    for _ in 0..2 {
        for (session, table) in [(0, one), (1, other)] {
            let (sql, records) = acts(draft, crowd, Some(table));
            draft.run_in(session, sql, records);
        }
    }
    draft.run_in(1, "commit", 0);
    draft.run_in(0, "commit", 0);
}

/// Rows by COPY: many rows in one record of the log.
fn copied(draft: &mut Draft, crowd: &mut Crowd) {
    let index = draft.random.below(crowd.tables.len() as u64) as usize;
    let table = &mut crowd.tables[index];
    let count = 1 + draft.random.below(60);
    let ids = (0..count).map(|_| next(table));
    let rows = ids.map(|id| Row {
        id: id as i64,
        email: format!("e{id}@x"),
        name: (id % 3 != 0).then(|| "copied é".to_owned()),
    });
    let (rows, sql) = (rows.collect(), format!("copy {} (id, email, name) from stdin binary", table.name));
    draft.copy(sql, rows, count);
}

fn message(draft: &mut Draft) {
    let (transactional, number) = (draft.random.chance(500), draft.random.below(1_000_000));
    let prefix = ["audit", "cache.invalidate", "ünïcode"][draft.random.below(3) as usize];
    draft.run(
        format!("select pg_logical_emit_message({transactional}, '{prefix}', '{{\"n\": {number}, \"t\": \"é\"}}')"),
        1,
    );
}

/// Rows of the tables of types.
fn wide(draft: &mut Draft, crowd: &mut Crowd) {
    let index = draft.random.below(GROUPS.len() as u64) as usize;
    let group = &GROUPS[index];
    let mut sql = Vec::new();
    for _ in 0..4 {
        let id = crowd.next_typed;
        crowd.next_typed += 1;
        sql.push(edges::chance_row(draft, group, id));
        sql.push(edges::chance_update(draft, group, id));
        crowd.typed[index].push(id);
    }
    if crowd.typed[index].len() > LIVE_MAX {
        let gone: Vec<String> = crowd.typed[index].drain(..LIVE_MAX / 2).map(|id| id.to_string()).collect();
        sql.push(format!("delete from {} where id in ({})", edges::full(group), gone.join(",")));
    }
    draft.run(sql.join(";"), 8);
}

/// Some acts, on one table or on any, and about how many records they make.
fn acts(draft: &mut Draft, crowd: &mut Crowd, only: Option<usize>) -> (String, u64) {
    let (mut sql, mut records) = (Vec::new(), 0);
    for _ in 0..=draft.random.below(6) {
        let index = only.unwrap_or_else(|| draft.random.below(crowd.tables.len() as u64) as usize);
        let (text, made) = act(draft, &mut crowd.tables[index]);
        sql.push(text);
        records += made;
    }
    (sql.join(";"), records)
}

fn act(draft: &mut Draft, table: &mut Table) -> (String, u64) {
    let crowded = table.live.len() > LIVE_MAX;
    if !table.changes || table.live.len() < 10 {
        return (insert(draft, table), 1);
    }
    let place = draft.random.below(table.live.len() as u64) as usize;
    let (id, name) = (table.live[place], table.name);
    match draft.random.below(100) {
        0..30 if !crowded => (insert(draft, table), 1),
        0..42 => {
            table.live.swap_remove(place);
            (format!("delete from {name} where id = {id}"), 2)
        }
        42..78 => (format!("update {name} set {} where id = {id}", changed(draft, id)), 1),
        78..82 => (format!("update {name} set active = active where id = {id}"), 1),
        82..86 if table.moves => {
            let new = next(table);
            table.live.swap_remove(place);
            (format!("update {name} set id = {new}, email = 'e{new}@x' where id = {id}"), 3)
        }
        86..92 => (format!("update {name} set big = {} where id = {id}", big(draft)), 1),
        92..95 => {
            let new = table.next;
            table.next += 1;
            (format!("insert into {name} (id, email) values ({new}, 'gone'); delete from {name} where id = {new}"), 3)
        }
        _ => {
            let row = format!("({id}, 'e{id}@x', 'back')");
            (format!("delete from {name} where id = {id}; insert into {name} (id, email, name) values {row}"), 3)
        }
    }
}

fn changed(draft: &mut Draft, id: u64) -> String {
    let number = draft.random.below(1_000_000);
    let cents = format!("{}.{:02}", number / 100, number % 100);
    match draft.random.below(6) {
        0 => format!("name = {}", crate::compare::workload::values::text(&mut draft.random)),
        1 => format!("score = -{cents}, seen = {}", crate::compare::workload::values::timestamptz(&mut draft.random)),
        2 => format!("tags = array['t{number}', null, '']"),
        3 => format!("doc = {}", crate::compare::workload::values::json(&mut draft.random)),
        4 => format!("email = 'e{id}.{number}@x'"),
        _ => "active = not active, name = null".to_owned(),
    }
}

/// Long enough, or short enough, to be stored out of the row or in it.
fn big(draft: &mut Draft) -> String {
    match draft.random.below(3) {
        0 => "null".to_owned(),
        1 => "'short'".to_owned(),
        _ => format!("repeat('{:016x}', {})", draft.random.bits(), 150 + draft.random.below(150)),
    }
}

fn insert(draft: &mut Draft, table: &mut Table) -> String {
    let id = next(table);
    let name = crate::compare::workload::values::text(&mut draft.random);
    let score = crate::compare::workload::values::numeric_10_2(&mut draft.random);
    let seen = crate::compare::workload::values::timestamptz(&mut draft.random);
    let big = if draft.random.chance(150) { big(draft) } else { "null".to_owned() };
    format!(
        "insert into {} values ({id}, 'e{id}@x', {name}, {score}, '{{x,\"y z\"}}', '{{\"id\": {id}}}', {seen}, true, {big})",
        table.name
    )
}

fn next(table: &mut Table) -> u64 {
    let id = table.next;
    table.next += 1;
    table.live.push(id);
    id
}
