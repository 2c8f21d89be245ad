//! Deletes delivered rows of a plain outbox table, a few at a time, beside writers and relay.
//!
//! Guarantee: no row goes before it is delivered. A row is proven to be by the transaction that wrote it (the system column `xmin`,
//! which every table has and no writer can set): when all transactions older than one had ended, the log was this far; and every slot
//! has confirmed that. A transaction that is still open, prepared or merely slow keeps its rows, however old they say they are.

use std::time::{Duration, Instant};

use postgres_protocol::escape::escape_identifier;
use serde::Serialize;
use tokio_postgres::Client;

use crate::{
    pipeline::Stop,
    slots::{
        error::{Error, Refusal},
        outbox::delivered::{Slots, lsn},
        setup::Table,
    },
};

/// Pages that one look covers: a mebibyte, so that a look is short whatever the rows are like.
const WINDOW_PAGES: i64 = 128;

/// Between two looks at the slots.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Which rows go, and how gently.
#[derive(Debug, Clone)]
pub struct Prune {
    /// The table.
    pub table: Table,
    /// Our slot, which must prove delivery.
    pub slot: String,
    /// The column with an event's id, by which parked events are found.
    pub id_column: String,
    /// The column that tells a row's age.
    pub time_column: String,
    /// How old a row must be.
    pub older_than: Duration,
    /// Rows of one statement.
    pub batch: u32,
    /// Between two statements.
    pub pause: Duration,
    /// How long to wait for the slots to pass what is committed now.
    pub wait: Duration,
    /// Whether to count only.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The table.
    pub table: String,
    /// Rows that were deleted; with `dry_run`, that would have been.
    pub deleted: u64,
    /// Statements that deleted anything.
    pub batches: u64,
    /// Whether rows were counted only.
    pub dry_run: bool,
    /// Whether it was told to stop before it was through.
    pub stopped: bool,
    /// Everything committed before this position is delivered.
    pub delivered_lsn: String,
}

/// What is delivered for certain.
struct Horizon {
    /// Every transaction before this one had ended.
    xid: String,
    /// Where the log ended after that.
    position: u64,
    /// Rows of before this time go.
    cutoff: String,
}

/// Waits until what is committed now is delivered, then deletes what of it is old enough. `stop` ends it between two statements.
///
/// # Errors
/// [`Error::Refused`] if the table is partitioned or has no such column, or if the slots do not get there in time;
/// [`Error::Database`]. What was deleted by then is gone, and running it again goes on.
pub async fn prune(client: &Client, prune: &Prune, stop: &mut Stop) -> Result<Pruned, Error> {
    check(client, prune).await?;
    let horizon = horizon(client, prune).await?;
    let mut pruned = Pruned {
        table: prune.table.quoted(),
        deleted: 0,
        batches: 0,
        dry_run: prune.dry_run,
        stopped: false,
        delivered_lsn: lsn(horizon.position),
    };
    if !delivered(client, prune, &horizon, stop).await? {
        return Ok(Pruned { stopped: true, ..pruned });
    }
    let condition = condition(client, prune).await?;
    if prune.dry_run {
        let sql = format!("select count(*) from {} t where {condition}", prune.table.quoted());
        let row = client.query_one(&sql, &[&horizon.cutoff, &horizon.xid]).await.map_err(failed)?;
        return Ok(Pruned { deleted: row.get::<_, i64>(0).unsigned_abs(), ..pruned });
    }
    let delete = format!(
        "delete from {table} where ctid = any (array(select ctid from {table} t where t.ctid >= $3::text::tid and t.ctid < $4::text::tid \
         and {condition} limit {batch} for update skip locked))",
        table = prune.table.quoted(),
        batch = prune.batch
    );
    let delete = client.prepare(&delete).await.map_err(failed)?;
    let mut page = 0;
    while page < pages(client, prune).await? {
        let window = [format!("({page},0)"), format!("({},0)", page + WINDOW_PAGES)];
        loop {
            if stop.is_ordered() {
                return Ok(Pruned { stopped: true, ..pruned });
            }
            let deleted = client.execute(&delete, &[&horizon.cutoff, &horizon.xid, &window[0], &window[1]]).await;
            let deleted = deleted.map_err(failed)?;
            pruned.deleted += deleted;
            pruned.batches += u64::from(deleted > 0);
            if deleted > 0 {
                tokio::select! {
                    () = tokio::time::sleep(prune.pause) => {}
                    () = stop.ordered() => {}
                }
            }
            if deleted < u64::from(prune.batch) {
                break;
            }
        }
        page += WINDOW_PAGES;
    }
    Ok(pruned)
}

const KIND: &str = "
select c.relkind::text, a.attname is not null, format_type(a.atttypid, null)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $3 and not a.attisdropped
where n.nspname = $1 and c.relname = $2";

async fn check(client: &Client, prune: &Prune) -> Result<(), Error> {
    let table = prune.table.quoted();
    let row = client.query_opt(KIND, &[&prune.table.schema, &prune.table.name, &prune.time_column]).await;
    let refused = |what: String, mend: &str| Err(Error::Refused(vec![Refusal { what, mend: mend.to_owned() }]));
    let Some(row) = row.map_err(failed)? else {
        return refused(format!("table {table} does not exist"), "name it with `outbox.table`");
    };
    match row.get::<_, &str>(0) {
        "r" => {}
        "p" => {
            return refused(
                format!("table {table} is partitioned: its old days leave whole"),
                "use `postrider outbox partitions`, which leaves nothing to vacuum",
            );
        }
        _ => return refused(format!("{table} is not a table"), "name a table with `outbox.table`"),
    }
    let column = &prune.time_column;
    if !row.get::<_, bool>(1) {
        let mend = "name the column that tells when an event was written with --time-column";
        return refused(format!("table {table} has no column {column}"), mend);
    }
    if !row.get::<_, &str>(2).starts_with("timestamp") {
        return refused(
            format!("column {column} of table {table} is no timestamp"),
            "name a timestamp with --time-column",
        );
    }
    Ok(())
}

/// The snapshot is taken before the position is read, so every transaction that it sees as ended has its end in the log before that.
async fn horizon(client: &Client, prune: &Prune) -> Result<Horizon, Error> {
    const HORIZON: &str = "
select
  pg_snapshot_xmin(pg_current_snapshot())::xid::text,
  (pg_current_wal_insert_lsn() - '0/0')::bigint,
  (now() - make_interval(secs => $1::float8))::text";
    let row = client.query_one(HORIZON, &[&prune.older_than.as_secs_f64()]).await.map_err(failed)?;
    // A commit, however empty, makes the server flush the log up to here, which it need not do by itself where nobody writes.
    client.query_one("select pg_current_xact_id()::text", &[]).await.map_err(failed)?;
    Ok(Horizon { xid: row.get(0), position: row.get::<_, i64>(1).unsigned_abs(), cutoff: row.get(2) })
}

/// Waits until every slot has passed the horizon; false if it was told to stop.
async fn delivered(client: &Client, prune: &Prune, horizon: &Horizon, stop: &mut Stop) -> Result<bool, Error> {
    let deadline = Instant::now() + prune.wait;
    loop {
        let behind = Slots::read(client).await?.behind(&prune.slot, horizon.position);
        if behind.is_empty() {
            return Ok(true);
        }
        if stop.is_ordered() {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            let refusals = behind.iter().map(|behind| Refusal {
                what: behind.to_string(),
                mend: "nothing was deleted: see that whoever reads it runs and keeps up, then run this again; a slot that nobody needs is dropped \
                       with pg_drop_replication_slot"
                    .to_owned(),
            });
            return Err(Error::Refused(refusals.collect()));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.ordered() => {}
        }
    }
}

/// Transactions are compared by age, as `xmin` has no order of its own: a row that is newer than the horizon can never look older, and
/// one so old that its number came round again looks new, and stays.
async fn condition(client: &Client, prune: &Prune) -> Result<String, Error> {
    let parked = "select to_regclass('postrider.parked') is not null";
    let parked = client.query_one(parked, &[]).await.map_err(failed)?.get::<_, bool>(0);
    let mut condition = format!(
        "t.{} < $1::text::timestamptz and age(t.xmin) > age($2::text::xid)",
        escape_identifier(&prune.time_column)
    );
    if parked {
        condition.push_str(&format!(
            " and not exists (select from postrider.parked p where p.event_id = t.{}::text and p.state in ('parked', 'waiting', 'retry'))",
            escape_identifier(&prune.id_column)
        ));
    }
    Ok(condition)
}

async fn pages(client: &Client, prune: &Prune) -> Result<i64, Error> {
    let sql = "select pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint";
    Ok(client.query_one(sql, &[&prune.table.quoted()]).await.map_err(failed)?.get(0))
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot prune the outbox".to_owned(), source }
}
