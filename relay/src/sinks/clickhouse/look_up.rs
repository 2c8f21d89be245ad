//! What a table holds of rows of which a change left values out.

use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use crate::encode::native::Reading;
use crate::pipeline::Error;
use crate::sinks::clickhouse::client::{Client, quoted};
use crate::sinks::clickhouse::encode::{Fed, Lookup};
use crate::sinks::clickhouse::insert::failed;
use crate::sinks::clickhouse::known::{KnownRow, KnownRows, KnownValue};
use crate::telemetry::Metrics;

/// Rows that are looked up by one statement.
const ROWS_MAX: usize = 200;

/// A row of the table: the place of its key in the question, its newest version, and that version's values.
#[derive(Deserialize)]
struct Found {
    place: u32,
    at: Box<RawValue>,
    is_live: u8,
    #[serde(rename = "values")]
    held: Vec<Box<RawValue>>,
}

/// Looks rows up. A key without a row is known too: as one that is not there.
pub(super) async fn rows(client: &Client, fed: &Fed, lookup: &Lookup, metrics: &Metrics) -> Result<KnownRows, Error> {
    let mut known = KnownRows { columns: lookup.columns.clone(), ..KnownRows::default() };
    known.rows.extend(lookup.keys.iter().map(|key| (key.clone(), KnownRow::default())));
    let keys: Vec<(&Vec<String>, String)> =
        lookup.keys.iter().filter_map(|key| Some((key, tuple(fed, key)?))).collect();
    for keys in keys.chunks(ROWS_MAX) {
        let tuples: Vec<&str> = keys.iter().map(|(_, tuple)| tuple.as_str()).collect();
        let what = format!("look up rows of {}", fed.table);
        let begun = Instant::now();
        let found = client.rows::<Found>(&what, &question(fed, &lookup.columns, &tuples), &[]).await;
        metrics.clickhouse.query_seconds.observe(begun.elapsed().as_secs_f64());
        let found = found.map_err(|failure| {
            metrics.clickhouse.query_errors.with_label_values(&[failure.class().as_str()]).inc();
            failed(&failure)
        })?;
        for found in found {
            let place = usize::try_from(found.place).unwrap_or_default().wrapping_sub(1);
            let Some((key, _)) = keys.get(place) else { continue };
            known.rows.insert((*key).clone(), row(fed, &lookup.columns, &found));
            metrics.clickhouse.unchanged.inc();
        }
    }
    debug!(table = %fed.table, rows = lookup.keys.len(), "looked up values that were left out");
    Ok(known)
}

fn row(fed: &Fed, columns: &[usize], found: &Found) -> KnownRow {
    let values = columns.iter().zip(&found.held).map(|(at, held)| {
        let is_text = is_text(fed, *at) && held.get() != "null";
        let reading = if is_text { Reading::Bytes } else { Reading::Plain };
        (*at, KnownValue { json: held.get().to_owned(), reading })
    });
    let version = found.at.get().trim_matches('"').parse().ok();
    KnownRow { version, is_live: found.is_live != 0, values: values.collect() }
}

/// Whether the column holds bytes, which JSON cannot carry as they are.
fn is_text(fed: &Fed, at: usize) -> bool {
    let of = fed.layout.targets[at].of.text();
    ["String", "Nullable(String)", "LowCardinality(String)", "LowCardinality(Nullable(String))"].contains(&of)
}

/// The newest version of each row, whether merged already or not; of a row that is gone as well.
fn question(fed: &Fed, columns: &[usize], keys: &[&str]) -> String {
    let name = |at: usize| quoted(fed.layout.block.columns[at].name());
    let values: Vec<String> = columns
        .iter()
        .map(|at| if is_text(fed, *at) { format!("base64Encode({})", name(*at)) } else { name(*at) })
        .collect();
    let version = fed.layout.version.map(name).unwrap_or_default();
    let deleted = fed.layout.deleted.map(name).unwrap_or_default();
    let key: Vec<String> = fed.key.iter().map(|column| quoted(column)).collect();
    // Of a single column, a list of its values: only then the table's index is used.
    let listed: Vec<&str> = match fed.key.len() {
        1 => keys.iter().filter_map(|key| key.strip_prefix("tuple(")?.strip_suffix(')')).collect(),
        _ => keys.to_vec(),
    };
    let (key, keys, listed, values) = (key.join(", "), keys.join(", "), listed.join(", "), values.join(", "));
    // A tuple keeps nulls, which argMax alone would pass over.
    format!(
        "with [{keys}] as wanted, argMax(tuple({values}, toUInt8({deleted})), {version}) as newest \
         select toUInt32(indexOf(wanted, tuple({key}))) as place, toString(max({version})) as at, \
         1 - tupleElement(newest, {last}) as is_live, tuple({elements}) as values \
         from {table} where ({key}) in ({listed}) group by {key}",
        last = columns.len() + 1,
        elements =
            (1..=columns.len()).map(|place| format!("tupleElement(newest, {place})")).collect::<Vec<_>>().join(", "),
        table = fed.table.quoted(),
    )
}

/// A key as a statement has it; `None` if a column's type has no text that is sure to be read as the same value.
fn tuple(fed: &Fed, key: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    for (column, value) in fed.key.iter().zip(key) {
        let at = fed.layout.block.columns.iter().position(|own| own.name() == column)?;
        let of = fed.layout.targets[at].of.text();
        let text = match serde_json::from_str::<serde_json::Value>(value).ok()? {
            serde_json::Value::String(text) if of == "UUID" || is_text(fed, at) => text,
            serde_json::Value::Number(_) if of.starts_with("Int") || of.starts_with("UInt") => value.clone(),
            _ => return None,
        };
        parts.push(format!("cast({}, {})", literal(&text), literal(of)));
    }
    Some(format!("tuple({})", parts.join(", ")))
}

/// A text in its quotes: <https://clickhouse.com/docs/sql-reference/syntax#string>.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
