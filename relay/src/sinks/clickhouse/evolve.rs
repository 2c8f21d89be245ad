//! Tables follow what records say: a table is made from the first record that carries its schema, a column is added when its
//! field appears, and widened when its type grows. What would lose values is left to a person.
//!
//! A column is added as one that holds null: rows that are there already have no value for it.

use std::sync::Arc;

use serde_json::Value;
use tracing::info;

use crate::encode::native::Schema;
use crate::encode::native::derive::column_type;
use crate::pipeline::{Error, MessageRef, Messages};
use crate::shape::record::{Change, Op, Record, Row};
use crate::sinks::clickhouse::checks::{WINDOW, setup};
use crate::sinks::clickhouse::client::{Client, TableName, quoted};
use crate::sinks::clickhouse::encode::{self, Fed};
use crate::sinks::clickhouse::insert::failed;
use crate::sinks::clickhouse::options::{Feed, From, Part, Rows};
use crate::sinks::clickhouse::readings::row_schema;
use crate::telemetry::Metrics;

/// Adds a column for a field that a record has and the table has not.
pub(super) async fn add(
    client: &Client,
    fed: &Fed,
    field: &str,
    message: MessageRef<'_>,
    metrics: &Metrics,
) -> Result<(), Error> {
    let of_schema = fed.readings.schema().and_then(|schema| schema.member(field));
    let kind = of_schema.map(|schema| column_type(schema, false).nullable().text().to_owned());
    let kind = kind.or_else(|| kind_of_value(field, &message)).ok_or_else(|| {
        setup(
            format!("no column can be added to {} for the field {field}: its type is not known", fed.table),
            format!("ALTER TABLE {} ADD COLUMN {} …", fed.table.quoted(), quoted(field)),
        )
    })?;
    let sql = format!("alter table {} add column if not exists {} {kind}", fed.table.quoted(), quoted(field));
    alter(client, &fed.table, &sql, metrics).await?;
    info!(table = %fed.table, column = field, kind, "added a column");
    Ok(())
}

/// Gives columns wider types: each holds what the old one held.
pub(super) async fn widen(
    client: &Client,
    fed: &Fed,
    columns: &[(String, String)],
    metrics: &Metrics,
) -> Result<(), Error> {
    for (column, kind) in columns {
        let sql = format!("alter table {} modify column {} {kind}", fed.table.quoted(), quoted(column));
        alter(client, &fed.table, &sql, metrics).await?;
        info!(table = %fed.table, column, kind, "widened a column");
    }
    Ok(())
}

async fn alter(client: &Client, table: &TableName, sql: &str, metrics: &Metrics) -> Result<(), Error> {
    let altered = client.command(&format!("alter {table}"), sql).await;
    altered.map_err(|failure| failed(&failure).with_help(format!("What is wanted is: {sql}")))?;
    metrics.clickhouse.altered.inc();
    Ok(())
}

/// The type of a column by the value that a record has, where no schema tells more.
fn kind_of_value(field: &str, message: &MessageRef<'_>) -> Option<String> {
    let of = |row: &Row<'_>| row.get(field).map(|value| value.get().to_owned());
    let value = match Record::read(message).ok()? {
        Record::Event(event) => of(&event)?,
        Record::Change(change) => change.after.as_ref().or(change.before.as_ref()).and_then(of)?,
        Record::Tombstone => return None,
    };
    let kind = match serde_json::from_str(&value).ok()? {
        Value::Null => return None,
        Value::Bool(_) => "Nullable(Bool)",
        Value::Number(number) if number.is_i64() => "Nullable(Int64)",
        Value::Number(_) => "Nullable(Float64)",
        Value::String(_) | Value::Array(_) | Value::Object(_) => "Nullable(String)",
    };
    Some(kind.to_owned())
}

/// Makes the table of a feed, from the first record that carries its schema. False if no record of the batch needs it.
pub(super) async fn create(
    client: &Client,
    database: &str,
    feed: &Arc<Feed>,
    messages: &Messages,
    metrics: &Metrics,
) -> Result<bool, Error> {
    let table = TableName { database: database.to_owned(), table: feed.table.clone() };
    let Some((schema, key)) = first_schema(feed, &table, messages)? else { return Ok(false) };
    let sql = statement(feed, &table, &schema, &key)?;
    let made = client.command(&format!("make {table}"), &sql).await;
    made.map_err(|failure| failed(&failure).with_help(format!("What is wanted is: {sql}")))?;
    metrics.clickhouse.altered.inc();
    info!(%table, columns = schema.fields.len(), "made a table from the schema of its records");
    Ok(true)
}

/// The schema of the first record that has a row, and the fields of its key; none if no record has one.
fn first_schema(feed: &Feed, table: &TableName, messages: &Messages) -> Result<Option<(Schema, Vec<String>)>, Error> {
    let lacking = || {
        setup(
            format!("table {table} does not exist, and the records of topic {} carry no schema to make it from", feed.topic),
            "Make the table, or let the records carry their schema (converters with schemas, where the table is captured).".to_owned(),
        )
    };
    for message in messages.iter() {
        let Ok(record) = Record::read(&message) else { continue };
        let change = match record {
            Record::Change(change) if !matches!(change.op, Op::Truncate | Op::Message) => change,
            Record::Event(_) => return Err(lacking()),
            Record::Change(_) | Record::Tombstone => continue,
        };
        let Change { fields: Some(fields), .. } = change else { return Err(lacking()) };
        let schema = row_schema(fields.get()).ok_or_else(lacking)?;
        let key = message.key().and_then(encode::key_row);
        let key = key.iter().flat_map(Row::iter).map(|(field, _)| field.to_owned()).collect();
        return Ok(Some((schema, key)));
    }
    Ok(None)
}

/// The statement that makes the table.
fn statement(feed: &Feed, table: &TableName, schema: &Schema, key: &[String]) -> Result<String, Error> {
    let column_of = |field: &str| {
        let fed = feed.from.iter().find(|(_, from)| *from == From::Field(field.to_owned()));
        fed.map_or(field, |(column, _)| column.as_str()).to_owned()
    };
    let sorted: Vec<String> = match (&feed.order_by, &feed.rows) {
        (Some(columns), _) => columns.clone(),
        (None, _) => key.iter().map(|field| column_of(field)).collect(),
    };
    let is_current = matches!(feed.rows, Rows::Current { .. });
    if is_current && sorted.is_empty() {
        return Err(setup(
            format!("table {table} cannot be made: the records of topic {} have no key to sort it by", feed.topic),
            format!("Make the table, or name the columns of the key by `order_by` in [load.tables.{}].", feed.name),
        ));
    }
    let is_wanted = |column: &String| {
        feed.columns.as_ref().is_none_or(|columns| columns.contains(column) || sorted.contains(column))
    };
    let mut columns: Vec<(String, String)> = Vec::new();
    for field in &schema.fields {
        let column = column_of(field.field.as_deref().unwrap_or_default());
        if !column.is_empty() && is_wanted(&column) {
            let kind = column_type(field, sorted.contains(&column)).text().to_owned();
            columns.push((column, kind));
        }
    }
    for (column, from) in feed.from.iter().filter(|(_, from)| !matches!(from, From::Field(_))) {
        columns.retain(|(own, _)| own != column);
        columns.push((column.clone(), kind_of_part(from, schema)));
    }
    let engine = if is_current { "ReplacingMergeTree(_version, _deleted)" } else { "MergeTree" };
    if is_current {
        columns.push(("_version".to_owned(), "UInt128".to_owned()));
        columns.push(("_deleted".to_owned(), "Bool".to_owned()));
    }
    let columns: Vec<String> = columns.iter().map(|(column, kind)| format!("{} {kind}", quoted(column))).collect();
    let sorted: Vec<String> = sorted.iter().map(|column| quoted(column)).collect();
    Ok(format!(
        "create table if not exists {} ({}) engine = {engine} order by ({}) settings non_replicated_deduplication_window = {WINDOW}",
        table.quoted(),
        columns.join(", "),
        sorted.join(", ")
    ))
}

/// The type of a column that is not filled from a field of the row.
fn kind_of_part(from: &From, schema: &Schema) -> String {
    let kind = match from {
        From::Field(field) | From::Before(field) => {
            return schema.member(field).map_or_else(
                || "Nullable(String)".to_owned(),
                |schema| column_type(schema, false).nullable().text().to_owned(),
            );
        }
        From::Header(_) | From::Part(Part::Key | Part::Value) => "Nullable(String)",
        From::Constant(_) | From::Part(Part::Topic) => "LowCardinality(String)",
        From::Part(Part::Operation) => "LowCardinality(Nullable(String))",
        From::Part(Part::Partition) => "Nullable(Int32)",
        From::Part(Part::Offset) => "UInt64",
        From::Part(Part::Timestamp) => "DateTime64(3, 'UTC')",
        From::Part(Part::Headers) => "Array(Tuple(String, Nullable(String)))",
        From::Part(Part::Position) => "Nullable(UInt128)",
        From::Part(Part::Committed) => "Nullable(DateTime64(6, 'UTC'))",
    };
    kind.to_owned()
}
