//! The sessions of a snapshot: one moment in the WAL, and every session sees the database as it was then.
//!
//! Guarantee: a row shows a transaction if and only if its commit record stands before the moment. A temporary slot finds it: the
//! server tells where the slot begins, and exports what was committed before. Until all is read, a lock keeps the tables from
//! being truncated or rewritten, which no snapshot survives; what was rewritten between the moment and the lock is noticed.
//!
//! Nothing is locked while the server waits for writing transactions: one of them may be waiting for the lock, as a migration does,
//! and the server sees no deadlock where one waits for a client.
//! <https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT>

use postgres_protocol::escape::escape_literal;
use tracing::info;

use crate::pipeline::times::now_us;
use crate::pipeline::{End, Error, Kind};
use crate::postgres;
use crate::postgres::connection::Connection;
use crate::postgres::lsn::CommitLsn;
use crate::postgres::options::ConnectOptions;
use crate::postgres::slot::{NewSlot, Snapshot};
use crate::sources::snapshot::tables::Found;
use crate::telemetry::failpoint::{Failpoint, reach};

/// A snapshot that sessions share.
pub(super) struct Shared {
    /// It shows every transaction whose commit stands before this, and no other.
    pub(super) shows_before: CommitLsn,
    /// When it was taken, in microseconds since 1970.
    pub(super) taken_us: i64,
    /// The first transaction that had not begun then.
    pub(super) xid: Option<u32>,
    /// One that holds the tables as they are.
    pub(super) keeper: Connection,
    /// Others.
    pub(super) sessions: Vec<Connection>,
}

/// Takes a snapshot for so many sessions beside the keeper. Waits for the transactions that are writing now, and for those that
/// rewrite a table.
pub(super) fn share(connect: &ConnectOptions, tables: &[&Found], sessions: usize) -> Result<Shared, Error> {
    loop {
        let mut shared = take(connect, sessions)?;
        let Some(table) = hold(&mut shared.keeper, tables)? else { return Ok(shared) };
        info!(table = table.title(), "a table was rewritten while the snapshot was taken: another one is taken");
    }
}

/// Keeps tables from being rewritten from now on; the first that was since the snapshot was taken: it does not show its rows.
fn hold<'t>(keeper: &mut Connection, tables: &[&'t Found]) -> Result<Option<&'t Found>, Error> {
    for table in tables {
        let lock = format!("lock table {} in access share mode", table.relation());
        keeper.patient_query(&lock).map_err(|error| read_error(table, error))?;
    }
    for table in tables {
        // The catalog's rows are those of the snapshot, the function knows the present.
        let query = format!(
            "with recursive part(oid) as (
                 select {}::pg_catalog.regclass::oid
                 union all
                 select i.inhrelid from part join pg_catalog.pg_inherits i on i.inhparent = part.oid)
             select 1 from part left join pg_catalog.pg_class c on c.oid = part.oid
             where c.oid is null or c.relfilenode <> coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)
             limit 1",
            escape_literal(&table.relation())
        );
        let rewritten = keeper.patient_query(&query).map_err(|error| read_error(table, error))?;
        if !rewritten.is_empty() {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Takes a snapshot, of which the sessions hold nothing but it.
fn take(connect: &ConnectOptions, sessions: usize) -> Result<Shared, Error> {
    let mut keeper = open(connect)?;
    begin(&mut keeper)?;
    reach(Failpoint::SnapshotBegin);
    let replication = ConnectOptions { replication: true, ..connect.clone() };
    let mut exporter = Connection::connect(&replication).map_err(|error| connect_error(connect, error))?;
    let name = format!("postrider_snapshot_{}", exporter.backend_pid().unsigned_abs());
    info!(slot = name, "waiting for the transactions that are writing now, to take a snapshot after them");
    let slot = NewSlot { temporary: true, snapshot: Snapshot::Export, ..NewSlot::named(name) };
    let created = exporter.create_logical_slot(&slot).map_err(slot_error)?;
    let taken_us = now_us();
    let snapshot = created.snapshot_name.unwrap_or_default();
    import(&mut keeper, &snapshot)?;
    let sessions = (0..sessions).map(|_| {
        let mut session = open(connect)?;
        begin(&mut session)?;
        import(&mut session, &snapshot)?;
        Ok(session)
    });
    let sessions = sessions.collect::<Result<Vec<_>, Error>>()?;
    let xid = keeper.simple_query("select pg_snapshot_xmax(pg_current_snapshot())::text::int8 % (1::int8 << 32)");
    let xid = xid.map_err(|error| session_error("asking for the snapshot's transaction", error))?;
    let xid = xid.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
    // The slot has told what it was for, and would keep WAL.
    drop(exporter);
    reach(Failpoint::SnapshotTaken);
    // The same place under its other name: a commit record that begins here was not shown, one before it was.
    let shows_before = CommitLsn::new(created.consistent_point.as_u64());
    Ok(Shared { shows_before, taken_us, xid, keeper, sessions })
}

/// A session for reading.
pub(super) fn open(connect: &ConnectOptions) -> Result<Connection, Error> {
    let options = ConnectOptions { replication: false, ..connect.clone() };
    let mut session = Connection::connect(&options).map_err(|error| connect_error(connect, error))?;
    // A role may carry a limit, and a large table takes its time. Older servers do not know it.
    let limit = if session.server_major() >= 17 { "; set transaction_timeout = 0" } else { "" };
    // Rows that a policy hides would be left out without a word; so the server refuses.
    let prepared = session.simple_query(&format!("set row_security = off{limit}"));
    prepared.map_err(|error| session_error("preparing a session", error))?;
    Ok(session)
}

fn begin(session: &mut Connection) -> Result<(), Error> {
    let begun = session.simple_query("begin transaction isolation level repeatable read read only");
    begun.map(drop).map_err(|error| session_error("beginning a transaction", error))
}

fn import(session: &mut Connection, snapshot: &str) -> Result<(), Error> {
    // The server's own words: letters, digits and hyphens.
    let imported = session.simple_query(&format!("set transaction snapshot '{}'", snapshot.replace('\'', "''")));
    imported.map(drop).map_err(|error| session_error("sharing a snapshot", error))
}

/// Ends a session that was used to its end; else the server would write of a connection that was lost.
pub(super) fn end(mut session: Connection) {
    // The server forgets a reading transaction anyway.
    drop(session.simple_query("commit"));
}

/// Nobody lets us in, or nobody answers.
fn connect_error(connect: &ConnectOptions, error: postgres::error::Error) -> Error {
    if let Some((context, help)) = error.barred(&connect.user) {
        return Error::new(End::Source, Kind::Setup, context).because(error).with_help(help);
    }
    session_error("connecting to read a snapshot", error)
}

/// A session that takes part in a snapshot failed.
pub(super) fn session_error(what: &str, error: postgres::error::Error) -> Error {
    let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
    Error::new(End::Source, kind, format!("the initial snapshot was interrupted: {what}")).because(error)
}

/// Reading a table failed.
pub(super) fn read_error(table: &Found, error: postgres::error::Error) -> Error {
    let title = table.title();
    match error.sqlstate() {
        Some("42501") => Error::new(End::Source, Kind::Setup, format!("the rows of table {title} may not be read"))
            .because(error)
            .with_help(format!(
                "`postrider init` grants what is missing: select on {title} to the relay's role. If row-level security hides \
                 rows from it, they would be missing: `alter role … bypassrls`."
            )),
        // The server's own words would tell a value.
        Some(code) if code.starts_with("22") => {
            let context = format!(
                "Postgres could not read table {title}: SQLSTATE {code}, of which the server's log tells more"
            );
            Error::new(End::Source, Kind::Broken, context)
        }
        // What was dropped meanwhile is not there when the list is asked for again.
        _ => {
            let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
            let context = format!("the initial snapshot was interrupted while it read table {title}");
            Error::new(End::Source, kind, context).because(error)
        }
    }
}

fn slot_error(error: postgres::error::Error) -> Error {
    match error.sqlstate() {
        Some("53400") => Error::new(
            End::Source,
            Kind::Unavailable,
            "no replication slot is free for the initial snapshot, which needs a temporary one beside the relay's",
        )
        .because(error)
        .with_help("Raise max_replication_slots, or drop a slot that nobody reads; this one keeps trying."),
        Some("42501") => {
            Error::new(End::Source, Kind::Setup, "the role may not create the temporary slot of a snapshot")
                .because(error)
                .with_help("It needs REPLICATION: run `postrider init`.")
        }
        _ => session_error("creating its temporary slot", error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use xtask::services::PrivatePostgres;

    use super::*;
    use crate::postgres::options::Host;
    use crate::sources::snapshot::tables::published;

    /// Far beyond what anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server with two captured tables, one of them in partitions.
    fn server() -> (PrivatePostgres, ConnectOptions, Vec<Found>) {
        let server = PrivatePostgres::start(None, &[("wal_level", "logical")]).unwrap();
        let address = server.environment();
        let host = Host::Socket(address.socket_dir);
        let connect = ConnectOptions::new(host, address.port, "postgres", &address.user);
        let mut session = open(&connect).unwrap();
        session
            .simple_query(
                "set search_path = public;
                 create table items (id int primary key);
                 insert into items select generate_series(1, 10);
                 create table parts (id int primary key) partition by range (id);
                 create table parts_low partition of parts for values from (0) to (100);
                 insert into parts values (1);
                 create publication captured for table items, parts with (publish_via_partition_root = true)",
            )
            .unwrap();
        let tables = published(&mut session, "captured").unwrap();
        assert_eq!(tables.iter().map(Found::title).collect::<Vec<_>>(), ["public.items", "public.parts"]);
        (server, connect, tables)
    }

    fn wait_until(session: &mut Connection, condition: &str) {
        let begun = Instant::now();
        let look = format!("select pg_sleep(0.01), {condition}");
        while session.simple_query(&look).unwrap()[0][1].as_deref() != Some("t") {
            assert!(begun.elapsed() < PATIENCE, "never became true: {condition}");
        }
    }

    #[test]
    fn a_migration_and_a_snapshot_do_not_wait_for_each_other_and_what_is_rewritten_is_noticed() {
        let (_server, connect, tables) = server();
        let both: Vec<_> = tables.iter().collect();
        let session = || open(&connect).unwrap();
        let (mut writer, mut looker, mut migrator) = (session(), session(), session());
        writer.simple_query("begin; insert into public.parts values (2)").unwrap();
        let taking = {
            let (connect, tables) = (connect.clone(), tables.clone());
            std::thread::spawn(move || share(&connect, &tables.iter().collect::<Vec<_>>(), 1).map(drop))
        };
        // It waits for the writer. A migration that comes now does not wait for it; if it did, it for the migration too.
        let waiting = "exists (select from pg_locks l join pg_stat_activity a using (pid)
                               where not l.granted and a.backend_type = 'walsender')";
        wait_until(&mut looker, waiting);
        migrator.simple_query("set lock_timeout = '5s'").unwrap();
        migrator.simple_query("alter table public.items alter column id type bigint").unwrap();
        writer.simple_query("commit").unwrap();
        taking.join().unwrap().unwrap();

        // Between the moment and the lock anything may be rewritten, also a part of a table.
        let mut shared = take(&connect, 0).unwrap();
        looker.simple_query("alter table public.items alter column id type integer").unwrap();
        assert_eq!(hold(&mut shared.keeper, &both).unwrap().map(Found::title).as_deref(), Some("public.items"));
        drop(shared);
        let mut shared = take(&connect, 0).unwrap();
        looker.simple_query("truncate public.parts_low; alter table public.items add column note text").unwrap();
        assert_eq!(hold(&mut shared.keeper, &both).unwrap().map(Found::title).as_deref(), Some("public.parts"));
        drop(shared);
        assert_eq!(hold(&mut take(&connect, 0).unwrap().keeper, &both).unwrap(), None);
    }
}
