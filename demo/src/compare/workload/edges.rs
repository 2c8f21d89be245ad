//! A table for each group of types, thrice: with the whole old row in its updates, with defaults, and with a type as its key.
//!
//! Every edge value passes through a snapshot, an insert, an update and a delete.

use crate::compare::workload::Draft;
use crate::compare::workload::types::{GROUPS, Group, Type};
use crate::random::Random;

/// One in so many columns of a row made by chance is null.
const NULL_EVERY: u64 = 8;

/// Types of whose values Debezium makes null, and ends for good where the column cannot be null.
const DEADLY_NOT_NULL: [&str; 10] = [
    "ltree_array",
    "numeric_special",
    "numeric_10_2_special",
    "float4_special",
    "float8_special",
    "date_extreme",
    "time_extreme",
    "timetz_extreme",
    "timestamp_extreme",
    "timestamptz_extreme",
];

/// Makes the tables, with every edge value in them.
pub(super) fn prepare(draft: &mut Draft) {
    for group in GROUPS {
        draft.workload.types.extend(group.types.iter().map(|of| of.name.to_owned()));
        let columns = |form: fn(usize, &Type) -> String| {
            let columns: Vec<String> = group.types.iter().enumerate().map(|(index, of)| form(index, of)).collect();
            format!("id int primary key, {}", columns.join(", "))
        };
        draft.table(&full(group), &columns(|_, of| format!("{:?} {}", of.name, of.sql)));
        draft.prepare(format!("alter table {} replica identity full", full(group)));
        draft.table(&defaults(group), &columns(with_default));
        for (row, values) in rows(group).enumerate() {
            draft.prepare_rows(insert(&full(group), row, &values), 1);
            draft.prepare_rows(insert(&defaults(group), row, &values), 1);
        }
        for of in group.types.iter().filter(|of| of.key) {
            let name = keyed(of);
            draft.table(&name, &format!("{:?} {} primary key, note text", of.name, of.sql));
            for value in keys(of).step_by(2) {
                draft.prepare_rows(format!("insert into {name} values ({value}, 'first')"), 1);
            }
        }
    }
}

/// Half of them cannot be null; the other half can be, and has a default all the same.
fn with_default(index: usize, of: &Type) -> String {
    let null = if index.is_multiple_of(2) && !DEADLY_NOT_NULL.contains(&of.name) { " not null" } else { "" };
    format!("{:?} {}{null} default {}", of.name, of.sql, of.values[0])
}

/// Passes every edge value through every operation.
pub(super) fn play(draft: &mut Draft) {
    for group in GROUPS {
        let count = rows(group).count();
        for (row, values) in rows(group).enumerate() {
            let id = 1000 + row;
            let (full, defaults) = (full(group), defaults(group));
            draft.run(format!("{};{}", insert(&full, id, &values), insert(&defaults, id, &values)), 2);
            draft.run(update(&full, group, id, (row + 1) % count), 1);
            draft.run(update(&defaults, group, id, (row + 1) % count), 1);
        }
        let nulls: Vec<String> = group.types.iter().map(|of| format!("{:?} = null", of.name)).collect();
        let odd = group.types.iter().skip(1).step_by(2).map(|of| format!("{:?} = null", of.name));
        draft.run(format!("update {} set {} where id % 2 = 0", full(group), nulls.join(", ")), count as u64);
        let odd: Vec<String> = odd.collect();
        draft.run(format!("update {} set {} where id % 2 = 0", defaults(group), odd.join(", ")), count as u64);
        draft.run(format!("insert into {} (id) values (5000)", defaults(group)), 1);
        draft.run(format!("delete from {} where id >= 1000 and id % 3 = 0", full(group)), count as u64 / 3);
        draft.run(format!("delete from {} where id >= 1000 and id % 3 = 0", defaults(group)), count as u64 / 3);
        group.types.iter().filter(|of| of.key).for_each(|of| play_key(draft, of));
    }
}

/// A key of every value that was not in the snapshot; then it moves, and goes.
fn play_key(draft: &mut Draft, of: &Type) {
    let (table, column) = (keyed(of), of.name);
    for value in keys(of).skip(1).step_by(2) {
        draft.run(format!("insert into {table} values ({value}, 'new')"), 1);
        draft.run(format!("update {table} set note = 'changed' where {column:?} = {value}"), 1);
    }
    let (Some(first), Some(second)) = (keys(of).next(), keys(of).nth(1)) else { return };
    draft.run(format!("delete from {table} where {column:?} = {second}"), 2);
    draft.run(format!("update {table} set {column:?} = {second}, note = null where {column:?} = {first}"), 3);
}

/// The edge values that are different as keys: zero has several forms.
fn keys(of: &Type) -> impl Iterator<Item = &'static str> {
    of.values.iter().copied().filter(|value| !["'-0'", "0.00"].contains(value))
}

/// A row whose values are by chance edge values, by chance others.
pub(super) fn chance_row(draft: &mut Draft, group: &Group, id: u64) -> String {
    let values: Vec<String> = group.types.iter().map(|of| chance(&mut draft.random, of)).collect();
    insert(&full(group), id as usize, &values)
}

/// An update of some columns.
pub(super) fn chance_update(draft: &mut Draft, group: &Group, id: u64) -> String {
    let mut sets: Vec<String> = Vec::new();
    for of in group.types {
        if draft.random.chance(300) {
            sets.push(format!("{:?} = {}", of.name, chance(&mut draft.random, of)));
        }
    }
    if sets.is_empty() {
        sets.push("id = id".to_owned());
    }
    format!("update {} set {} where id = {id}", full(group), sets.join(", "))
}

fn chance(random: &mut Random, of: &Type) -> String {
    if random.below(NULL_EVERY) == 0 {
        return "null".to_owned();
    }
    match of.random {
        Some(make) if random.chance(700) => make(random),
        _ => of.values[random.below(of.values.len() as u64) as usize].to_owned(),
    }
}

/// As many rows as the type with the most edge values has; the others' values come again.
fn rows(group: &Group) -> impl Iterator<Item = Vec<String>> {
    let count = group.types.iter().map(|of| of.values.len()).max().unwrap_or_default();
    (0..count).map(|row| group.types.iter().map(|of| of.values[row % of.values.len()].to_owned()).collect())
}

fn insert(table: &str, id: usize, values: &[String]) -> String {
    format!("insert into {table} values ({id}, {})", values.join(", "))
}

fn update(table: &str, group: &Group, id: usize, row: usize) -> String {
    let sets = group.types.iter().map(|of| format!("{:?} = {}", of.name, of.values[row % of.values.len()]));
    format!("update {table} set {} where id = {id}", sets.collect::<Vec<_>>().join(", "))
}

pub(super) fn full(group: &Group) -> String {
    format!("full_{}", group.name)
}

fn defaults(group: &Group) -> String {
    format!("default_{}", group.name)
}

fn keyed(of: &Type) -> String {
    format!("key_{}", of.name)
}
