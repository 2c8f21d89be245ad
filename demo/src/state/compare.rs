//! Compares what the records made of each table with what Postgres holds, row by row.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio_postgres::Client;

use crate::error::{Doing, Result};
use crate::state::fold::Row;
use crate::state::schema::{Table, quoted};

/// Longest row in an example, in characters.
const EXAMPLE_LETTERS_MAX: usize = 300;

/// The values of a row, in the order of the table's columns.
pub(crate) type Values = Vec<Option<String>>;

/// What was found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that Postgres holds.
    pub rows: u64,
    /// Rows that only one side has; a row that differs is two.
    pub differences: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Comparison {
    /// Compares every table.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn of(client: &Client, tables: &[Table], folded: &BTreeMap<String, Vec<Row>>) -> Result<Self> {
        let mut comparison = Self::default();
        for table in tables {
            let name = table.name;
            let rows = client.query(&query(table), &[]).await.doing(format!("reading the table {name}"))?;
            let width = table.all().count();
            let held = rows.iter().map(|row| (0..width).map(|place| row.get(place)).collect());
            comparison.table(table, held, folded.get(name).map(Vec::as_slice).unwrap_or_default());
        }
        Ok(comparison)
    }

    fn table(&mut self, table: &Table, held: impl Iterator<Item = Values>, folded: &[Row]) {
        let read = |row: &Row| {
            let read = read(table, row);
            read.map_err(|why| self.differ(1, || format!("{}: {why}", table.name))).ok()
        };
        let folded: Vec<Values> = folded.iter().filter_map(read).collect();
        self.sides(table.name, "the records have", held, folded.into_iter(), |values| shown(table, values));
    }

    /// Compares the rows that Postgres holds with those of another place, `there`, whatever their order; `shown` prints a row in an
    /// example.
    pub(crate) fn sides(
        &mut self,
        name: &str,
        there: &str,
        held: impl Iterator<Item = Values>,
        found: impl Iterator<Item = Values>,
        shown: impl Fn(&Values) -> String,
    ) {
        self.tables += 1;
        let mut counts: HashMap<Values, i64> = HashMap::new();
        for values in held {
            self.rows += 1;
            *counts.entry(values).or_default() += 1;
        }
        found.for_each(|values| *counts.entry(values).or_default() -= 1);
        for (values, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            let side = if count > 0 { "only Postgres has".to_owned() } else { format!("only {there}") };
            self.differ(count.unsigned_abs(), || format!("{name}: {side} {}", shown(&values)));
        }
    }

    fn differ(&mut self, count: u64, text: impl FnOnce() -> String) {
        self.differences += count;
        if self.examples.len() < 12 {
            self.examples.push(text());
        }
    }
}

pub(crate) fn query(table: &Table) -> String {
    let values: Vec<String> = table.all().map(|column| column.kind.told(&quoted(&column.name))).collect();
    format!("select {} from {}", values.join(", "), table.quoted())
}

/// A row of the records in Postgres' form. A column that it lacks was added since, without a value.
fn read(table: &Table, row: &Row) -> std::result::Result<Values, String> {
    let value = |name: &str| row.get(name).unwrap_or(&Value::Null);
    let read = |column: &crate::state::schema::Column| {
        column.kind.read(value(&column.name)).map_err(|why| format!("column {}: {why}", column.name))
    };
    table.all().map(read).collect()
}

pub(crate) fn shown(table: &Table, values: &Values) -> String {
    let parts = table.all().zip(values).map(|(column, value)| {
        let value: String = value.as_deref().unwrap_or("null").chars().take(40).collect();
        format!("{}={value}", column.name)
    });
    parts.collect::<Vec<_>>().join(" ").chars().take(EXAMPLE_LETTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::state::compare::Comparison;
    use crate::state::fold::Row;
    use crate::state::schema::{Schema, Table};

    fn pair() -> Table {
        Schema::new().tables.into_iter().find(|table| table.name == "pair").expect("it is one of them")
    }

    fn row(n: i64) -> Row {
        let row = json!({"a": 1, "b": "x", "note": null, "n": n, "at": null, "price": "AfQ="});
        row.as_object().cloned().unwrap_or_default()
    }

    fn held(n: &str) -> Vec<Option<String>> {
        let some = |text: &str| Some(text.to_owned());
        vec![some("1"), some("x"), None, some(n), None, some("500")]
    }

    fn compared(held: Vec<Vec<Option<String>>>, folded: &[Row]) -> u64 {
        let mut comparison = Comparison::default();
        comparison.table(&pair(), held.into_iter(), folded);
        comparison.differences
    }

    #[test]
    fn equal_tables_do_not_differ() {
        assert_eq!(compared(vec![held("7"), held("8")], &[row(8), row(7)]), 0);
    }

    #[test]
    fn every_planted_difference_is_found() {
        assert_eq!(compared(vec![held("7")], &[]), 1, "a row is missing");
        assert_eq!(compared(vec![], &[row(7)]), 1, "a row should not be there");
        assert_eq!(compared(vec![held("7")], &[row(8)]), 2, "a value differs");
        assert_eq!(compared(vec![held("7")], &[row(7), row(7)]), 1, "a row is there twice");
        let mut unread = row(7);
        unread.insert("n".into(), json!("seven"));
        assert_eq!(compared(vec![held("7")], &[unread]), 2, "a value is of another type");
        let mut absent = row(7);
        absent.remove("n");
        assert_eq!(compared(vec![held("7")], &[absent]), 2, "a value is not there");
    }
}
