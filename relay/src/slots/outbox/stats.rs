//! What an outbox table costs, and who keeps vacuum from cleaning it.

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::slots::{
    error::{Error, Refusal},
    setup::Table,
};

/// What a row takes beside its columns: its header, its line pointer, and padding.
const ROW_OVERHEAD_BYTES: f64 = 32.0;

/// What a page has for rows.
const PAGE_USABLE_SHARE: f64 = 0.99;

/// The table and everything that holds its dead rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// The table.
    pub table: String,
    /// Tables that hold its rows: its partitions, or itself.
    pub partitions: i64,
    /// Rows; the planner's estimate unless they were counted.
    pub rows: i64,
    /// Whether the rows were counted.
    pub rows_exact: bool,
    /// Rows that may not be delivered yet: about as many as what the slot has not confirmed of the log could hold, if it held nothing else.
    pub undelivered_rows_estimate: Option<i64>,
    /// Log that the slot has not confirmed, in bytes; none if the slot is not there.
    pub undelivered_log_bytes: Option<i64>,
    /// The heap, in bytes.
    pub heap_bytes: i64,
    /// The indexes, in bytes.
    pub index_bytes: i64,
    /// What is stored out of line, in bytes.
    pub toast_bytes: i64,
    /// Rows that are dead and not cleaned up yet, as the statistics have it.
    pub dead_rows: i64,
    /// How much of the heap holds no live row, in bytes: estimated from the rows' average width, once they were analyzed.
    pub bloat_bytes_estimate: Option<i64>,
    /// When autovacuum was last through with it, in UTC.
    pub last_autovacuum: Option<String>,
    /// When somebody last vacuumed it, in UTC.
    pub last_vacuum: Option<String>,
    /// Who keeps rows that died since then from being cleaned up, the oldest first.
    pub horizon: Vec<Holder>,
    /// Whether other roles' sessions are hidden from this one, so that `horizon` may not be complete.
    pub horizon_hidden: bool,
}

/// Something that holds the horizon of vacuum back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// What it is: `session`, `standby`, `prepared transaction`, `slot` or `slot (catalogs only)`.
    pub kind: String,
    /// Its process, if it has one.
    pub pid: Option<i32>,
    /// Its name: an application, a transaction's identifier, a slot.
    pub name: String,
    /// How many transactions began since.
    pub transactions: i64,
    /// How long its transaction has been open, in seconds, if it is one.
    pub seconds: Option<i64>,
    /// The state of a session, such as `idle in transaction`.
    pub state: Option<String>,
    /// What it runs or ran last. Only shown on demand, since a query may hold values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What to do.
    pub advice: String,
}

const TABLE: &str = "
with leaf as (
  select c.*
  from pg_catalog.pg_class c
  where (c.oid = $1::text::regclass and c.relkind = 'r')
    or c.oid in (select relid from pg_catalog.pg_partition_tree($1::text::regclass) where isleaf)
), width as (
  select leaf.oid, sum(s.avg_width * (1 - s.null_frac))::float8 as bytes
  from leaf
  join pg_catalog.pg_namespace n on n.oid = leaf.relnamespace
  join pg_catalog.pg_stats s on s.schemaname = n.nspname and s.tablename = leaf.relname and not s.inherited
  group by leaf.oid
)
select
  count(*) as partitions,
  coalesce(sum(greatest(leaf.reltuples, s.n_live_tup, 0)), 0)::bigint as rows,
  coalesce(sum(pg_relation_size(leaf.oid)), 0)::bigint as heap,
  coalesce(sum(pg_indexes_size(leaf.oid)), 0)::bigint as indexes,
  coalesce(sum(case when leaf.reltoastrelid <> 0 then pg_total_relation_size(leaf.reltoastrelid) else 0 end), 0)::bigint as toast,
  coalesce(sum(s.n_dead_tup), 0)::bigint as dead,
  sum(greatest(leaf.reltuples, 0) * width.bytes)::float8 as wide,
  sum(case when width.bytes is not null then greatest(leaf.reltuples, 0) end)::float8 as wide_rows,
  sum(case when width.bytes is not null then pg_relation_size(leaf.oid) end)::float8 as wide_heap,
  to_char(max(s.last_autovacuum) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as last_autovacuum,
  to_char(max(s.last_vacuum) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as last_vacuum
from leaf
left join width on width.oid = leaf.oid
left join pg_catalog.pg_stat_all_tables s on s.relid = leaf.oid";

/// Sessions of other databases hold back nothing here; a standby's feedback and a slot's hold back every database.
const HORIZON: &str = "
select
  case when backend_type = 'walsender' then 'standby' else 'session' end as kind,
  pid, coalesce(application_name, '') as name, age(coalesce(backend_xmin, backend_xid))::bigint as transactions,
  extract(epoch from clock_timestamp() - xact_start)::bigint as seconds, state, query
from pg_catalog.pg_stat_activity
where coalesce(backend_xmin, backend_xid) is not null and pid <> pg_backend_pid()
  and (datname = current_database() or datname is null or backend_type = 'walsender')
  and backend_type in ('client backend', 'walsender', 'background worker', 'parallel worker')
union all
select 'prepared transaction', null, gid, age(transaction)::bigint, extract(epoch from clock_timestamp() - prepared)::bigint, null, null
from pg_catalog.pg_prepared_xacts
where database = current_database()
union all
select 'slot', active_pid, slot_name, age(xmin)::bigint, null, null, null
from pg_catalog.pg_replication_slots
where xmin is not null
union all
select 'slot (catalogs only)', active_pid, slot_name, age(catalog_xmin)::bigint, null, null, null
from pg_catalog.pg_replication_slots
where catalog_xmin is not null and xmin is null
order by transactions desc";

const LAG: &str = "
select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, confirmed_flush_lsn)::bigint
from pg_catalog.pg_replication_slots
where slot_name = $1 and slot_type = 'logical'";

/// What to read beyond what is at hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Count the rows, which reads all of them.
    pub exact: bool,
    /// Show the queries of sessions.
    pub queries: bool,
}

/// Reads it all. Changes nothing.
///
/// # Errors
/// [`Error::Refused`] if the table is not there; [`Error::Database`].
pub async fn stats(client: &Client, table: &Table, slot: &str, extent: Extent) -> Result<Stats, Error> {
    let name = table.quoted();
    let exists = client.query_one("select to_regclass($1) is not null", &[&name]).await.map_err(failed)?;
    if !exists.get::<_, bool>(0) {
        let what = format!("table {name} does not exist");
        let mend = "run `postrider migrate`, or name another with `outbox.table`".to_owned();
        return Err(Error::Refused(vec![Refusal { what, mend }]));
    }
    let row = client.query_one(TABLE, &[&name]).await.map_err(failed)?;
    let rows = match extent.exact {
        true => client.query_one(&format!("select count(*) from {name}"), &[]).await.map_err(failed)?.get(0),
        false => row.get("rows"),
    };
    let lag: Option<i64> = client.query_opt(LAG, &[&slot]).await.map_err(failed)?.map(|row| row.get(0));
    let hidden = "select not pg_has_role('pg_read_all_stats', 'usage')";
    let horizon = client.query(HORIZON, &[]).await.map_err(failed)?;
    let heap_bytes: i64 = row.get("heap");
    Ok(Stats {
        table: name,
        partitions: row.get("partitions"),
        rows,
        rows_exact: extent.exact,
        undelivered_rows_estimate: lag.map(|lag| undelivered(lag, rows, heap_bytes)),
        undelivered_log_bytes: lag,
        heap_bytes,
        index_bytes: row.get("indexes"),
        toast_bytes: row.get("toast"),
        dead_rows: row.get("dead"),
        bloat_bytes_estimate: bloat(&row),
        last_autovacuum: row.get("last_autovacuum"),
        last_vacuum: row.get("last_vacuum"),
        horizon: horizon.iter().map(|row| holder(row, extent.queries)).collect(),
        horizon_hidden: client.query_one(hidden, &[]).await.map_err(failed)?.get(0),
    })
}

/// A row takes at least as much of the log as its header does, and cannot be one of more rows than there are.
fn undelivered(lag_bytes: i64, rows: i64, heap_bytes: i64) -> i64 {
    let least =
        if rows > 0 { (heap_bytes / rows).clamp(ROW_OVERHEAD_BYTES as i64, 2_000) } else { ROW_OVERHEAD_BYTES as i64 };
    (lag_bytes / least).min(rows)
}

/// Only tables that were analyzed, and may be read, say how wide their rows are.
fn bloat(row: &Row) -> Option<i64> {
    let number = |name: &str| row.get::<_, Option<f64>>(name);
    let live = (number("wide")? + number("wide_rows")? * ROW_OVERHEAD_BYTES) / PAGE_USABLE_SHARE;
    Some((number("wide_heap")? - live).max(0.0) as i64)
}

fn holder(row: &Row, queries: bool) -> Holder {
    let kind: String = row.get("kind");
    let state: Option<String> = row.get("state");
    let pid: Option<i32> = row.get("pid");
    let advice = advice(&kind, state.as_deref(), pid);
    Holder {
        kind,
        pid,
        name: row.get("name"),
        transactions: row.get("transactions"),
        seconds: row.get("seconds"),
        state,
        query: if queries { row.get("query") } else { None },
        advice,
    }
}

fn advice(kind: &str, state: Option<&str>, pid: Option<i32>) -> String {
    let pid = pid.unwrap_or_default();
    match (kind, state) {
        ("session", Some(state)) if state.starts_with("idle in transaction") => format!(
            "its application neither commits nor rolls back: mend that; `select pg_terminate_backend({pid})` ends it, and \
             idle_in_transaction_session_timeout the next one"
        ),
        ("session", _) => format!("wait for its query, or run `select pg_cancel_backend({pid})`; long reports belong on a standby"),
        ("standby", _) => "a query runs on the standby, which asks to keep its rows: end it there, or switch hot_standby_feedback off".to_owned(),
        ("prepared transaction", _) => "run `commit prepared` or `rollback prepared` with its name; nobody else will".to_owned(),
        ("slot", _) => "a standby that uses this slot keeps rows for its queries: bring it back, or drop the slot if it is gone for good".to_owned(),
        _ => "holds dead rows of the catalogs only, not those of the outbox".to_owned(),
    }
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read the table's statistics".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_rows_can_be_undelivered_than_there_are_or_than_the_log_could_hold() {
        assert_eq!(undelivered(0, 1_000, 400_000), 0);
        assert_eq!(undelivered(4_000, 1_000, 400_000), 10);
        assert_eq!(undelivered(i64::MAX, 1_000, 400_000), 1_000);
        assert_eq!(undelivered(1_000, 0, 0), 0);
        // A bloated table does not make rows look so large that too few of them fit.
        assert_eq!(undelivered(1_000_000, 1_000, 1 << 40), 500);
    }

    #[test]
    fn each_kind_of_holder_comes_with_what_to_do() {
        assert!(advice("session", Some("idle in transaction"), Some(7)).contains("pg_terminate_backend(7)"));
        assert!(advice("session", Some("active"), Some(7)).contains("pg_cancel_backend(7)"));
        assert!(advice("prepared transaction", None, None).contains("rollback prepared"));
        assert!(advice("standby", Some("active"), Some(7)).contains("hot_standby_feedback"));
        assert!(advice("slot", None, None).contains("drop the slot"));
        assert!(advice("slot (catalogs only)", None, None).contains("not those of the outbox"));
    }
}
