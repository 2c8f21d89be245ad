//! What the database says about slot and publication, asked by ordinary SQL, and what must not be so.

use std::collections::BTreeSet;

use postgres_protocol::escape::escape_literal;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::Connection;
use crate::postgres::lsn::EndLsn;
use crate::sources::wal::columns::{OutboxSource, OutboxTable};
use crate::sources::wal::cut::NotNull;
use crate::sources::wal::{CaptureSource, WalOptions};

/// How the slot stands to the WAL, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Retention {
    /// WAL that the server keeps for the slot, in bytes.
    pub(super) retained_bytes: i64,
    /// WAL not confirmed yet, in bytes.
    pub(super) lag_bytes: i64,
    /// WAL that may be written before the slot is given up, in bytes; `None` without a limit.
    pub(super) safe_bytes: Option<i64>,
    /// Where the log ends now.
    pub(super) end: u64,
    /// The server's clock, in seconds.
    pub(super) clock: f64,
}

/// Checks that the slot can be read from this database, and returns its `confirmed_flush_lsn`.
pub(super) fn slot(sql: &mut Connection, name: &str, delivered_before: bool) -> Result<EndLsn, Error> {
    let query = format!(
        "select slot_type, plugin, database, current_database(), wal_status, confirmed_flush_lsn
         from pg_catalog.pg_replication_slots where slot_name = {}",
        escape_literal(name)
    );
    let rows = ask(sql, &query, "the slot")?;
    let Some(row) = rows.first() else {
        // Events were delivered through it before, so what was committed since it vanished may be missing.
        let kind = if delivered_before { Kind::Gap } else { Kind::Setup };
        let help = if delivered_before {
            "Run `postrider slot recover`: it makes the slot anew, and publishes from the outbox table what was committed meanwhile."
        } else {
            "Run `postrider init` to create publication and slot."
        };
        return Err(Error::new(End::Source, kind, format!("slot {name:?} does not exist")).with_help(help));
    };
    let column = |index: usize| row.get(index).and_then(Option::as_deref);
    if column(0) != Some("logical") {
        return Err(setup(format!("slot {name:?} is a physical slot"), "Name a logical slot in [source] slot."));
    }
    if column(1) != Some("pgoutput") {
        let plugin = column(1).unwrap_or("none");
        return Err(setup(
            format!("slot {name:?} uses the output plugin {plugin}, not pgoutput"),
            "Create a slot with `postrider init`, under another name.",
        ));
    }
    if column(2) != column(3) {
        let (of, here) = (column(2).unwrap_or("none"), column(3).unwrap_or("none"));
        return Err(setup(
            format!("slot {name:?} belongs to database {of:?}, but the connection is to {here:?}"),
            "Correct [postgres] database or [source] slot.",
        ));
    }
    if column(4) == Some("lost") {
        return Err(lost(name));
    }
    column(5)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| setup(format!("slot {name:?} has no confirmed position"), "Drop it and run `postrider init`."))
}

/// The number of the server's next transaction; a standby gives out none.
pub(super) fn next_xid(sql: &mut Connection) -> Result<Option<u64>, Error> {
    let query = "select pg_snapshot_xmax(pg_current_snapshot()) where not pg_is_in_recovery()";
    let rows = ask(sql, query, "its transactions")?;
    Ok(rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok()))
}

/// Checks that the publications are there and carry what is read.
pub(super) fn publications(sql: &mut Connection, options: &WalOptions) -> Result<(), Error> {
    if !options.outboxes.is_empty() {
        publication(sql, &options.publication, &options.outboxes)?;
    }
    match &options.capture {
        Some(capture) => captured(sql, capture),
        None => Ok(()),
    }
}

/// Checks that the publication of captured tables is there, publishes every kind of change, and carries each table that is
/// captured by its very name; what a pattern means is for `postrider init` to say.
fn captured(sql: &mut Connection, capture: &CaptureSource) -> Result<(), Error> {
    let name = &capture.publication;
    let exact = capture.shape.tables.iter().filter(|pattern| !pattern.contains('*'));
    let exact = exact.filter_map(|pattern| pattern.split_once('.'));
    let exact = exact.map(|(schema, table)| format!("({}, {})", escape_literal(schema), escape_literal(table)));
    let query = captured_query(name, &exact.collect::<Vec<_>>());
    let rows = ask(sql, &query, "the publication of the captured tables")?;
    let Some(row) = rows.first() else {
        return Err(setup(
            format!("publication {name:?} does not exist"),
            "Correct [capture] publication, or run `postrider init`. If it was dropped, `postrider slot recover --anew` comes \
             after that, since a slot cannot read what is older than its publication.",
        ));
    };
    let column = |index: usize| row.get(index).and_then(Option::as_deref).unwrap_or_default();
    let skipped = capture.shape.skipped;
    if column(0) != "t" && !(skipped.create || skipped.update || skipped.delete) {
        return Err(setup(
            format!("publication {name:?} does not publish every insert, update and delete"),
            "Set publish = 'insert, update, delete, truncate' (`alter publication … set (publish = …)`), or name what shall be \
             left out in [capture] skipped_operations.",
        ));
    }
    let missing: Vec<String> = serde_json::from_str(column(2)).unwrap_or_default();
    if let Some(table) = missing.first() {
        return Err(gap(
            format!("publication {name:?} does not carry the captured table {table}"),
            "Run `postrider init`, which adds it, or correct [capture] tables. What was changed meanwhile was not \
             published: `postrider snapshot start` reads the table as it is.",
        ));
    }
    Ok(())
}

/// What a publication publishes, and which of `tables` it does not carry under their own names. The view that Postgres has for it
/// opens every table, and so waits for whoever alters one: <https://www.postgresql.org/docs/current/view-pg-publication-tables.html>.
fn captured_query(publication: &str, tables: &[String]) -> String {
    let tables = match tables {
        [] => "select null, null where false".to_owned(),
        some => format!("values {}", some.join(", ")),
    };
    format!(
        "select p.pubinsert and p.pubupdate and p.pubdelete, p.pubtruncate,
                coalesce((
                  select json_agg(t.schema || '.' || t.name)
                  from ({tables}) t (schema, name)
                  where not exists (
                    select
                    from pg_catalog.pg_namespace n
                    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p')
                    cross join lateral (
                      select bool_or(a.oid = c.oid) as itself, bool_or(a.oid <> c.oid) as above
                      from (select c.oid union select relid from pg_catalog.pg_partition_ancestors(c.oid)) a (oid)
                      where p.puballtables
                        or exists (select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and r.prrelid = a.oid)
                        or exists (select from pg_catalog.pg_publication_namespace s
                                   join pg_catalog.pg_class k on k.relnamespace = s.pnnspid
                                   where s.pnpubid = p.oid and k.oid = a.oid)
                    ) carried
                    where n.nspname = t.schema and c.relname = t.name
                      and case when p.pubviaroot then carried.itself and not carried.above
                               else c.relkind = 'r' and (carried.itself or carried.above) end
                  )), '[]')
         from pg_catalog.pg_publication p where p.pubname = {}",
        escape_literal(publication)
    )
}

/// Checks that the publication is there and carries every column that is read of each outbox table, for inserts.
fn publication(sql: &mut Connection, name: &str, outboxes: &[OutboxSource]) -> Result<(), Error> {
    let query = format!("select from pg_catalog.pg_publication where pubname = {}", escape_literal(name));
    if ask(sql, &query, "the publication")?.is_empty() {
        return Err(setup(
            format!("publication {name:?} does not exist"),
            "Correct [source] publication, or run `postrider init`. If it was dropped, `postrider slot recover --anew` comes \
             after that, since a slot cannot read what is older than its publication.",
        ));
    }
    for outbox in outboxes {
        if let Some(table) = &outbox.table {
            published(sql, name, table, &outbox.columns.required())?;
        }
    }
    Ok(())
}

/// The columns of each outbox table that cannot be null.
pub(super) fn not_null(sql: &mut Connection, outboxes: &[OutboxSource]) -> Result<NotNull, Error> {
    let columns = |outbox: &OutboxSource| {
        let Some(table) = &outbox.table else { return Ok(BTreeSet::new()) };
        let query = format!(
            "select attname from pg_catalog.pg_attribute
             where attrelid = to_regclass(format('%I.%I', {}, {})) and attnum > 0 and attnotnull and not attisdropped",
            escape_literal(&table.schema),
            escape_literal(&table.name)
        );
        let rows = ask(sql, &query, "the outbox table")?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    };
    outboxes.iter().map(columns).collect()
}

/// Checks that the publication carries these columns of one table.
fn published(sql: &mut Connection, name: &str, table: &OutboxTable, columns: &BTreeSet<&str>) -> Result<(), Error> {
    let (schema, relation) = (escape_literal(&table.schema), escape_literal(&table.name));
    let columns: Vec<String> = columns.iter().map(|column| escape_literal(column)).collect();
    let query = format!(
        "select p.pubinsert, t.tablename is not null, t.rowfilter is not null,
                (select string_agg(c, ', ') from unnest(array[{columns}]) c where c <> all (t.attnames::text[])),
                to_regclass(format('%I.%I', {schema}, {relation})) is not null
         from pg_catalog.pg_publication p
         left join pg_catalog.pg_publication_tables t
           on t.pubname = p.pubname and t.schemaname = {schema} and t.tablename = {relation}
         where p.pubname = {name}",
        columns = columns.join(", "),
        name = escape_literal(name),
    );
    let rows = ask(sql, &query, "the publication")?;
    let of = format!("{}.{}", table.schema, table.name);
    let Some(row) = rows.first() else {
        return Err(setup(
            format!("publication {name:?} does not exist"),
            "It was dropped just now: run `postrider init`.",
        ));
    };
    let is = |index: usize| row.get(index).and_then(Option::as_deref) == Some("t");
    if !is(4) {
        return Err(gap(
            format!("the outbox table {of} does not exist"),
            "Run `postrider migrate`, or correct [outbox] table. If it was dropped or renamed while events were \
             written, check that nothing is missing.",
        ));
    }
    if !is(1) {
        return Err(gap(
            format!("publication {name:?} does not carry the outbox table {of}"),
            "Add the table (`alter publication … add table …`); for a partitioned outbox set \
             publish_via_partition_root = true. What was written meanwhile was not published: check the table.",
        ));
    }
    if !is(0) {
        return Err(setup(
            format!("publication {name:?} does not publish inserts"),
            "Set publish = 'insert' (`alter publication … set (publish = 'insert')`).",
        ));
    }
    if is(2) {
        return Err(setup(
            format!("publication {name:?} filters the rows of {of}: events would be left out silently"),
            "Remove the WHERE clause of the table in the publication.",
        ));
    }
    if let Some(missing) = row.get(3).and_then(Option::as_deref) {
        return Err(setup(
            format!("publication {name:?} or the table {of} lacks the columns {missing}"),
            "Map the columns by [outbox.columns], or add them to the table and the publication's column list.",
        ));
    }
    Ok(())
}

/// How much WAL the slot holds back; an invalidated slot is a gap.
pub(super) fn retention(sql: &mut Connection, name: &str) -> Result<Retention, Error> {
    // A standby tells what is safe from a position that it does not keep up to date.
    let query = format!(
        "select pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint, pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::bigint,
                s.wal_status, case when not pg_is_in_recovery() then s.safe_wal_size end,
                (here.lsn - '0/0')::bigint, extract(epoch from clock_timestamp())::float8
         from pg_catalog.pg_replication_slots s,
              (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end) here(lsn)
         where s.slot_name = {}",
        escape_literal(name)
    );
    let rows = ask(sql, &query, "the slot's retention")?;
    let Some(row) = rows.first() else { return Err(gap(format!("slot {name:?} was dropped"), DROPPED)) };
    if row.get(2).and_then(Option::as_deref) == Some("lost") {
        return Err(lost(name));
    }
    let text = |index: usize| row.get(index).and_then(Option::as_deref);
    let bytes = |index: usize| text(index).and_then(|text| text.parse::<i64>().ok());
    Ok(Retention {
        retained_bytes: bytes(0).unwrap_or(0),
        lag_bytes: bytes(1).unwrap_or(0),
        safe_bytes: bytes(3),
        end: bytes(4).unwrap_or(0).unsigned_abs(),
        clock: text(5).and_then(|text| text.parse().ok()).unwrap_or_default(),
    })
}

const DROPPED: &str = "What is committed from now on is not kept for the relay. Run `postrider slot recover`, which makes it \
                       anew and publishes from the outbox table what was written meanwhile.";

fn lost(name: &str) -> Error {
    gap(
        format!("slot {name:?} was invalidated: the server removed WAL that it still needed"),
        "Raise max_slot_wal_keep_size and run `postrider slot recover`: it makes the slot anew, and publishes from the \
         outbox table what was committed since the last delivery.",
    )
}

fn setup(context: String, help: &str) -> Error {
    Error::new(End::Source, Kind::Setup, context).with_help(help)
}

fn gap(context: String, help: &str) -> Error {
    Error::new(End::Source, Kind::Gap, context).with_help(help)
}

fn ask(sql: &mut Connection, query: &str, about: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    sql.simple_query(query).map_err(|error| {
        // Not a fact about slot or publication: asking again may answer it, as after a table that was just dropped.
        let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Broken };
        Error::new(End::Source, kind, format!("Postgres was asked about {about} and did not answer")).because(error)
    })
}
