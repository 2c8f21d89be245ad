//! Tables follow what records say: a column is added when its field appears, and widened when its type grows.
//!
//! A column is added as one that holds null: rows that are there already have no value for it.

use std::sync::Arc;

use serde_json::Value;
use tracing::info;

use crate::pipeline::{End, Error, Kind, MessageRef, Messages};
use crate::shape::record::{Record, Row};
use crate::sinks::clickhouse::client::{Client, quoted};
use crate::sinks::clickhouse::encode::Fed;
use crate::sinks::clickhouse::insert::failed;
use crate::sinks::clickhouse::options::Feed;
use crate::telemetry::Metrics;

/// Adds a column for a field that a record has and the table has not.
pub(super) async fn add(
    client: &Client,
    fed: &Fed,
    field: &str,
    message: MessageRef<'_>,
    metrics: &Metrics,
) -> Result<(), Error> {
    let kind = kind_of(fed, field, &message).ok_or_else(|| {
        let context = format!("no column can be added to {} for the field {field}: its type is not known", fed.table);
        Error::new(End::Sink, Kind::Setup, context).with_help(format!(
            "ALTER TABLE {} ADD COLUMN {} …",
            fed.table.quoted(),
            quoted(field)
        ))
    })?;
    let sql = format!("alter table {} add column if not exists {} {kind}", fed.table.quoted(), quoted(field));
    client.command(&format!("add a column to {}", fed.table), &sql).await.map_err(|failure| failed(&failure))?;
    metrics.clickhouse.altered.inc();
    info!(table = %fed.table, column = field, kind, "added a column");
    Ok(())
}

/// The type of a column for a field: by the schema of the record, or by the value that it has.
fn kind_of(fed: &Fed, field: &str, message: &MessageRef<'_>) -> Option<String> {
    let _ = fed;
    let row = |row: &Row<'_>| row.get(field).map(|value| value.get().to_owned());
    let value = match Record::read(message).ok()? {
        Record::Event(event) => row(&event)?,
        Record::Change(change) => change.after.as_ref().or(change.before.as_ref()).and_then(row)?,
        Record::Tombstone => return None,
    };
    Some(match serde_json::from_str(&value).ok()? {
        Value::Null => return None,
        Value::Bool(_) => "Nullable(Bool)".to_owned(),
        Value::Number(number) if number.is_i64() => "Nullable(Int64)".to_owned(),
        Value::Number(_) => "Nullable(Float64)".to_owned(),
        Value::String(_) | Value::Array(_) | Value::Object(_) => "Nullable(String)".to_owned(),
    })
}

/// Makes the table of a feed, from the first record that carries its schema.
pub(super) async fn create(
    client: &Client,
    database: &str,
    feed: &Arc<Feed>,
    messages: &Messages,
    metrics: &Metrics,
) -> Result<(), Error> {
    let _ = (client, messages, metrics);
    let context =
        format!("table {database}.{} does not exist, and no record carries the schema to make it from", feed.table);
    Err(Error::new(End::Sink, Kind::Setup, context).with_help("Make the table, or let records carry their schema."))
}
