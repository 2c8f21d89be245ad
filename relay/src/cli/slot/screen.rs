//! Slots as people read them: a table, or a block for each.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::{
    slots::list::{Hold, Instance, Listing, Slot},
    top::unit,
};

/// Characters of a name that the table shows.
const NAME_SHOWN: usize = 40;

/// A time that nobody waits for.
const LONG_SECONDS: f64 = 365.0 * 86_400.0;

/// What a table shows where there is nothing to show.
const NOTHING: &str = "-";

/// A table for each server, and below it what to do.
pub(super) fn table(listing: &Listing) -> String {
    let servers = listing.servers.iter().map(|server| format!("{}{}{}\n", head(server), rows(server), notes(server)));
    servers.collect::<String>() + &unseen(listing)
}

/// All that is known, a line a fact.
pub(super) fn blocks(listing: &Listing) -> String {
    let mut text = String::new();
    for server in &listing.servers {
        text.push_str(&head(server));
        server.slots.iter().for_each(|slot| text.push_str(&block(slot)));
        text.push_str(&notes(server));
        text.push('\n');
    }
    text + &unseen(listing)
}

/// Places that did not answer.
fn unseen(listing: &Listing) -> String {
    let line = |unseen: &crate::slots::list::Unseen| {
        let help = unseen.help.map_or(String::new(), |help| format!("\n  help: {help}"));
        format!("{}: not seen: {}{help}\n", unseen.place, unseen.error)
    };
    listing.unseen.iter().map(line).collect()
}

fn head(server: &Instance) -> String {
    let facts = &server.server;
    let limit = match facts.keep_bytes {
        ..0 => "no max_slot_wal_keep_size".to_owned(),
        keep => format!("max_slot_wal_keep_size {}", bytes(keep)),
    };
    let disk = server.wal_disk_bytes.map_or(String::new(), |room| format!(", disk {}", bytes(room)));
    let idle = facts.idle_timeout_seconds.map_or(String::new(), |idle| format!(", idle timeout {}", time(idle)));
    let rate = match server.wal_bytes_per_second {
        Some(rate) => format!("{}/s over {}", unit::bytes(rate), time(server.measured_seconds)),
        None => "not measured".to_owned(),
    };
    format!(
        "{}: PostgreSQL {}, {}, {} of {} slots, {limit}{disk}{idle}, log written {rate}\n",
        server.places.join(", "),
        facts.version_text(),
        if facts.standby { "standby" } else { "primary" },
        server.slots_in_all,
        facts.slots_max,
    )
}

fn rows(server: &Instance) -> String {
    if server.slots.is_empty() {
        return "no slots\n".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
        .set_header(["SLOT", "OWNER", "KIND", "DATABASE", "WAL", "KEPT", "LAG", "LEFT", "LIMIT", "READ BY", "HELD BY"]);
    for index in [5, 6, 7] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for slot in &server.slots {
        let facts = &slot.facts;
        table.add_row([
            facts.name.clone(),
            slot.owner.name().to_owned(),
            kind(slot),
            facts.database.as_deref().map_or_else(nothing, shown),
            facts.wal_status.clone().unwrap_or_else(nothing),
            facts.retained_bytes.map_or_else(nothing, bytes),
            facts.lag_bytes.map_or_else(nothing, bytes),
            left(slot),
            limit(slot),
            read_by(slot),
            held_by(slot),
        ]);
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// What to do, a line each.
fn notes(server: &Instance) -> String {
    let mut notes = Vec::new();
    for slot in &server.slots {
        notes.extend(slot.advice.iter().map(|advice| format!("{}: {advice}", slot.facts.name)));
    }
    for publication in server.publications.iter().filter(|publication| publication.without_slot == Some(true)) {
        let (name, database) = (shown(&publication.facts.name), shown(&publication.facts.database));
        notes.push(format!("publication {name} of {database}: no slot reads it"));
    }
    notes.extend(server.hidden.clone());
    notes.iter().map(|note| format!("  {note}\n")).collect()
}

fn block(slot: &Slot) -> String {
    let facts = &slot.facts;
    let mut text = format!("{}\n", facts.name);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<14} {value}\n"));
        }
    };
    line("owner", Some(slot.owner.name().to_owned()));
    line("kind", Some(kind(slot)));
    line("database", facts.database.as_deref().map(shown));
    line("flags", flags(slot));
    line("wal status", facts.wal_status.clone());
    line("given up", facts.invalidation_reason.clone());
    line("kept", facts.retained_bytes.map(bytes));
    line("lag", facts.lag_bytes.map(bytes));
    line("safe", facts.safe_wal_size.map(bytes));
    line("left", Some(left(slot)));
    line("limit", slot.limit.map(str::to_owned));
    line("if it stops", slot.seconds_if_stopped.map(time));
    line("restart", facts.restart_lsn.map(|lsn| lsn.to_string()));
    line("confirmed", facts.confirmed_flush_lsn.map(|lsn| lsn.to_string()));
    line("read by", Some(read_by(slot)));
    line("from", facts.reader.as_ref().and_then(|reader| reader.client.clone()));
    line("since", facts.reader.as_ref().and_then(|reader| reader.since.clone()));
    line("publications", publications(slot));
    line("unread since", facts.inactive_since.clone());
    line("held by", slot.held_by.as_ref().map(|_| held_by(slot)));
    line("xmin age", facts.xmin_age.map(|age| format!("{age} transactions")));
    line("catalog xmin", facts.catalog_xmin_age.map(|age| format!("{age} transactions")));
    line("decoded", decoded(slot));
    line("spilled", spilled(slot));
    text
}

fn kind(slot: &Slot) -> String {
    let kind = slot.facts.plugin.as_deref().map_or_else(|| "physical".to_owned(), shown);
    if slot.facts.temporary { format!("{kind}, temporary") } else { kind }
}

fn flags(slot: &Slot) -> Option<String> {
    let facts = &slot.facts;
    let conflicting = facts.conflicting == Some(true);
    let flags = [
        ("two phase", facts.two_phase),
        ("failover", facts.failover),
        ("synced", facts.synced),
        ("conflicting", conflicting),
    ];
    let set: Vec<_> = flags.into_iter().filter_map(|(flag, is_set)| is_set.then_some(flag)).collect();
    (!set.is_empty()).then(|| set.join(", "))
}

/// The time until a limit is reached.
pub(super) fn left(slot: &Slot) -> String {
    match slot.seconds_to_limit {
        Some(seconds) if seconds <= 0.0 => "none".to_owned(),
        Some(seconds) => time(seconds),
        None if slot.keeps_up && slot.seconds_if_stopped.is_some() => "keeps up".to_owned(),
        None => nothing(),
    }
}

/// The limit that comes first.
pub(super) fn limit(slot: &Slot) -> String {
    match slot.limit {
        Some("max_slot_wal_keep_size") => "keep size".to_owned(),
        Some("wal_disk_bytes") => "disk".to_owned(),
        Some("idle_replication_slot_timeout") => "idle".to_owned(),
        _ => nothing(),
    }
}

/// Who reads it.
pub(super) fn read_by(slot: &Slot) -> String {
    match (&slot.facts.reader, &slot.facts.inactive_since) {
        (Some(reader), _) => {
            let application = reader.application.as_deref().filter(|name| !name.is_empty()).map(shown);
            let role = reader.role.as_deref().map_or_else(|| "?".to_owned(), shown);
            format!("{} as {role}, pid {}", application.as_deref().unwrap_or("?"), reader.pid)
        }
        (None, Some(since)) => format!("nobody since {since}"),
        (None, None) => "nobody".to_owned(),
    }
}

fn held_by(slot: &Slot) -> String {
    match &slot.held_by {
        Some(Hold::Nobody) => "nobody reads".to_owned(),
        Some(Hold::Reader) => "its reader".to_owned(),
        Some(Hold::Hidden) => "hidden".to_owned(),
        Some(Hold::Transaction(transaction)) => {
            let since = transaction.seconds.map_or(String::new(), |seconds| format!(", {}", time(seconds)));
            match (&transaction.prepared, transaction.pid) {
                (Some(gid), _) => format!("prepared {}{since}", shown(gid)),
                (None, Some(pid)) => {
                    format!(
                        "transaction of {}, pid {pid}{since}",
                        shown(transaction.application.as_deref().unwrap_or("?"))
                    )
                }
                (None, None) => format!("a transaction{since}"),
            }
        }
        None => nothing(),
    }
}

fn publications(slot: &Slot) -> Option<String> {
    let names = slot.facts.reader.as_ref()?.publications.as_ref()?;
    Some(names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", "))
}

fn decoded(slot: &Slot) -> Option<String> {
    let decoded = slot.facts.decoded.as_ref().filter(|decoded| decoded.total_txns > 0)?;
    let since = decoded.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
    Some(format!("{} transactions, {}{since}", decoded.total_txns, bytes(decoded.total_bytes)))
}

fn spilled(slot: &Slot) -> Option<String> {
    let decoded = slot.facts.decoded.as_ref().filter(|decoded| decoded.spill_txns > 0)?;
    let (count, size) = (decoded.spill_count, bytes(decoded.spill_bytes));
    Some(format!("{} transactions, {count} times, {size}", decoded.spill_txns))
}

/// A name that somebody else chose, as one short word of one line.
fn shown(name: &str) -> String {
    name.chars().take(NAME_SHOWN).collect::<String>().escape_debug().to_string()
}

/// Bytes with a unit.
pub(super) fn bytes(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded for people anyway")]
    let value = bytes as f64;
    if bytes < 0 { format!("-{}", unit::bytes(-value)) } else { unit::bytes(value) }
}

/// Seconds with a unit.
pub(super) fn time(seconds: f64) -> String {
    if seconds > LONG_SECONDS {
        return "over a year".to_owned();
    }
    unit::duration(Duration::from_secs_f64(seconds.max(0.0)))
}

fn nothing() -> String {
    NOTHING.to_owned()
}
