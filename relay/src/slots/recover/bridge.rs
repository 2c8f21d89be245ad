//! The steps that change something: a slot is dropped, rows are published anew, the slot is made again.
//!
//! Publishing needs no second way of delivery: while no writer is in the tables, each row that was not delivered is deleted and
//! inserted again in one transaction, in its order, and the slot begins just before it. So it comes before whatever is written later.

use std::collections::HashSet;
use std::time::Duration;

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::{Client, error::SqlState};

use crate::postgres::connection::Connection;
use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::slots::error::{Error, Refusal};
use crate::slots::recover::look::TableLook;
use crate::slots::recover::{Suspects, failed};
use crate::slots::setup::held_name;
use crate::telemetry::failpoint::{Failpoint, reach};

/// Ids that are asked for, or handed over, at once.
const IDS_AT_ONCE: usize = 10_000;

/// How often the tables' locks are tried; each try waits 2 s at most, and lets writers through before the next.
const LOCK_ATTEMPTS: usize = 15;

/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Settings of the session that carry values out of the transaction.
const POSITION: &str = "postrider.recover_position";
const BELOW: &str = "postrider.recover_below";
const ROWS: &str = "postrider.recover_rows";
const OLDEST: &str = "postrider.recover_oldest";

/// A transaction that ended before any other: what is taken for written by it is delivered.
const LONG_AGO: u64 = 3;

/// A place in the log that a temporary slot holds.
#[derive(Debug)]
pub struct Hold {
    name: String,
}

/// What was published anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    /// Rows of each table, in their order.
    pub rows: Vec<u64>,
    /// Below this transaction every row is delivered; those that were published anew are not.
    pub below: u64,
    /// Where the log ended after that was written.
    pub end: EndLsn,
    /// When the oldest of the rows was written, in milliseconds since 1970; now, if there is none.
    pub oldest_ms: i64,
}

/// Counts the suspect rows, and keeps the ids of those that are `held`.
pub(super) async fn suspects(
    client: &mut Client,
    table: &TableLook,
    slot: &str,
    suspects: &Suspects,
    held: impl Fn(&str) -> bool,
) -> Result<(u64, HashSet<String>), Error> {
    let broken = || failed("cannot read the ids of events that may not have been delivered");
    let sql = format!(
        "select t.{}::text from {} t where {}",
        escape_identifier(&table.id),
        table.table.quoted(),
        table.condition(slot, suspects)
    );
    let transaction = client.transaction().await.map_err(broken())?;
    transaction.batch_execute("set local row_security = off").await.map_err(broken())?;
    let portal = transaction.bind(&sql, &[]).await.map_err(broken())?;
    let (mut count, mut delivered) = (0, HashSet::new());
    loop {
        let rows = transaction.query_portal(&portal, IDS_AT_ONCE as i32).await.map_err(broken())?;
        if rows.is_empty() {
            break;
        }
        count += rows.len() as u64;
        let ids = rows.iter().filter_map(|row| row.get::<_, Option<String>>(0));
        delivered.extend(ids.filter(|id| held(id)));
    }
    transaction.commit().await.map_err(broken())?;
    Ok((count, delivered))
}

pub(super) async fn drop_slot(client: &Client, slot: &str) -> Result<(), Error> {
    let sql = format!("select pg_drop_replication_slot({})", escape_literal(slot));
    client.batch_execute(&sql).await.map_err(failed(&format!("cannot drop slot {slot}")))?;
    reach(Failpoint::RecoverDropped);
    Ok(())
}

pub(super) async fn hold(client: &Client, slot: &str) -> Result<Hold, Error> {
    let name = held_name(slot);
    let sql = format!("select pg_create_logical_replication_slot({}, 'pgoutput', true)", escape_literal(&name));
    client.batch_execute(&sql).await.map_err(failed("cannot hold a place in the log for the new slot"))?;
    reach(Failpoint::RecoverHeld);
    Ok(Hold { name })
}

pub(super) async fn bridge(
    client: &Client,
    slot: &str,
    hold: &Hold,
    tables: &[(TableLook, HashSet<String>)],
    suspects: &Suspects,
    block_ms_max: u64,
) -> Result<Bridged, Error> {
    hand_over(client, tables).await?;
    let sql = script(slot, tables, suspects, block_ms_max);
    run(client, &sql, block_ms_max).await?;
    reach(Failpoint::RecoverPublished);
    let told = client
        .query_one(
            &format!(
                "select current_setting('{BELOW}')::bigint, current_setting('{ROWS}'), nullif(current_setting('{OLDEST}'), '')::bigint,
                        pg_current_wal_insert_lsn()::text, floor(extract(epoch from clock_timestamp()) * 1000)::bigint"
            ),
            &[],
        )
        .await
        .map_err(failed("cannot read what was published anew"))?;
    let advance = format!(
        "select pg_replication_slot_advance({}, current_setting('{POSITION}')::pg_lsn)",
        escape_literal(&hold.name)
    );
    client.batch_execute(&advance).await.map_err(failed("cannot begin the new slot before what was published anew"))?;
    let rows: String = told.get(1);
    let end: String = told.get(3);
    Ok(Bridged {
        rows: rows.split(',').filter_map(|rows| rows.parse().ok()).collect(),
        below: told.get::<_, i64>(0).unsigned_abs(),
        end: end.parse().unwrap_or(EndLsn::ZERO),
        oldest_ms: told.get::<_, Option<i64>>(2).unwrap_or_else(|| told.get(4)),
    })
}

/// Puts the ids of what is delivered where the statements find them: a table of this session for each outbox that has any.
async fn hand_over(client: &Client, tables: &[(TableLook, HashSet<String>)]) -> Result<(), Error> {
    let broken = || failed("cannot hand over the ids of delivered events");
    for (index, (_, delivered)) in tables.iter().enumerate().filter(|(_, (_, delivered))| !delivered.is_empty()) {
        let name = delivered_name(index);
        let create = format!("drop table if exists pg_temp.{name}; create temp table {name} (id text primary key)");
        client.batch_execute(&create).await.map_err(broken())?;
        let insert = format!("insert into pg_temp.{name} select unnest($1::text[]) on conflict do nothing");
        let ids: Vec<&str> = delivered.iter().map(String::as_str).collect();
        for some in ids.chunks(IDS_AT_ONCE) {
            client.execute(&insert, &[&some]).await.map_err(broken())?;
        }
        client.batch_execute(&format!("analyze pg_temp.{name}")).await.map_err(broken())?;
    }
    Ok(())
}

fn delivered_name(index: usize) -> String {
    format!("postrider_delivered_{index}")
}

/// The transaction. Under the locks nobody writes: what is visible is all there is, and all of it was committed before the position
/// that is noted. A transaction that is open may still write rows, behind that position: `xmin` of the snapshot is at or below its
/// number, so that nobody will take them for delivered.
fn script(slot: &str, tables: &[(TableLook, HashSet<String>)], suspects: &Suspects, block_ms_max: u64) -> String {
    let names: Vec<String> = tables.iter().map(|(look, _)| look.table.quoted()).collect();
    let mut script = format!(
        "begin;\nset local lock_timeout = '2s';\nset local statement_timeout = {block_ms_max};\nset local synchronous_commit = local;\n\
         set local row_security = off;\nlock table {} in share row exclusive mode;\n\
         select set_config('{POSITION}', pg_current_wal_insert_lsn()::text, false),\n  \
         set_config('{BELOW}', pg_snapshot_xmin(pg_current_snapshot())::text, false),\n  \
         set_config('{ROWS}', '', false), set_config('{OLDEST}', '', false);\n",
        names.join(", ")
    );
    for (index, (look, delivered)) in tables.iter().enumerate() {
        let left_out = (!delivered.is_empty()).then(|| delivered_name(index));
        script.push_str(&republish(look, slot, suspects, left_out.as_deref()));
    }
    script.push_str("commit");
    script
}

/// Rows keep every column but one that records the writing transaction, which is this one now. Numbers of transactions that another
/// cluster gave out, and that this one has not reached yet, become those of long ago: else they would pass for not delivered, and for
/// not yet visible.
fn republish(look: &TableLook, slot: &str, suspects: &Suspects, left_out: Option<&str>) -> String {
    let (name, id, order) = (look.table.quoted(), escape_identifier(&look.id), look.ordered_by());
    let mut condition = look.condition(slot, suspects);
    if let Some(delivered) = left_out {
        condition.push_str(&format!(" and not exists (select from pg_temp.{delivered} d where d.id = t.{id}::text)"));
    }
    // `format` replaces what follows a percent sign.
    let literal = |text: &str| text.replace('%', "%%");
    let again = format!(
        "with old as (delete from {0} t where {1} returning %1$s) insert into {0} (%1$s) overriding system value select %1$s \
         from old order by {2}",
        literal(&name),
        literal(&condition),
        literal(&order)
    );
    let oldest = look.written.as_ref().map_or_else(String::new, |written| {
        let (column, zone) =
            (escape_identifier(&written.column), if written.zoned { "" } else { " at time zone 'UTC'" });
        format!(
            "  perform set_config('{OLDEST}', coalesce(least(nullif(current_setting('{OLDEST}'), '')::bigint,\n    \
             (select floor(extract(epoch from min(t.{column}){zone}) * 1000)::bigint from {name} t\n    \
             where t.xmin = pg_current_xact_id()::xid))::text, ''), false);\n"
        )
    });
    let foreign = if look.has_xid && !suspects.same_history {
        format!(
            "  update {name} t set xid = '{LONG_AGO}'::xid8 where t.xid >= current_setting('{BELOW}')::xid8 and t.xid <> \
             pg_current_xact_id();\n"
        )
    } else {
        String::new()
    };
    let body = format!(
        "declare\n  columns text;\n  moved bigint;\nbegin\n  select string_agg(quote_ident(attname), ', ' order by attnum)\n  into columns\n  \
         from pg_catalog.pg_attribute\n  where attrelid = {regclass}::regclass and attnum > 0 and not attisdropped\n    and attgenerated = '' \
         and atttypid <> 'xid8'::regtype;\n  execute format({again}, columns);\n  get diagnostics moved = row_count;\n  \
         perform set_config('{ROWS}', current_setting('{ROWS}') || moved || ',', false);\n{oldest}{foreign}end",
        regclass = escape_literal(&name),
        again = escape_literal(&again),
    );
    format!("do {};\n", escape_literal(&body).trim_start())
}

/// Runs the transaction. The locks that keep writers out are tried briefly and again, so that they never queue for long behind it.
async fn run(client: &Client, sql: &str, block_ms_max: u64) -> Result<(), Error> {
    let broken = || failed("cannot publish the events anew that were not delivered");
    let mut attempt = 0;
    loop {
        attempt += 1;
        let Err(source) = client.batch_execute(sql).await else { return Ok(()) };
        client.batch_execute("rollback").await.map_err(broken())?;
        if source.code() == Some(&SqlState::QUERY_CANCELED) {
            return Err(Error::Refused(vec![Refusal {
                what: format!("publishing the events anew would keep writers waiting for more than {block_ms_max} ms"),
                mend: "allow more with --block-ms-max, or name a later moment with --since; nothing was published"
                    .to_owned(),
            }]));
        }
        let locked = source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        if !locked || attempt == LOCK_ATTEMPTS {
            return Err(broken()(source));
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

pub(super) async fn create(client: &Client, slot: &str, hold: Hold) -> Result<(), Error> {
    let (held, slot_literal) = (escape_literal(&hold.name), escape_literal(slot));
    let copy = format!("select pg_copy_logical_replication_slot({held}, {slot_literal}, false)");
    client.batch_execute(&copy).await.map_err(failed(&format!("cannot create slot {slot}")))?;
    reach(Failpoint::RecoverCreated);
    let release = format!("select pg_drop_replication_slot({held})");
    client.batch_execute(&release).await.map_err(failed("cannot let go of the held place"))
}

/// A copy is not kept over a failover before it is told so, which only a replication connection can.
pub(super) async fn keep_over_failover(connect: &ConnectOptions, slot: &str) -> Result<(), Error> {
    let options = ConnectOptions { replication: true, ..connect.clone() };
    let command = format!("ALTER_REPLICATION_SLOT {} (FAILOVER true)", escape_identifier(slot));
    let alter = move || Connection::connect(&options)?.simple_query(&command);
    let mend = format!(
        "the slot is made; send `ALTER_REPLICATION_SLOT {slot} (FAILOVER true)` over a replication connection, then run this again"
    );
    let refused = |what: String| Error::Refused(vec![Refusal { what, mend }]);
    match tokio::task::spawn_blocking(alter).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refused(format!("slot {slot} cannot be kept over a failover: {error}"))),
        Err(_) => Err(refused(format!("slot {slot} is not yet kept over a failover"))),
    }
}
