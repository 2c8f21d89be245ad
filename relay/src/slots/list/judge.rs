//! What facts mean, as pure functions of what the catalog says.

use crate::postgres::retention::{Standing, outlook};
use crate::slots::facts::{PublicationFacts, ServerFacts, SlotFacts};
use crate::slots::list::{Hold, Instance, Options, Ours, Owner, Publication, Slot, advice};

/// The plugin of publications.
const PGOUTPUT: &str = "pgoutput";

/// What a slot that is well may keep: less than this is held by nobody in particular.
const KEPT_BYTES: i64 = 32 << 20;

/// Judges the slots and publications of a server, and puts them in.
pub(super) fn judge(
    instance: &mut Instance,
    slots: Vec<SlotFacts>,
    publications: Vec<PublicationFacts>,
    ours: &[Ours],
    options: &Options,
) {
    instance.publications = publications.into_iter().map(|facts| publication(facts, &slots, ours)).collect();
    let wanted = |slot: &SlotFacts| options.names.is_empty() || options.names.contains(&slot.name);
    for facts in slots.into_iter().filter(wanted) {
        let standing = standing(&facts, &instance.server, instance.wal_disk_bytes);
        let outlook = outlook(&standing, instance.wal_bytes_per_second);
        let owner = owner(&facts, ours, options.orphan_after.as_secs_f64());
        let held_by = hold(&facts, &instance.server);
        let mut slot = Slot::new(facts, owner, &outlook, held_by);
        slot.advice = advice::slot(&slot, &instance.server, &instance.publications, ours);
        instance.slots.push(slot);
    }
    instance.hidden = advice::hidden(&instance.server);
}

/// How a slot stands to its limits.
fn standing(slot: &SlotFacts, server: &ServerFacts, disk_bytes: Option<i64>) -> Standing {
    if slot.is_lost() {
        return Standing::default();
    }
    // Slots that keep no log, and a standby's copies of the primary's, are not given up for being idle.
    // https://www.postgresql.org/docs/18/runtime-config-replication.html#GUC-IDLE-REPLICATION-SLOT-TIMEOUT
    let may_idle_out = slot.restart_lsn.is_some() && !slot.synced && slot.reader.is_none();
    let idle = server.idle_timeout_seconds.zip(slot.inactive_seconds).filter(|_| may_idle_out);
    Standing {
        retained_bytes: slot.retained_bytes,
        lag_bytes: slot.lag_bytes,
        safe_bytes: slot.safe_wal_size,
        disk_bytes,
        idle_seconds: idle.map(|(timeout, idle)| timeout - idle),
        is_read: slot.reader.is_some() || slot.synced,
    }
}

/// Whose a slot is. Where the server does not say since when nobody reads it (before PostgreSQL 17), one that keeps more than
/// `max_wal_size` has been left for long.
fn owner(slot: &SlotFacts, ours: &[Ours], orphan_after: f64) -> Owner {
    let is_ours = |ours: &Ours| {
        let reads = slot.reader.as_ref().is_some_and(|reader| {
            slot.temporary
                && reader.role.as_ref() == Some(&ours.role)
                && reader.application.as_ref() == Some(&ours.application)
        });
        slot.database.as_ref() == Some(&ours.database) && (slot.name == ours.slot || reads)
    };
    if ours.iter().any(is_ours) {
        return Owner::Ours;
    }
    if slot.reader.is_some() || slot.temporary || slot.synced {
        return Owner::Foreign;
    }
    let left = match slot.inactive_seconds {
        Some(seconds) => seconds >= orphan_after,
        None => matches!(slot.wal_status.as_deref(), Some("extended" | "unreserved")),
    };
    if left || slot.is_lost() { Owner::Orphan } else { Owner::Foreign }
}

/// What keeps log for a slot, where that is worth a word.
fn hold(slot: &SlotFacts, server: &ServerFacts) -> Option<Hold> {
    let retained = slot.retained_bytes?;
    if slot.synced {
        return None;
    }
    if slot.reader.is_none() {
        return Some(Hold::Nobody);
    }
    let lag = slot.lag_bytes.unwrap_or(retained);
    let beyond = retained.saturating_sub(lag);
    if lag > KEPT_BYTES && lag >= beyond {
        return Some(Hold::Reader);
    }
    if beyond <= KEPT_BYTES {
        return None;
    }
    match &server.oldest_transaction {
        Some(transaction) => Some(Hold::Transaction(transaction.clone())),
        None if !server.sees_all => Some(Hold::Hidden),
        None => None,
    }
}

/// A publication with the slots that read it: those of which it is known, because they are ours or because their reader said so.
fn publication(facts: PublicationFacts, slots: &[SlotFacts], ours: &[Ours]) -> Publication {
    let mut read_by = Vec::new();
    let mut all_known = true;
    let here =
        |slot: &&SlotFacts| slot.plugin.as_deref() == Some(PGOUTPUT) && slot.database.as_ref() == Some(&facts.database);
    for slot in slots.iter().filter(here) {
        match publications_of(slot, ours) {
            Some(names) if names.contains(&facts.name) => read_by.push(slot.name.clone()),
            Some(_) => {}
            None => all_known = false,
        }
    }
    let without_slot = match (read_by.is_empty(), all_known) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    };
    Publication { facts, read_by, without_slot }
}

/// The publications that a slot is read for, where it is known.
pub(super) fn publications_of<'a>(slot: &'a SlotFacts, ours: &'a [Ours]) -> Option<&'a [String]> {
    let configured = ours.iter().find(|ours| ours.slot == slot.name && Some(&ours.database) == slot.database.as_ref());
    let asked = slot.reader.as_ref().and_then(|reader| reader.publications.as_deref());
    asked.or(configured.map(|ours| ours.publications.as_slice()))
}
