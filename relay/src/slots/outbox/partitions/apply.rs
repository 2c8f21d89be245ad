//! Does what the plan says, act by act. Each act is one transaction, or a statement that cannot be in one, so that whatever
//! interrupts it, the next run finds what was done and goes on.
//!
//! Locks: days are attached in one transaction that holds the table exclusively for milliseconds; a partition is closed under an
//! exclusive lock on itself alone; both give up after [`LOCK_TIMEOUT_MS`], and the next run tries again. Detaching waits for
//! transactions without blocking any.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use crate::slots::{
    error::Error,
    outbox::partitions::{
        day::Day,
        found::KEY,
        name,
        plan::{Act, Rest},
    },
    setup::Table,
};

/// How long writers may queue behind us, in milliseconds.
const LOCK_TIMEOUT_MS: u32 = 1_000;

/// How long one detachment may wait for open transactions, in milliseconds; the next run finishes it.
const DETACH_TIMEOUT_MS: u32 = 60_000;

/// The constraint that keeps rows out of a partition that leaves.
const CLOSED: &str = "postrider_closed";

/// The constraint that spares the rest a scan while the table is locked.
const BOUNDED: &str = "postrider_bounded";

/// Storage parameters of a partition. Rows only come, until all of them go at once: nothing is ever dead, and vacuum only keeps the
/// visibility map fresh.
const STORAGE: &str = "autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000, \
                       autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000";

/// Does one act.
///
/// # Errors
/// [`Error::Database`], with what was tried.
pub(super) async fn apply(client: &Client, table: &Table, act: &Act) -> Result<(), Error> {
    let run = async |sql: String| {
        let done = client.batch_execute(&sql).await;
        if done.is_err() {
            // The session goes on to the next act. Where this fails too, the connection is gone, which the first error says.
            drop(client.batch_execute("rollback").await);
        }
        done.map_err(|source| Error::Database { action: format!("cannot {}", act.told(&table.name)), source })
    };
    match act {
        Act::Extend { from, until, rest } => {
            for statement in extend(table, *from, *until, rest.as_ref()) {
                run(statement).await?;
            }
            Ok(())
        }
        Act::Close(partition) => run(close(table, partition)).await,
        Act::Detach(partition) => {
            run(format!("set statement_timeout = {DETACH_TIMEOUT_MS}")).await?;
            let detached = run(detach(table, partition, "concurrently")).await;
            run("set statement_timeout = 0".to_owned()).await?;
            detached
        }
        Act::Finalize(partition) => {
            run(format!("set statement_timeout = {DETACH_TIMEOUT_MS}")).await?;
            let detached = run(detach(table, partition, "finalize")).await;
            run("set statement_timeout = 0".to_owned()).await?;
            detached
        }
        Act::Record(partition) => run(record(table, partition)).await,
        Act::Drop(partition) => run(drop_detached(table, partition)).await,
        Act::Forget(partition) => run(forget(table, partition)).await,
        Act::Wait(..) => Ok(()),
    }
}

fn beside(table: &Table, name: &str) -> String {
    Table { schema: table.schema.clone(), name: name.to_owned() }.quoted()
}

/// Begins a transaction that gives up rather than keep others waiting.
fn begin() -> String {
    format!("begin;\nset local lock_timeout = {LOCK_TIMEOUT_MS};\n")
}

/// Which row of postrider.partitions.
fn key(table: &Table, partition: &str) -> String {
    format!("schema = {} and name = {}", escape_literal(&table.schema), escape_literal(partition))
}

/// The statements that attach days and the rest behind them. Tables are made beforehand, so that the lock is short.
fn extend(table: &Table, from: Day, until: Day, rest: Option<&Rest>) -> Vec<String> {
    let root = table.quoted();
    let days: Vec<Day> = from.until(until).collect();
    let mut statements: Vec<String> = days.iter().map(|day| create(table, &name::of(&table.name, *day))).collect();
    let mut locked = begin();
    locked.push_str(&format!("lock table only {root} in access exclusive mode;\n"));
    let name_of_rest = name::rest(&table.name);
    if let Some(rest) = rest {
        let old = beside(table, &rest.name);
        if let Some(end) = rest.becomes_until {
            // Checked while everybody goes on, so that nothing is left to check under the lock.
            statements.push(format!(
                "{}alter table {old} drop constraint if exists {BOUNDED}, add constraint {BOUNDED} \
                check ({KEY} is not null and {KEY} < '{end} 00:00:00+00') not valid;\ncommit",
                begin()
            ));
            statements.push(format!("alter table {old} validate constraint {BOUNDED}"));
        }
        locked.push_str(&format!("alter table {root} detach partition {old};\n"));
        if let Some(end) = rest.becomes_until {
            let renamed = escape_identifier(&name::of(&table.name, Day::of(rest.lower)));
            locked.push_str(&attach(&root, &old, &format!("to_timestamp({})", rest.lower), &at(end)));
            locked.push_str(&format!(
                "alter table {old} drop constraint {BOUNDED};\nalter table {old} rename to {renamed};\n"
            ));
        }
    }
    for day in &days {
        let partition = beside(table, &name::of(&table.name, *day));
        locked.push_str(&attach(&root, &partition, &at(*day), &at(day.plus(1))));
    }
    let rest_table = beside(table, &name_of_rest);
    if rest.is_none_or(|rest| rest.becomes_until.is_some()) {
        locked.push_str(&format!("{};\n", create(table, &name_of_rest)));
    }
    locked.push_str(&attach(&root, &rest_table, &at(until), "maxvalue"));
    locked.push_str("commit");
    statements.push(locked);
    statements
}

fn at(day: Day) -> String {
    format!("'{day} 00:00:00+00'")
}

fn attach(root: &str, partition: &str, lower: &str, upper: &str) -> String {
    format!("alter table {root} attach partition {partition} for values from ({lower}) to ({upper});\n")
}

/// A table like the root; kept if it is there already, from a run that was interrupted.
fn create(table: &Table, partition: &str) -> String {
    format!(
        "create table if not exists {} (like {} including defaults including constraints including generated including storage \
         including compression) with ({STORAGE})",
        beside(table, partition),
        table.quoted()
    )
}

/// Nobody can add a row any more, and nobody who did is still at it: from here on the partition's rows are all in the log before us.
///
/// Without this a statement that began before would still write to a partition that is half detached, and the log would show its rows
/// under a table that is not published.
fn close(table: &Table, partition: &str) -> String {
    let name = beside(table, partition);
    format!(
        "{begin}insert into postrider.partitions (schema, name, root, lower, upper)\n\
         select {schema}, {partition}, {root}, nullif(b[1], 'MINVALUE')::timestamptz, nullif(b[2], 'MAXVALUE')::timestamptz\n\
         from pg_catalog.pg_class c\n\
         cross join lateral regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''?([^'')]+)''?\\) TO \\(''?([^'')]+)''?\\)') b\n\
         where c.oid = {regclass}::regclass;\n\
         alter table {name} add constraint {CLOSED} check (false) not valid;\n\
         commit",
        begin = begin(),
        schema = escape_literal(&table.schema),
        partition = escape_literal(partition),
        root = escape_literal(&table.name),
        regclass = escape_literal(&name),
    )
}

fn detach(table: &Table, partition: &str, how: &str) -> String {
    format!("alter table {} detach partition {} {how}", table.quoted(), beside(table, partition))
}

fn record(table: &Table, partition: &str) -> String {
    format!(
        "update postrider.partitions set detached_lsn = pg_current_wal_insert_lsn(), detached_at = clock_timestamp() where {}",
        key(table, partition)
    )
}

fn drop_detached(table: &Table, partition: &str) -> String {
    format!(
        "{}drop table {};\ndelete from postrider.partitions where {};\ncommit",
        begin(),
        beside(table, partition),
        key(table, partition)
    )
}

fn forget(table: &Table, partition: &str) -> String {
    format!("delete from postrider.partitions where {}", key(table, partition))
}
