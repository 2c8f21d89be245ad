//! Random schema changes, as they are made to tables that are in use.
//!
//! A change that gives rows another content writes no rows to the stream: a default that fills a new column, a type that prints
//! differently. Whoever makes one tells consumers by an update of the rows in the same transaction, and so does this.

use crate::random::Random;
use crate::state::kind::Kind;
use crate::state::schema::{Column, Schema, Table, quoted};

/// A schema change: the statements, and the schema when they have committed.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) statements: Vec<String>,
    pub(super) after: Schema,
    /// Whether it can stand in a transaction with statements that use it.
    pub(super) transactional: bool,
}

/// Columns that are added, and what they may hold.
const NEW: &[Kind] =
    &[Kind::Int, Kind::Small, Kind::Text, Kind::Varchar, Kind::Price, Kind::Mood, Kind::Jsonb, Kind::Long];

/// Columns beyond these are dropped rather than added, so that tables stay as wide as they are.
const COLUMNS_MAX: usize = 34;

/// A random schema change.
pub(super) fn alteration(schema: &Schema, random: &mut Random) -> Alteration {
    let mut after = schema.clone();
    if random.chance(80) {
        after.labels += 1;
        let statements = vec![format!("alter type mood add value 'm{}'", schema.labels)];
        // A label cannot be used in the transaction that makes it.
        return Alteration { statements, after, transactional: false };
    }
    after.made += 1;
    let name = format!("c{}", after.made);
    let place = random.below(after.tables.len() as u64) as usize;
    let table = &mut after.tables[place];
    let of = table.quoted();
    let column = (!table.columns.is_empty()).then(|| random.below(table.columns.len() as u64) as usize);
    // A row without a key is known by all of its columns: what it becomes must be told by the rows that follow.
    let keyed = table.mutable() && !table.key.is_empty();
    let statements = match (random.below(10), column) {
        (0..2, Some(column)) if table.columns.len() > 3 => {
            let gone = table.columns.remove(column);
            vec![format!("alter table {of} drop column {}", quoted(&gone.name))]
        }
        (2..4, Some(column)) if keyed => {
            let column = &mut table.columns[column];
            let old = std::mem::replace(&mut column.name, name);
            let rename = format!("alter table {of} rename column {} to {}", quoted(&old), quoted(&column.name));
            let column = column.clone();
            vec![rename, touch(table, &column)]
        }
        (4..6, Some(column)) if keyed && wider(table.columns[column].kind).is_some() => {
            let column = &mut table.columns[column];
            let quoted = quoted(&column.name);
            let (kind, using) = wider(column.kind).unwrap_or((column.kind, "{}"));
            column.kind = kind;
            let (using, kind) = (using.replace("{}", &quoted), kind.sql());
            let column = column.clone();
            vec![format!("alter table {of} alter column {quoted} type {kind} using {using}"), touch(table, &column)]
        }
        (6..8, _) if keyed && table.columns.len() < COLUMNS_MAX => {
            let column = Column { name, kind: Kind::Int };
            table.columns.push(column.clone());
            let default = random.below(1000);
            let add =
                format!("alter table {of} add column {} integer not null default {default}", quoted(&column.name));
            let nullable = format!("alter table {of} alter column {} drop not null", quoted(&column.name));
            vec![add, touch(table, &column), nullable]
        }
        (_, _) if table.columns.len() < COLUMNS_MAX => {
            let kind = NEW[random.below(NEW.len() as u64) as usize];
            table.columns.push(Column { name: name.clone(), kind });
            vec![format!("alter table {of} add column {} {}", quoted(&name), kind.sql())]
        }
        _ => {
            let gone = table.columns.pop();
            let drop = |gone: Column| format!("alter table {of} drop column {}", quoted(&gone.name));
            gone.map(drop).into_iter().collect()
        }
    };
    Alteration { statements, after, transactional: true }
}

/// An update of every row, by which its column is sent, wherever it is stored.
fn touch(table: &Table, column: &Column) -> String {
    let name = quoted(&column.name);
    let value = if column.kind == Kind::Long { format!("{name} || ''") } else { name.clone() };
    format!("update {} set {name} = {value}", table.quoted())
}

/// A type that holds all that this one does, and how.
fn wider(kind: Kind) -> Option<(Kind, &'static str)> {
    Some(match kind {
        Kind::Small => (Kind::Int, "{}"),
        Kind::Int => (Kind::Big, "{}"),
        Kind::Big => (Kind::Text, "{}::text"),
        Kind::Varchar => (Kind::Text, "{}"),
        Kind::Price => (Kind::Numeric, "{}"),
        Kind::Real => (Kind::Double, "{}"),
        Kind::Timestamp => (Kind::Timestamptz, "{} at time zone 'UTC'"),
        Kind::Uuid => (Kind::Text, "{}::text"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::random::Random;
    use crate::state::alter::alteration;
    use crate::state::schema::Schema;

    #[test]
    fn names_of_columns_are_never_used_again_and_tables_stay_as_wide_as_they_are() {
        let (mut schema, mut random) = (Schema::new(), Random::new(9));
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            let change = alteration(&schema, &mut random);
            kinds.extend(change.statements.iter().map(|sql| {
                let words: Vec<&str> = sql.split(' ').collect();
                [
                    words[0],
                    words[1],
                    words.get(3).copied().unwrap_or_default(),
                    words.get(4).copied().unwrap_or_default(),
                ]
                .concat()
            }));
            schema = change.after;
            for table in &schema.tables {
                let mut names: Vec<&str> = table.all().map(|column| column.name.as_str()).collect();
                assert!(names.len() < 60, "{}", table.name);
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), table.all().count(), "{}", table.name);
            }
        }
        for kind in [
            "altertableaddcolumn",
            "altertabledropcolumn",
            "altertablerenamecolumn",
            "altertablealtercolumn",
            "altertypeaddvalue",
        ] {
            assert!(kinds.iter().any(|found| found.starts_with(kind)), "{kind}: {kinds:?}");
        }
    }
}
