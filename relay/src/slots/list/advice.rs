//! What to do about a slot: SQL or a command, with the reason.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::slots::facts::{OldestTransaction, ServerFacts};
use crate::slots::list::judge::publications_of;
use crate::slots::list::{Hold, Ours, Owner, Publication, Slot};

/// Beyond it autovacuum scans whole tables to freeze them, and cannot freeze what the slot keeps: the default of
/// `autovacuum_freeze_max_age`.
const FREEZE_AGE: i64 = 200_000_000;

/// What to do about a slot, the most urgent first.
pub(super) fn slot(slot: &Slot, server: &ServerFacts, publications: &[Publication], ours: &[Ours]) -> Vec<String> {
    let mut advice = Vec::new();
    if slot.facts.is_lost() {
        advice.push(lost(slot));
        return advice;
    }
    if slot.seconds_to_limit == Some(0.0) {
        advice.push(reached(slot));
    }
    match &slot.held_by {
        Some(Hold::Nobody) => advice.extend(unread(slot)),
        Some(Hold::Transaction(transaction)) => advice.push(pinned(transaction)),
        // The session that made a temporary slot holds it, whether or not it reads.
        Some(Hold::Reader) if slot.facts.temporary => {}
        Some(Hold::Reader) => advice.push("its reader is slower than the log grows: look at the reader".to_owned()),
        Some(Hold::Hidden) | None => {}
    }
    if let Some(age) = slot.facts.catalog_xmin_age.max(slot.facts.xmin_age).filter(|age| *age > FREEZE_AGE) {
        advice.push(format!(
            "it keeps rows of {age} transactions from vacuum, which cannot freeze them: have it read on, or drop it"
        ));
    }
    advice.extend(without_publication(slot, server, publications, ours));
    advice
}

fn lost(slot: &Slot) -> String {
    let reason = slot.facts.invalidation_reason.as_deref().unwrap_or("its log is gone");
    match slot.owner {
        Owner::Ours => format!("the server gave it up ({reason}): `postrider slot recover`"),
        Owner::Foreign | Owner::Orphan => {
            format!("the server gave it up ({reason}), and nobody can read it any more: {}", drop_it(slot))
        }
    }
}

fn reached(slot: &Slot) -> String {
    match slot.limit {
        Some("wal_disk_bytes") => {
            "it keeps more log than the disk has room for: have it read on, or drop it".to_owned()
        }
        Some("idle_replication_slot_timeout") => "the next checkpoint gives it up, because nobody reads it".to_owned(),
        _ => format!(
            "the next checkpoint may give it up: alter system set max_slot_wal_keep_size = '{}MB'; select pg_reload_conf()",
            2 * (slot.facts.retained_bytes.unwrap_or_default() >> 20).max(512)
        ),
    }
}

fn unread(slot: &Slot) -> Option<String> {
    match slot.owner {
        Owner::Ours => Some("nobody reads it: `postrider run`".to_owned()),
        Owner::Orphan => {
            let since = slot.facts.inactive_since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
            Some(format!("nobody has read it{since}; if nobody needs it: {}", drop_it(slot)))
        }
        Owner::Foreign => None,
    }
}

fn pinned(transaction: &OldestTransaction) -> String {
    match (&transaction.prepared, transaction.pid) {
        (Some(gid), _) => format!(
            "the log is kept from the beginning of a prepared transaction on: commit prepared {0}, or rollback prepared {0}",
            escape_literal(gid).trim_start()
        ),
        (None, Some(pid)) => format!(
            "the log is kept from the beginning of an open transaction on, and no reader can help: select pg_terminate_backend({pid})"
        ),
        (None, None) => "the log is kept from the beginning of an open transaction on".to_owned(),
    }
}

/// A publication that a slot is read for and that is not there, where that can be known.
fn without_publication(
    slot: &Slot,
    server: &ServerFacts,
    publications: &[Publication],
    ours: &[Ours],
) -> Option<String> {
    let database = slot.facts.database.as_ref()?;
    let was_asked = *database == server.database || publications.iter().any(|known| known.facts.database == *database);
    let names = publications_of(&slot.facts, ours).filter(|_| was_asked)?;
    let exists = |name: &&String| {
        publications.iter().any(|known| known.facts.database == *database && known.facts.name == **name)
    };
    let missing = names.iter().find(|name| !exists(name))?;
    Some(format!(
        "its publication {missing:?} does not exist, and one that is made now is younger than what the slot keeps: \
         drop the slot, create {} and a new slot (`postrider init`)",
        escape_identifier(missing)
    ))
}

fn drop_it(slot: &Slot) -> String {
    format!("select pg_drop_replication_slot({})", escape_literal(&slot.facts.name).trim_start())
}

/// What is hidden from the role, and how to have it shown.
pub(super) fn hidden(server: &ServerFacts) -> Option<String> {
    let role = escape_identifier(&server.role);
    (!server.sees_all).then(|| {
        format!(
            "what other roles' sessions do is hidden from role {:?}: from where and since when a slot is read, and which \
             transaction pins it. As a superuser: grant pg_read_all_stats to {role}; or use --admin-url",
            server.role
        )
    })
}
