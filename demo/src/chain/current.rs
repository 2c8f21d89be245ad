//! The verdict on current-state tables: every row that Postgres holds, and no other, in ClickHouse's view of the newest version of each.

use tokio_postgres::Client;

use crate::chain::clickhouse::ClickHouse;
use crate::error::{Doing, Result};
use crate::nova;
use crate::state::compare::{Comparison, Values, query, shown};
use crate::state::kind::Kind;
use crate::state::schema::{FENCE, Table};

/// The tables that the loader keeps.
pub(super) fn tables() -> Vec<Table> {
    nova::tables().into_iter().filter(|table| table.name != FENCE).collect()
}

/// Compares every table.
pub(super) async fn compare(postgres: &Client, clickhouse: &ClickHouse) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    for table in tables() {
        let name = table.name;
        let rows = postgres.query(&query(&table), &[]).await.doing(format!("reading the table {name}"))?;
        let width = table.all().count();
        let held = rows.iter().map(|row| (0..width).map(|place| row.get(place)).collect::<Values>());
        let found = clickhouse.rows(&select(&table)).await?;
        comparison.sides(name, "ClickHouse has", held, found.into_iter(), |values| shown(&table, values));
    }
    Ok(comparison)
}

/// The rows of a table in the form in which [`query`] tells them.
fn select(table: &Table) -> String {
    let values: Vec<String> = table.all().map(|column| told(column.kind, &column.name)).collect();
    format!("select {} from {}__current", values.join(", "), table.name)
}

fn told(kind: Kind, column: &str) -> String {
    match kind {
        Kind::Timestamptz => {
            format!("formatDateTime(toDateTime64({column}, 6, 'UTC'), '%Y-%m-%dT%H:%i:%S.%f', 'UTC')")
        }
        _ => format!("toString({column})"),
    }
}
