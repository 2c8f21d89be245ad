//! The view `TABLE__current`: the live rows of a table of current rows, each once.

use tracing::info;

use crate::pipeline::Error;
use crate::sinks::clickhouse::client::{Client, TableName, quoted};
use crate::sinks::clickhouse::encode::Fed;
use crate::sinks::clickhouse::insert::failed;
use crate::sinks::clickhouse::options::Rows;
use crate::sinks::clickhouse::table::Table;
use crate::telemetry::Metrics;

/// What is appended to a table's name for its view.
const SUFFIX: &str = "__current";

/// Makes the view if it is not there, and makes it anew if the table has columns that it does not show: a view keeps the
/// columns that it was made with.
pub(super) async fn keep(client: &Client, fed: &Fed, metrics: &Metrics) -> Result<(), Error> {
    let Rows::Current { view: true } = fed.feed.rows else { return Ok(()) };
    let name = TableName { database: fed.table.database.clone(), table: format!("{}{SUFFIX}", fed.table.table) };
    let read = |name| async move { Table::read(client, name).await.map_err(|failure| failed(&failure)) };
    let Some(table) = read(&fed.table).await? else { return Ok(()) };
    let Some((Some(version), Some(deleted))) = table.replacing() else { return Ok(()) };
    let shown = |column: &&str| *column != version && *column != deleted;
    let wanted: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).filter(shown).collect();
    if let Some(view) = read(&name).await?
        && wanted.iter().all(|column| view.column(column).is_some())
    {
        return Ok(());
    }
    let columns: Vec<String> = wanted.iter().map(|column| quoted(column)).collect();
    let sql = format!(
        "create or replace view {} as select {} from {} final where {} = 0",
        name.quoted(),
        columns.join(", "),
        fed.table.quoted(),
        quoted(deleted)
    );
    client.command(&format!("make the view {name}"), &sql).await.map_err(|failure| {
        failed(&failure).with_help(format!(
            "Grant CREATE VIEW and DROP VIEW, or make the view and set current_view = false in [load.tables.{}]: {sql}",
            fed.feed.name
        ))
    })?;
    metrics.clickhouse.altered.inc();
    info!(view = %name, "made the view of the current rows");
    Ok(())
}
