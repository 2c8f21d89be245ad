//! What people do with snapshots beside the stream, by ordinary SQL, whether the relay runs or not: ask for one, look, stop it.
//!
//! Each is one row of `postrider.snapshots`, which a running relay looks at once a second.

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::postgres::condition;
use crate::slots::error::{Error, Refusal};

/// A table to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A snapshot beside the stream.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub id: i64,
    /// The slot whose relay takes it.
    pub slot: String,
    /// The schema of the table.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The condition on its rows.
    pub condition: Option<String>,
    /// Its state: requested, running, paused, done, stopped or failed.
    pub state: String,
    /// Who asked: command, signal or rewrite.
    pub origin: String,
    /// Rows that were published.
    pub rows: i64,
    /// Rows of the table, as the planner believes.
    pub estimated_rows: Option<i64>,
    /// Chunks that were published.
    pub chunks: i64,
    /// Chunks that were read again.
    pub rereads: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// What a person can do about it.
    pub help: Option<String>,
    /// When it was asked for, in ISO 8601.
    pub requested_at: String,
    /// When it was begun.
    pub started_at: Option<String>,
    /// When it came further last.
    pub progress_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
}

impl Snapshot {
    /// How much of it is done, in hundredths; `None` if that is not known.
    #[must_use]
    pub fn percent(&self) -> Option<i64> {
        match (self.state.as_str(), self.estimated_rows) {
            ("done", _) => Some(100),
            (_, Some(estimated)) if estimated > 0 && self.condition.is_none() => {
                Some((self.rows.saturating_mul(100) / estimated).min(99))
            }
            _ => None,
        }
    }
}

const COLUMNS: &str =
    "id, slot, schema_name, table_name, condition, state, origin, rows, estimated_rows, chunks, rereads,
  error, help, to_json(requested_at) #>> '{}', to_json(started_at) #>> '{}', to_json(progress_at) #>> '{}',
  to_json(ended_at) #>> '{}'";

/// Asks the relay of `slot` to read tables of `publication`, and returns the snapshots in their order.
///
/// # Errors
/// [`Error::Refused`] if a table is not published or has no key, or the condition is none: then nothing was asked for.
pub async fn start(
    client: &mut Client,
    slot: &str,
    publication: Option<&str>,
    tables: &[Target],
    where_: Option<&str>,
) -> Result<Vec<Snapshot>, Error> {
    if let Some(why) = where_.and_then(|text| condition::check(text).err()) {
        let mend = "write one condition on the table's columns, such as --where \"created_at > '2026-01-01'\"";
        return Err(Error::Refused(vec![Refusal { what: format!("the condition {why}"), mend: mend.to_owned() }]));
    }
    let Some(publication) = publication else {
        let mend = "name the tables in [capture] tables, run `postrider init`, and start the relay again";
        let what = "no table is captured".to_owned();
        return Err(Error::Refused(vec![Refusal { what, mend: mend.to_owned() }]));
    };
    let failed = |source| Error::Database { action: "cannot ask for a snapshot".to_owned(), source };
    let transaction = client.transaction().await.map_err(failed)?;
    let mut refusals = Vec::new();
    for table in tables {
        let row = transaction.query_one(FACTS, &[&table.schema, &table.name, &publication]).await.map_err(failed)?;
        refusals.extend(obstacle(table, publication, &row));
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let insert = format!(
        "insert into postrider.snapshots (slot, schema_name, table_name, condition)
         values ($1, $2, $3, $4)
         returning {COLUMNS}"
    );
    let mut snapshots = Vec::new();
    for table in tables {
        let row =
            transaction.query_one(&insert, &[&slot, &table.schema, &table.name, &where_]).await.map_err(failed)?;
        snapshots.push(snapshot(&row));
    }
    transaction.commit().await.map_err(failed)?;
    Ok(snapshots)
}

/// Whether a table is there, is published, and has a key by which it can be read piece by piece.
const FACTS: &str = "
select c.oid is not null,
       exists (select from pg_catalog.pg_publication_tables p
               where p.pubname = $3 and p.schemaname = $1 and p.tablename = $2),
       exists (select from pg_catalog.pg_index i
               where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
                 and not exists (select from pg_catalog.pg_attribute a
                                 where a.attrelid = i.indrelid and a.attnum = any (i.indkey) and not a.attnotnull))
from (select 1) one
left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace)
  on n.nspname = $1 and c.relname = $2";

fn obstacle(table: &Target, publication: &str, row: &Row) -> Option<Refusal> {
    let Target { schema, name } = table;
    let (what, mend) = match (row.get(0), row.get(1), row.get(2)) {
        (false, _, _) => (format!("there is no table {schema}.{name}"), "correct --table: schema.table".to_owned()),
        (_, false, _) => (
            format!("publication {publication} does not carry the table {schema}.{name}"),
            "name the table in [capture] tables and run `postrider init`; partitions are read by the table above them"
                .to_owned(),
        ),
        (_, _, false) => (
            format!("table {schema}.{name} has no key by which it could be read piece by piece"),
            "give it a primary key, or a unique index on columns that are not null".to_owned(),
        ),
        _ => return None,
    };
    Some(Refusal { what, mend })
}

/// The snapshots of a slot, the newest last: those that are neither done, stopped nor failed, or all.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(client: &Client, slot: &str, all: bool) -> Result<Vec<Snapshot>, Error> {
    let query = format!(
        "select {COLUMNS} from postrider.snapshots
         where slot = $1 and ($2 or state in ('requested', 'running', 'paused'))
         order by id"
    );
    let rows = client.query(&query, &[&slot, &all]).await;
    let rows = rows.map_err(|source| Error::Database { action: "cannot list snapshots".to_owned(), source })?;
    Ok(rows.iter().map(snapshot).collect())
}

/// Stops snapshots: those of these tables, or all. What was published stays.
///
/// # Errors
/// [`Error::Database`].
pub async fn stop(client: &Client, slot: &str, tables: &[Target]) -> Result<Vec<Snapshot>, Error> {
    let query = format!(
        "update postrider.snapshots
         set state = 'stopped', ended_at = clock_timestamp()
         where slot = $1 and state in ('requested', 'running', 'paused')
           and (cardinality($2::text[]) = 0
                or (schema_name, table_name) in (select * from unnest($2::text[], $3::text[])))
         returning {COLUMNS}"
    );
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let rows = client.query(&query, &[&slot, &schemas, &names]).await;
    let rows = rows.map_err(|source| Error::Database { action: "cannot stop snapshots".to_owned(), source })?;
    Ok(rows.iter().map(snapshot).collect())
}

fn snapshot(row: &Row) -> Snapshot {
    Snapshot {
        id: row.get(0),
        slot: row.get(1),
        schema: row.get(2),
        table: row.get(3),
        condition: row.get(4),
        state: row.get(5),
        origin: row.get(6),
        rows: row.get(7),
        estimated_rows: row.get(8),
        chunks: row.get(9),
        rereads: row.get(10),
        error: row.get(11),
        help: row.get(12),
        requested_at: row.get(13),
        started_at: row.get(14),
        progress_at: row.get(15),
        ended_at: row.get(16),
    }
}
