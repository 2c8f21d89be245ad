//! Where a slot is spilled to, as the database knows it: for a relay on another host, which finds the slot ahead of what was
//! delivered.
//!
//! It is a row of `postrider.leases`, which is nobody's lease but says who and where. Without that table, or after the server has
//! lost it, the relay only knows less to say: no decision rests on it.

use std::path::Path;

use postgres_protocol::escape::escape_literal;
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::connection::Connection;
use crate::sources::wal::record::Record;

/// What to do about a spill that is not here.
const HELP: &str = "Start the relay on that host, or bring its folder here as the folder of [guard] spill_dir: it is delivered first. If \
                    it is lost, `postrider slot recover` publishes from the outbox table what is missing, and names what was captured.";

/// Who has what was spilled.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    host: String,
    folder: String,
    /// 0: unknown.
    epoch: u16,
}

impl Note {
    fn here(folder: &Path, epoch: u16) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { host: host.trim().to_owned(), folder: folder.display().to_string(), epoch }
    }
}

fn name(slot: &str) -> String {
    escape_literal(&format!("spill/{slot}"))
}

/// Says that this host has it.
pub(super) fn write(sql: &mut Connection, slot: &str, folder: &Path, epoch: u16) {
    let detail = serde_json::to_string(&Note::here(folder, epoch)).unwrap_or_default();
    run(
        sql,
        &format!(
            "insert into postrider.leases as l (name, holder, token, claimed_at, expires_at, detail)
             values ({}, gen_random_uuid(), 1, clock_timestamp(), clock_timestamp(), {})
             on conflict (name) do update
             set holder = excluded.holder, token = l.token + 1, claimed_at = excluded.claimed_at,
                 expires_at = excluded.expires_at, detail = excluded.detail",
            name(slot),
            escape_literal(&detail)
        ),
    );
}

/// Says that nobody has anything: the slot was found to go on where delivery ended, so whatever was spilled is delivered.
pub(in crate::sources::wal) fn forget(sql: &mut Connection, slot: &str) {
    run(sql, &format!("update postrider.leases set holder = null where name = {} and holder is not null", name(slot)));
}

fn run(sql: &mut Connection, statement: &str) {
    if let Err(error) = sql.simple_query(statement) {
        debug!(%error, "the database could not be told where the slot is spilled to");
    }
}

/// Who has what was spilled, as far as anybody does and it can be read.
fn read(sql: &mut Connection, slot: &str) -> Option<Note> {
    let query = format!("select detail from postrider.leases where name = {} and holder is not null", name(slot));
    let rows = sql.simple_query(&query).unwrap_or_default();
    let detail = rows.first()?.first()?.as_deref()?;
    serde_json::from_str(detail).ok()
}

/// That something was spilled to another folder, or by another host, and is not known to be delivered: `folder` is empty, and what the
/// slot holds comes after that. `epoch` is the one that this folder knows of.
pub(super) fn elsewhere(sql: &mut Connection, slot: &str, folder: &Path, epoch: u16) -> Option<Error> {
    let (note, here) = (read(sql, slot)?, Note::here(folder, epoch));
    let is_older = note.epoch > 0 && epoch > note.epoch;
    if is_older || (&note.host, &note.folder) == (&here.host, &here.folder) {
        return None;
    }
    let Note { host, folder, .. } = note;
    let context = format!(
        "slot {slot:?} was spilled by the relay on host {host:?} to the folder {folder:?}, which comes before what is to be spilled now"
    );
    Some(Error::new(End::Source, Kind::Gap, context).with_help(HELP))
}

/// Insists that nobody has spilled anything: nothing is recorded as delivered, so none of that was.
///
/// # Errors
/// `Gap` if somebody has.
pub(in crate::sources::wal) fn insist_on_nothing(sql: &mut Connection, slot: &str) -> Result<(), Error> {
    let Some(Note { host, folder, .. }) = read(sql, slot) else { return Ok(()) };
    let context = format!(
        "slot {slot:?} was spilled by the relay on host {host:?} to the folder {folder:?}, and nothing is recorded as delivered since"
    );
    Err(Error::new(End::Source, Kind::Gap, context).with_help(
        "Start the relay on that host, or bring its folder here as the folder of [guard] spill_dir: it is delivered first. If it is \
         lost, --accept-gap goes on without it, and `postrider outbox replay` publishes from the outbox table what is missing.",
    ))
}

/// The same gap, with where what is missing is, if it was spilled and nobody has recovered since.
pub(in crate::sources::wal) fn explained(
    gap: Error,
    sql: &mut Connection,
    slot: &str,
    delivered: Option<&Record>,
) -> Error {
    let Some(Note { host, folder, epoch }) = read(sql, slot) else { return gap };
    if epoch > 0 && delivered.is_some_and(|record| record.epoch != epoch) {
        return gap;
    }
    let context = format!("{gap}; it was spilled by the relay on host {host:?} to the folder {folder:?}");
    Error::new(End::Source, gap.kind(), context).with_help(HELP)
}
