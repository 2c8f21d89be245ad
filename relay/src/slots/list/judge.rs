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

#[cfg(test)]
pub(in crate::slots) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::slots::facts::{self, OldestTransaction, Reader};

    const MIB: i64 = 1 << 20;

    fn reader(publications: Option<&[&str]>) -> Reader {
        let publications = publications.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Reader {
            pid: 7,
            role: Some("relay".to_owned()),
            application: Some("postrider".to_owned()),
            client: None,
            since: None,
            publications,
        }
    }

    fn ours() -> Ours {
        Ours {
            database: "shop".to_owned(),
            slot: "postrider".to_owned(),
            publications: vec!["postrider".to_owned()],
            role: "relay".to_owned(),
            application: "postrider".to_owned(),
        }
    }

    fn publication(name: &str) -> PublicationFacts {
        let (database, owner) = ("shop".to_owned(), "dba".to_owned());
        PublicationFacts { database, name: name.to_owned(), owner, tables: Some(1) }
    }

    /// A server with these slots, judged; its log grows by one MiB a second.
    pub(in crate::slots) fn judged(server: ServerFacts, slots: Vec<SlotFacts>, publications: &[&str]) -> Instance {
        let mut instance = Instance {
            places: vec!["shop".to_owned()],
            wal_bytes_per_second: Some(1_048_576.0),
            measured_seconds: 2.0,
            wal_disk_bytes: None,
            server,
            slots_in_all: slots.len(),
            slots: Vec::new(),
            publications: Vec::new(),
            hidden: None,
        };
        let day = Duration::from_secs(86_400);
        let options = Options { names: Vec::new(), orphan_after: day, window: day };
        let publications = publications.iter().map(|name| publication(name)).collect();
        judge(&mut instance, slots, publications, &[ours()], &options);
        instance
    }

    fn one(change: impl FnOnce(&mut SlotFacts, &mut ServerFacts)) -> Slot {
        let (mut slot, mut server) = (facts::plain("theirs"), facts::plain_server());
        change(&mut slot, &mut server);
        judged(server, vec![slot], &["postrider"]).slots.remove(0)
    }

    #[test]
    fn a_slot_is_ours_by_its_name_or_as_our_temporary_one_and_nobodys_when_it_was_left() {
        let owner = |change: fn(&mut SlotFacts)| one(|slot, _| change(slot)).owner;
        assert_eq!(owner(|_| {}), Owner::Foreign, "nobody knows since when");
        assert_eq!(owner(|slot| slot.name = "postrider".to_owned()), Owner::Ours);
        let elsewhere = |slot: &mut SlotFacts| {
            (slot.name, slot.database) = ("postrider".to_owned(), Some("other".to_owned()));
        };
        assert_eq!(owner(elsewhere), Owner::Foreign);
        let snapshot = |slot: &mut SlotFacts| (slot.temporary, slot.reader) = (true, Some(reader(None)));
        assert_eq!(owner(snapshot), Owner::Ours, "the relay's own, for a snapshot");
        assert_eq!(owner(|slot| slot.inactive_seconds = Some(86_399.0)), Owner::Foreign);
        assert_eq!(owner(|slot| slot.inactive_seconds = Some(86_400.0)), Owner::Orphan);
        assert_eq!(owner(|slot| slot.wal_status = Some("extended".to_owned())), Owner::Orphan);
        assert_eq!(owner(|slot| slot.wal_status = Some("lost".to_owned())), Owner::Orphan);
        let read = |slot: &mut SlotFacts| {
            (slot.wal_status, slot.reader) = (Some("extended".to_owned()), Some(reader(None)));
        };
        assert_eq!(owner(read), Owner::Foreign);
        let copy = |slot: &mut SlotFacts| (slot.synced, slot.inactive_seconds) = (true, Some(1e9));
        assert_eq!(owner(copy), Owner::Foreign, "a standby's copy is nobody's to drop");
    }

    #[test]
    fn what_holds_a_slot_back_is_the_reader_or_the_transaction_that_it_waits_for() {
        let transaction = OldestTransaction {
            pid: Some(9),
            role: None,
            application: None,
            state: None,
            prepared: None,
            database: None,
            transactions: 5,
            seconds: Some(60.0),
        };
        let read = |slot: &mut SlotFacts, retained: i64, lag: i64| {
            slot.reader = Some(reader(None));
            (slot.retained_bytes, slot.lag_bytes) = (Some(retained * MIB), Some(lag * MIB));
        };
        assert_eq!(one(|_, _| {}).held_by, Some(Hold::Nobody));
        assert_eq!(one(|slot, _| read(slot, 20, 1)).held_by, None);
        assert_eq!(one(|slot, _| read(slot, 500, 400)).held_by, Some(Hold::Reader));
        assert_eq!(one(|slot, _| read(slot, 500, 40)).held_by, None, "nothing is open: it will move by itself");
        let open = one(|slot, server| {
            read(slot, 500, 40);
            server.oldest_transaction = Some(transaction.clone());
        });
        assert_eq!(open.held_by, Some(Hold::Transaction(transaction.clone())));
        assert!(open.advice.iter().any(|advice| advice.contains("pg_terminate_backend(9)")), "{:?}", open.advice);
        let prepared = one(|slot, server| {
            read(slot, 500, 40);
            let prepared = Some("it's".to_owned());
            server.oldest_transaction = Some(OldestTransaction { pid: None, prepared, ..transaction.clone() });
        });
        assert!(prepared.advice[0].contains("rollback prepared 'it''s'"), "{:?}", prepared.advice);
        let hidden = one(|slot, server| {
            read(slot, 500, 40);
            server.sees_all = false;
        });
        assert_eq!(hidden.held_by, Some(Hold::Hidden));
        assert_eq!(one(|slot, _| slot.retained_bytes = None).held_by, None, "it keeps nothing");
    }

    #[test]
    fn an_idle_timeout_counts_for_slots_that_nobody_reads_and_that_keep_log() {
        let left = |change: fn(&mut SlotFacts)| {
            let slot = one(|slot, server| {
                (server.idle_timeout_seconds, slot.inactive_seconds) = (Some(100.0), Some(40.0));
                change(slot);
            });
            (slot.seconds_to_limit, slot.limit)
        };
        assert_eq!(left(|_| {}), (Some(60.0), Some("idle_replication_slot_timeout")));
        assert_eq!(left(|slot| slot.reader = Some(reader(None))), (None, None));
        assert_eq!(left(|slot| slot.synced = true), (None, None));
        assert_eq!(left(|slot| (slot.restart_lsn, slot.retained_bytes) = (None, None)), (None, None));
        assert_eq!(left(|slot| slot.safe_wal_size = Some(10 * MIB)), (Some(10.0), Some("max_slot_wal_keep_size")));
        assert_eq!(left(|slot| slot.wal_status = Some("lost".to_owned())), (None, None), "a lost slot has no limit");
    }

    #[test]
    fn a_publication_without_a_slot_is_told_only_where_every_slot_is_known() {
        let (mut ours, mut theirs) = (facts::plain("postrider"), facts::plain("theirs"));
        theirs.reader = Some(reader(Some(&["news"])));
        let without = |slots: &[&SlotFacts]| {
            let slots = slots.iter().map(|slot| (*slot).clone()).collect();
            let instance = judged(facts::plain_server(), slots, &["postrider", "news", "old"]);
            instance.publications.into_iter().map(|publication| publication.without_slot).collect::<Vec<_>>()
        };
        assert_eq!(without(&[]), [Some(true); 3]);
        assert_eq!(without(&[&ours, &theirs]), [Some(false), Some(false), Some(true)]);
        let unknown = facts::plain("unknown");
        assert_eq!(without(&[&ours, &unknown]), [Some(false), None, None]);
        theirs.database = Some("other".to_owned());
        assert_eq!(without(&[&ours, &theirs]), [Some(false), Some(true), Some(true)]);
        ours.plugin = Some("test_decoding".to_owned());
        assert_eq!(without(&[&ours]), [Some(true); 3], "it reads no publication");
        let mut gone = facts::plain("gone");
        gone.reader = Some(reader(Some(&["dropped"])));
        let instance = judged(facts::plain_server(), vec![gone], &["postrider"]);
        assert!(instance.slots[0].advice[0].contains("its publication \"dropped\" does not exist"));
    }

    #[test]
    fn what_is_lost_is_recovered_if_it_is_ours_and_dropped_if_not() {
        let lost = |name: &str| {
            one(|slot, _| {
                (slot.name, slot.invalidation_reason) = (name.to_owned(), Some("wal_removed".to_owned()));
            })
        };
        assert!(lost("postrider").advice[0].contains("(wal_removed): `postrider slot recover`"));
        assert!(lost("theirs").advice[0].ends_with("select pg_drop_replication_slot('theirs')"));
        let frozen = one(|slot, _| slot.catalog_xmin_age = Some(300_000_000));
        assert!(frozen.advice.iter().any(|advice| advice.contains("rows of 300000000 transactions")));
    }
}
