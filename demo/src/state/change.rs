//! Random operations as SQL: what a transaction of one of the writers does.

use crate::random::Random;
use crate::state::schema::{Column, KEYS, Schema, Table, names, quoted};

/// What one transaction does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Rows that are copied in first: the statement and its data.
    pub(super) copy: Option<(String, String)>,
    /// Its statements.
    pub(super) statements: Vec<String>,
    /// How many of them count.
    pub(super) operations: u64,
    /// Whether it ends with a commit.
    pub(super) commits: bool,
}

impl Script {
    /// The statements of the transaction from behind BEGIN to its end.
    pub(super) fn sql(&self) -> String {
        let end = if self.commits { "commit" } else { "rollback" };
        self.statements.iter().map(String::as_str).chain([end]).collect::<Vec<_>>().join(";\n")
    }

    fn does(&mut self, statement: String) {
        self.statements.push(statement);
        self.operations += 1;
    }
}

/// A random transaction.
pub(super) fn script(schema: &Schema, random: &mut Random) -> Script {
    let mut script = Script { commits: !random.chance(50), ..Script::default() };
    let labels = schema.labels;
    match random.below(100) {
        // Some tables are changed in turn.
        0..20 => (0..2 + random.below(12)).for_each(|_| script.does(operation(any(schema, random), labels, random))),
        // What is undone within a transaction was never done.
        20..30 => {
            let table = any(schema, random);
            script.does(operation(table, labels, random));
            script.statements.push("savepoint a".into());
            script.statements.push(operation(table, labels, random));
            script.statements.push("savepoint b".into());
            script.statements.push(operation(any(schema, random), labels, random));
            let back = ["rollback to a", "rollback to b", "release b"][random.below(3) as usize];
            script.statements.push(back.into());
            script.does(operation(table, labels, random));
        }
        30..34 => {
            let table = any(schema, random);
            script.copy = Some(copy(table, labels, random));
            script.operations += 1;
            script.does(operation(table, labels, random));
        }
        34..35 => truncate(schema, random, &mut script),
        _ => {
            let table = any(schema, random);
            (0..1 + random.below(5)).for_each(|_| script.does(operation(table, labels, random)));
        }
    }
    script
}

fn any<'s>(schema: &'s Schema, random: &mut Random) -> &'s Table {
    &schema.tables[random.below(schema.tables.len() as u64) as usize]
}

fn truncate(schema: &Schema, random: &mut Random, script: &mut Script) {
    let (one, other) = (any(schema, random), any(schema, random));
    // Rows before and after it in the same transaction: only the latter stay.
    script.does(operation(one, schema.labels, random));
    script.does(match one.name == other.name {
        true => format!("truncate {}", one.quoted()),
        false => format!("truncate {}, {} restart identity cascade", one.quoted(), other.quoted()),
    });
    script.does(insert(one, 1 + random.below(3), schema.labels, random));
}

fn operation(table: &Table, labels: u64, random: &mut Random) -> String {
    if !table.mutable() {
        let rows = 1 + random.below(3);
        return insert(table, rows, labels, random);
    }
    match random.below(100) {
        0..40 => {
            let rows = if random.chance(100) { 1 + random.below(30) } else { 1 };
            insert(table, rows, labels, random)
        }
        40..75 => update(table, &one(table, random), labels, random),
        75..80 => {
            let some = some(table, 13, random);
            update(table, &some, labels, random)
        }
        80..85 if !table.key.is_empty() => change_key(table, random),
        // Nothing is changed, and an update is written all the same.
        85..88 => match table.columns.first() {
            Some(Column { name, .. }) => {
                let column = quoted(name);
                format!("update {} set {column} = {column} where {}", table.quoted(), one(table, random))
            }
            None => insert(table, 1, labels, random),
        },
        88..97 => format!("delete from {} where {}", table.quoted(), one(table, random)),
        _ => format!("delete from {} where {}", table.quoted(), some(table, 5, random)),
    }
}

fn insert(table: &Table, rows: u64, labels: u64, random: &mut Random) -> String {
    let row = |random: &mut Random| {
        let n = random.below(KEYS);
        let key = table.key_values(n).into_iter().map(Some);
        let values = key.chain(table.values(random, labels)).map(|value| literal(value.as_deref()));
        format!("({})", values.collect::<Vec<_>>().join(", "))
    };
    let rows = (0..rows).map(|_| row(random)).collect::<Vec<_>>().join(", ");
    let conflict = match (table.key.is_empty(), table.columns.first()) {
        (true, _) => String::new(),
        (false, Some(Column { name, .. })) if table.mutable() && random.chance(500) && !rows.contains("), (") => {
            let column = quoted(name);
            format!(" on conflict ({}) do update set {column} = excluded.{column}", names(&table.key))
        }
        _ => " on conflict do nothing".to_owned(),
    };
    format!("insert into {} ({}) values {rows}{conflict}", table.quoted(), names(table.all()))
}

fn update(table: &Table, which: &str, labels: u64, random: &mut Random) -> String {
    if table.columns.is_empty() {
        return format!("delete from {} where {which}", table.quoted());
    }
    let mut sets: Vec<String> = Vec::new();
    for column in &table.columns {
        if random.chance(300) {
            let value = (!random.chance(80)).then(|| column.kind.value(random, labels));
            sets.push(format!("{} = {}", quoted(&column.name), literal(value.as_deref())));
        }
    }
    if sets.is_empty() {
        let column = &table.columns[random.below(table.columns.len() as u64) as usize];
        sets.push(format!("{} = {}", quoted(&column.name), literal(Some(&column.kind.value(random, labels)))));
    }
    format!("update {} set {} where {which}", table.quoted(), sets.join(", "))
}

fn change_key(table: &Table, random: &mut Random) -> String {
    let (from, to) = (random.below(KEYS), random.below(KEYS));
    let sets = table.key.iter().zip(table.key_values(to));
    let sets = sets.map(|(column, value)| format!("{} = {}", quoted(&column.name), literal(Some(&value))));
    format!(
        "update {} set {} where {} and not exists (select from {} where {})",
        table.quoted(),
        sets.collect::<Vec<_>>().join(", "),
        of_key(table, from),
        table.quoted(),
        of_key(table, to)
    )
}

/// The condition that holds for one row at most; of a table without a key, for those with one number.
fn one(table: &Table, random: &mut Random) -> String {
    match table.key.is_empty() {
        true => some(table, 60, random),
        false => of_key(table, random.below(KEYS)),
    }
}

fn of_key(table: &Table, n: u64) -> String {
    let parts = table.key.iter().zip(table.key_values(n));
    let parts = parts.map(|(column, value)| format!("{} = {}", quoted(&column.name), literal(Some(&value))));
    parts.collect::<Vec<_>>().join(" and ")
}

/// The condition that holds for one row among `among`.
fn some(table: &Table, among: u64, random: &mut Random) -> String {
    let rest = random.below(among);
    match table.all().next() {
        Some(column) => format!("abs(hashtext({}::text)) % {among} = {rest}", quoted(&column.name)),
        None => "true".to_owned(),
    }
}

/// Rows by COPY, which Postgres writes many to a WAL record. Where a key could be taken, they go in by a table beside.
fn copy(table: &Table, labels: u64, random: &mut Random) -> (String, String) {
    let mut data = String::new();
    // Keys of their own, so that no row is refused; a run of neighbours.
    let from = 1_000_000 + random.below(1 << 30);
    for n in 0..1 + random.below(40) {
        let key = table.key_values(from + n).into_iter().map(Some);
        let row = key.chain(table.values(random, labels)).map(|value| field(value.as_deref()));
        data += &row.collect::<Vec<_>>().join("\t");
        data.push('\n');
    }
    (format!("copy {} ({}) from stdin", table.quoted(), names(table.all())), data)
}

/// A value in COPY's text format: <https://www.postgresql.org/docs/current/sql-copy.html>.
fn field(value: Option<&str>) -> String {
    match value {
        None => "\\N".to_owned(),
        Some(text) => text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n"),
    }
}

/// A value as SQL has it.
pub(super) fn literal(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::random::Random;
    use crate::state::change::{Script, field, literal, script};
    use crate::state::schema::Schema;

    #[test]
    fn the_same_seed_gives_the_same_transactions() {
        let (schema, mut a, mut b) = (Schema::new(), Random::new(3), Random::new(3));
        for _ in 0..50 {
            assert_eq!(script(&schema, &mut a), script(&schema, &mut b));
        }
    }

    #[test]
    fn every_operation_comes_to_every_table() {
        let (schema, mut random) = (Schema::new(), Random::new(4));
        let scripts: Vec<Script> = (0..20_000).map(|_| script(&schema, &mut random)).collect();
        let statements: HashSet<&str> =
            scripts.iter().flat_map(|script| &script.statements).map(String::as_str).collect();
        for table in &schema.tables {
            let name = table.quoted();
            let verbs = ["insert into", "update", "delete from", "truncate"];
            for verb in verbs.iter().filter(|verb| table.mutable() || matches!(**verb, "insert into" | "truncate")) {
                let begin = format!("{verb} {name}");
                assert!(statements.iter().any(|statement| statement.starts_with(&begin)), "{begin}");
            }
            assert!(scripts.iter().any(|script| script.copy.as_ref().is_some_and(|(copy, _)| copy.contains(&name))));
        }
        assert!(scripts.iter().any(|script| !script.commits));
        assert!(scripts.iter().any(|script| script.sql().contains("rollback to a")));
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(literal(Some("it's")), "'it''s'");
        assert_eq!(literal(None), "null");
        assert_eq!(field(Some("a\\b\tc\n")), "a\\\\b\\tc\\n");
    }
}
