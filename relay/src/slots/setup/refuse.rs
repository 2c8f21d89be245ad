//! What is there and cannot be worked with: each with what it is and how to mend it. Nothing of it is ever changed silently.

use std::collections::BTreeSet;

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::{
    error::Refusal,
    setup::{
        Found, OutboxTable, PublicationFound, SlotFound, Table, TableFound, VERSION_FAILOVER, Wanted, backlog, capture,
    },
};

/// The oldest server whose logical decoding has all that the relay needs: it sends no empty transactions and knows
/// publications by row and column. <https://www.postgresql.org/docs/15/release-15.html>
const VERSION_MIN: i32 = 150_000;

/// Everything that is wrong, so that it can be mended at once.
pub(super) fn refusals(wanted: &Wanted, found: &Found) -> Vec<Refusal> {
    let mut refusals = refuse_server(wanted, found);
    if let Some(OutboxTable { table, columns }) = &wanted.outbox {
        refusals.extend(refuse_table(wanted, (table, columns), found.table.as_ref()));
    }
    for (further, found) in wanted.further.iter().zip(&found.further) {
        refusals.extend(refuse_table(wanted, (&further.table, &further.columns), found.table.as_ref()));
        refusals.extend(refuse_rows(&further.table, found.rows));
    }
    if wanted.is_polled() {
        return refusals;
    }
    if let Some(publication) = found.publication.as_ref().filter(|_| wanted.outbox.is_some()) {
        refusals.extend(refuse_publication(wanted, publication));
    }
    if let Some(slot) = &found.slot {
        refusals.extend(refuse_slot(wanted, slot));
        if found.publication.is_none() && wanted.outbox.is_some() {
            refusals.push(slot_before_publication(wanted));
        }
    }
    if let Some((wanted, found)) = wanted.capture.as_ref().zip(found.capture.as_ref()) {
        refusals.extend(capture::refusals(wanted, found));
    }
    refusals.extend(backlog::refusals(wanted, found));
    refusals
}

fn refusal(what: impl Into<String>, mend: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), mend: mend.into() }
}

fn refuse_server(wanted: &Wanted, found: &Found) -> Vec<Refusal> {
    let server = &found.server;
    let mut refusals = Vec::new();
    if wanted.writer_role == wanted.relay_role {
        refusals.push(refusal(
            format!("role {} is to be both the relay's and the writers'", wanted.relay_role),
            "name two roles, with `postgres.user` and --writer-role: the relay must not write events, nor services read the log",
        ));
    }
    if server.database != wanted.database {
        refusals.push(refusal(
            format!(
                "the connection is to database {}, but `postgres.database` is {}",
                server.database, wanted.database
            ),
            "name the same database in --admin-url and in `postgres.database`: a slot belongs to one",
        ));
    }
    if server.version < VERSION_MIN {
        refusals.push(refusal(
            "the server is older than PostgreSQL 15",
            "upgrade it: the relay reads PostgreSQL 15 and later",
        ));
    }
    if server.standby {
        refusals.push(refusal("the server is a standby, which takes no changes", "connect to its primary"));
    }
    if wanted.is_polled() {
        return refusals;
    }
    if server.wal_level != "logical" {
        refusals.push(refusal(
            format!("wal_level is {}: the log does not hold what logical replication reads", server.wal_level),
            "run `alter system set wal_level = logical` as a superuser, restart the server, then run this again",
        ));
    }
    if server.senders_max == 0 {
        refusals.push(refusal(
            "max_wal_senders is 0: nobody can read the log",
            "run `alter system set max_wal_senders = 10` as a superuser, restart the server, then run this again",
        ));
    }
    if found.slot.is_none() && server.slots >= server.slots_max {
        refusals.push(refusal(
            format!("all {} replication slots are taken (max_replication_slots)", server.slots_max),
            "raise max_replication_slots and restart the server, or drop a slot that nobody needs: see pg_replication_slots",
        ));
    }
    if wanted.failover && server.version < VERSION_FAILOVER {
        refusals.push(refusal("--failover needs PostgreSQL 17 or later", "run this again without it"));
    }
    refusals
}

fn refuse_table(wanted: &Wanted, (table, columns): (&Table, &[String]), found: Option<&TableFound>) -> Vec<Refusal> {
    let table = table.quoted();
    let Some(found) = found else {
        let mend =
            "run `postrider migrate`, which creates public.outbox_events, or name your own table with `outbox.table`";
        return vec![refusal(format!("table {table} does not exist in database {}", wanted.database), mend)];
    };
    let mut refusals = Vec::new();
    if !found.is_table {
        refusals.push(refusal(
            format!("{table} is not a table"),
            "name a table with `outbox.table`: only tables can be published",
        ));
    }
    if !found.logged && !wanted.is_polled() {
        let mend = format!("run `alter table {table} set logged`");
        refusals.push(refusal(format!("table {table} is unlogged or temporary: its rows never reach the log"), mend));
    }
    if found.is_partition {
        let mend = "name the table above the partitions with `outbox.table`: rows of all of them travel under its name";
        refusals.push(refusal(format!("table {table} is a partition"), mend));
    }
    let missing: Vec<_> = columns.iter().filter(|column| !found.columns.contains(column)).map(String::as_str).collect();
    if !missing.is_empty() {
        refusals.push(refusal(
            format!("table {table} has no column {}", missing.join(", ")),
            "name the columns it has in [outbox.columns]; payload_bytes and headers may be \"\"",
        ));
    }
    refusals
}

/// Rows of a further outbox that nobody would publish: only those of the first can be published anew.
fn refuse_rows(table: &Table, rows: i64) -> Option<Refusal> {
    let what = format!("table {} holds rows that the new slot would never see", table.quoted());
    let mend = "run this with --backlog skip, which leaves the rows of every outbox unpublished, then publish these yourself: delete and \
                insert them again; --backlog publish knows only the first outbox";
    (rows > 0).then(|| refusal(what, mend))
}

fn refuse_publication(wanted: &Wanted, found: &PublicationFound) -> Vec<Refusal> {
    let (name, quoted) = (&wanted.publication, escape_identifier(&wanted.publication));
    let own = "or name another with `source.publication` and run this again";
    let set_table = format!("run `alter publication {quoted} set table {}`, {own}", wanted.quoted_tables());
    let mut refusals = Vec::new();
    if found.by_rule {
        let mend = format!("name another with `source.publication` and run this again; {name} stays as it is");
        return vec![refusal(format!("publication {name} publishes all tables, or all of a schema"), mend)];
    }
    if !found.options_fit {
        let mend = format!(
            "run `alter publication {quoted} set (publish = 'insert', publish_via_partition_root = true)`, {own}"
        );
        let what = format!("publication {name} does not publish insertions alone, partitions under their root");
        refusals.push(refusal(what, mend));
    }
    if found.narrowed {
        let what = format!("publication {name} leaves out rows or columns: events would be missing");
        refusals.push(refusal(what, set_table.clone()));
    }
    // Without the option, partitions are listed rather than their root: then the option is what to mend first.
    if found.options_fit && found.tables != wanted.tables().cloned().collect::<BTreeSet<_>>() {
        let others: Vec<_> = found.tables.iter().map(Table::quoted).collect();
        let what = match others.len() {
            0 => format!("publication {name} publishes no table"),
            _ => format!("publication {name} publishes {}, not {} alone", others.join(", "), wanted.quoted_tables()),
        };
        refusals.push(refusal(what, set_table));
    }
    refusals
}

/// What a slot that is there is held against.
pub(in crate::slots) struct SlotExpected<'w> {
    /// Its name.
    pub(in crate::slots) name: &'w str,
    /// Its database.
    pub(in crate::slots) database: &'w str,
    /// Its plugin.
    pub(in crate::slots) plugin: &'w str,
    /// Whether its reader takes prepared transactions.
    pub(in crate::slots) two_phase: bool,
    /// What to do instead where it is none that can be used.
    pub(in crate::slots) other: &'w str,
    /// What to do where it is lost.
    pub(in crate::slots) lost: String,
}

fn refuse_slot(wanted: &Wanted, found: &SlotFound) -> Vec<Refusal> {
    let slot = &wanted.slot;
    let drop = format!("select pg_drop_replication_slot({})", escape_literal(slot));
    let expected = SlotExpected {
        name: slot,
        database: &wanted.database,
        plugin: "pgoutput",
        two_phase: false,
        other: "name another with `source.slot` and run this again",
        lost: format!(
            "events since its last confirmed position may be missing: publish them again from the table, then run `{drop}` and this again"
        ),
    };
    let mut refusals = unusable_slot(&expected, found);
    if found.plugin.is_some() && wanted.failover && !found.failover {
        let mend = format!(
            "with the relay stopped, send `ALTER_REPLICATION_SLOT {slot} (FAILOVER true)` over a replication connection, or run this without --failover"
        );
        refusals.push(refusal(format!("slot {slot} is not kept over a failover"), mend));
    }
    refusals
}

/// Why the slot is none of those that are expected.
pub(in crate::slots) fn unusable_slot(expected: &SlotExpected<'_>, found: &SlotFound) -> Vec<Refusal> {
    let (slot, other) = (expected.name, expected.other);
    let mut refusals = Vec::new();
    match &found.plugin {
        Some(plugin) if plugin == expected.plugin => {}
        Some(plugin) => {
            refusals.push(refusal(format!("slot {slot} is of the plugin {plugin}, not {}", expected.plugin), other));
        }
        None => return vec![refusal(format!("slot {slot} is a physical slot"), other)],
    }
    if let Some(database) = found.database.as_ref().filter(|database| *database != expected.database) {
        refusals.push(refusal(format!("slot {slot} belongs to database {database}, not {}", expected.database), other));
    }
    if found.temporary {
        refusals.push(refusal(format!("slot {slot} is temporary: it goes with the session that made it"), other));
    }
    if found.two_phase && !expected.two_phase {
        refusals
            .push(refusal(format!("slot {slot} decodes prepared transactions, which the relay does not read"), other));
    }
    if found.lost {
        let what = format!("slot {slot} is lost: the server removed WAL that it needs");
        refusals.push(refusal(what, expected.lost.clone()));
    }
    refusals
}

fn slot_before_publication(wanted: &Wanted) -> Refusal {
    let (slot, publication) = (&wanted.slot, &wanted.publication);
    refusal(
        format!(
            "slot {slot} exists and publication {publication} does not: a slot cannot see a publication younger than itself"
        ),
        format!(
            "name the publication that the slot was made for with `source.publication`; or, if nobody needs the slot, run `select pg_drop_replication_slot({})` and this again",
            escape_literal(slot)
        ),
    )
}
