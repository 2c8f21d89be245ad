//! Where a stream may start: what the witness says, what the slot says, and whether both can be true.
//!
//! Guarantee: a gap is never silent. Pure, so that every case is tested without a server.

use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::replication::{SystemIdentity, TimelineSwitch};
use crate::sources::wal::record::Record;

/// What the database knows, gathered before the start.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// The slot's name.
    pub(super) slot: &'a str,
    /// The slot's `confirmed_flush_lsn`.
    pub(super) confirmed: EndLsn,
    /// Who the server is.
    pub(super) identity: &'a SystemIdentity,
    /// The ancestors of its timeline; needed only if the witness is of another.
    pub(super) history: &'a [TimelineSwitch],
    /// The publications that will be read, as [`fingerprint`](crate::sources::wal::record::fingerprint) tells.
    pub(super) publications: u64,
    /// Up to where the outboxes will be read alone; zero if they will not.
    pub(super) alone_until: EndLsn,
    /// From where on no row of the snapshot shows a change; zero without one.
    pub(super) shown: CommitLsn,
    /// The number of the server's next transaction; `None` where it gives out none.
    pub(super) next_xid: Option<u64>,
    /// The operator accepts that events may be missing.
    pub(super) accept_gap: bool,
}

/// Decides the record to go on from. Its `end_lsn` is what START_REPLICATION is given.
pub(super) fn resume(facts: &Facts<'_>, witness: Option<&Record>) -> Result<Record, Error> {
    let Facts { publications, alone_until, .. } = *facts;
    let fresh = Record { publications, alone_until, ..Record::fresh(facts.identity, facts.confirmed) };
    // Without a witness nothing was confirmed by us, since a record is durable before its LSN is confirmed.
    let Some(witness) = witness else { return Ok(fresh) };
    let recounted = witness.publications != 0 && witness.publications != facts.publications;
    match gap(facts, witness) {
        None if witness.polled && !facts.accept_gap => Err(polled(facts.slot)),
        // The numbers of the changes that are still to come would mean others.
        None if recounted && witness.is_half() => Err(half(facts.slot, witness)),
        None => Ok(Record { timeline: facts.identity.timeline, publications, alone_until, polled: false, ..*witness }),
        // LSNs may start anew after a recovery: the epoch keeps positions growing.
        // What lies between was delivered by polling: whoever made the slot since had to say what becomes of the rest.
        Some(_) if facts.accept_gap || witness.polled => {
            let epoch = witness.epoch.checked_add(1).ok_or_else(|| {
                Error::new(End::Source, Kind::Setup, format!("the epoch of slot {:?} cannot grow any more", facts.slot))
                    .with_help("Use a slot of another name.")
            })?;
            Ok(Record { epoch, ..fresh })
        }
        Some(error) => Err(error),
    }
}

/// Whether rows were read as of a place that the log, which ends at `end`, does not have. This asks where a record lies in the log.
fn shows_beyond(shown: CommitLsn, end: EndLsn) -> bool {
    shown.as_u64() > end.as_u64()
}

/// The slot is the one that was read before the outbox was polled.
fn polled(slot: &str) -> Error {
    let context = format!(
        "slot {slot:?} still has what was delivered since by polling: read now, it would be delivered a second time, all of it"
    );
    Error::new(End::Source, Kind::Gap, context).with_help(
        "Stop the polling relays and run `postrider slot recover`: it makes the slot anew, and puts the rows that wait before \
         everything newer. Or accept the repetition with --accept-gap.",
    )
}

/// The publications were changed in the middle of a transaction.
fn half(slot: &str, witness: &Record) -> Error {
    let context = format!(
        "the transaction that committed at {} is delivered up to its change {} only, and slot {slot:?} shall now be read with          other publications: its changes would be counted differently, and some be taken for delivered",
        witness.commit_lsn, witness.ordinal
    );
    Error::new(End::Source, Kind::Setup, context).with_help(
        "Start once more with the former [source] publication and [capture] settings, until the progress record has passed          that transaction, and change them then.",
    )
}

/// The reason why going on from the witness would lose events silently, if there is one.
fn gap(facts: &Facts<'_>, witness: &Record) -> Option<Error> {
    let Facts { slot, confirmed, identity, history, shown, next_xid, .. } = facts;
    let gap = |context: String| {
        Error::new(End::Source, Kind::Gap, context).with_help(
            "Run `postrider slot recover`: it publishes from the outbox table what is missing, and lets the relay go on. As a \
             last resort, --accept-gap goes on from the slot's position without it.",
        )
    };
    if witness.system_id != identity.system_id {
        return Some(gap(format!(
            "slot {slot:?} is on cluster {}, but the progress record is of cluster {}: another server, or one restored \
             from a dump",
            identity.system_id, witness.system_id
        )));
    }
    if witness.timeline != identity.timeline {
        let Some(switch) = history.iter().find(|switch| switch.timeline == witness.timeline) else {
            return Some(gap(format!(
                "the server is on timeline {}, which does not descend from timeline {} of the progress record",
                identity.timeline, witness.timeline
            )));
        };
        if shows_beyond(*shown, switch.switch_point) {
            return Some(gap(format!(
                "the server failed over to timeline {} at {}, but the snapshot of the captured tables was read as of {shown}: rows \
                 were published that are lost in the database, and changes since would be taken for rows that were read",
                identity.timeline, switch.switch_point
            )));
        }
        if witness.is_beyond(switch.switch_point) {
            return Some(gap(format!(
                "the server failed over to timeline {} at {}, but delivery from timeline {} had reached {}, and the commit \
                 at {}: what was committed from {} to there was published and is lost in the database",
                identity.timeline,
                switch.switch_point,
                witness.timeline,
                witness.end_lsn,
                witness.commit_lsn,
                switch.switch_point
            )));
        }
    } else if shows_beyond(*shown, identity.flushed) {
        return Some(gap(format!(
            "the server's WAL ends at {}, but the snapshot of the captured tables was read as of {shown}: it was restored from an \
             older copy, and rows were published that are lost in the database",
            identity.flushed
        )));
    } else if witness.is_beyond(identity.flushed) {
        return Some(gap(format!(
            "the server's WAL ends at {}, but delivery had reached {}, and the commit at {}: it was restored from an older \
             copy, and what was committed between the two was published and is lost in the database",
            identity.flushed, witness.end_lsn, witness.commit_lsn
        )));
    }
    // The log of an older copy may have grown beyond the witness meanwhile.
    if let Some((horizon, next)) = witness.horizon.zip(*next_xid).filter(|(horizon, next)| horizon.below > *next) {
        return Some(gap(format!(
            "the server's next transaction is {next}, but transactions up to {} were delivered: it was restored from an older copy, \
             and what was committed since that was made was published and is lost in the database",
            horizon.below
        )));
    }
    if *confirmed > witness.end_lsn {
        return Some(gap(format!(
            "slot {slot:?} was confirmed up to {confirmed}, but events were delivered only up to {}: what was committed \
             between the two may be missing",
            witness.end_lsn
        )));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::sources::wal::horizon::Horizon;

    static IDENTITY: SystemIdentity =
        SystemIdentity { system_id: 7, timeline: 2, flushed: EndLsn::new(0x5000), database: None };

    const WITNESS: Record = Record {
        system_id: 7,
        timeline: 2,
        epoch: 4,
        commit_lsn: CommitLsn::new(0x900),
        ordinal: 3,
        messages: false,
        end_lsn: EndLsn::new(0x1000),
        publications: PUBLICATIONS,
        alone_until: EndLsn::ZERO,
        horizon: None,
        polled: false,
    };

    const PUBLICATIONS: u64 = 11;

    static HISTORY: LazyLock<[TimelineSwitch; 1]> =
        LazyLock::new(|| [TimelineSwitch { timeline: 1, switch_point: EndLsn::new(0x1000), reason: String::new() }]);

    fn facts(confirmed: u64) -> Facts<'static> {
        Facts {
            slot: "orders",
            confirmed: EndLsn::new(confirmed),
            identity: &IDENTITY,
            history: &*HISTORY,
            publications: PUBLICATIONS,
            alone_until: EndLsn::ZERO,
            shown: CommitLsn::ZERO,
            next_xid: None,
            accept_gap: false,
        }
    }

    fn refusal(facts: &Facts<'_>, witness: &Record) -> String {
        let error = resume(facts, Some(witness)).expect_err("a gap");
        assert_eq!(error.kind(), Kind::Gap);
        assert!(error.help().is_some());
        error.to_string()
    }

    #[test]
    fn after_polling_only_a_slot_that_is_newer_goes_on() {
        let witness = Record { polled: true, ..WITNESS };
        let error = resume(&facts(0x800), Some(&witness)).expect_err("the old slot has it all still");
        assert_eq!(error.kind(), Kind::Gap);
        assert!(error.help().expect("a mend").contains("postrider slot recover"));
        let record = resume(&facts(0x2000), Some(&witness)).expect("a slot that was made since");
        assert_eq!((record.end_lsn, record.epoch, record.polled), (EndLsn::new(0x2000), WITNESS.epoch + 1, false));
        let record = resume(&Facts { accept_gap: true, ..facts(0x800) }, Some(&witness)).expect("as was accepted");
        assert_eq!((record.end_lsn, record.polled), (WITNESS.end_lsn, false));
    }

    #[test]
    fn without_a_witness_the_stream_starts_at_the_slot() {
        let record = resume(&facts(0x500), None).expect("fresh");
        assert_eq!(record.end_lsn, EndLsn::new(0x500));
        assert_eq!((record.system_id, record.timeline, record.epoch), (7, 2, 1));
        assert_eq!(record.commit_lsn, CommitLsn::ZERO);
    }

    #[test]
    fn a_slot_at_or_behind_the_witness_starts_at_the_witness() {
        for confirmed in [0, 0xfff, 0x1000] {
            assert_eq!(resume(&facts(confirmed), Some(&WITNESS)).expect("no gap"), WITNESS);
        }
    }

    #[test]
    fn a_slot_ahead_of_the_witness_is_refused_with_the_missing_range() {
        let text = refusal(&facts(0x1001), &WITNESS);
        assert!(text.contains("0/1001") && text.contains("0/1000") && text.contains("\"orders\""), "{text}");
    }

    #[test]
    fn another_cluster_is_refused() {
        let text = refusal(&facts(0x500), &Record { system_id: 8, ..WITNESS });
        assert!(text.contains("cluster 7") && text.contains("cluster 8"), "{text}");
    }

    #[test]
    fn an_older_copy_whose_log_has_grown_is_known_by_the_number_of_its_next_transaction() {
        let horizon = Some(Horizon { below: 700, at: EndLsn::new(0x900), time_ms: 0 });
        let witness = Record { horizon, ..WITNESS };
        for (next_xid, refused) in [(None, false), (Some(699), true), (Some(700), false), (Some(90_000), false)] {
            let found = resume(&Facts { next_xid, ..facts(0x800) }, Some(&witness));
            assert_eq!(found.is_err(), refused, "{next_xid:?}");
        }
        let error = resume(&Facts { next_xid: Some(699), ..facts(0x800) }, Some(&witness)).unwrap_err();
        assert_eq!(error.kind(), Kind::Gap);
        assert!(error.to_string().contains("next transaction is 699"), "{error}");
    }

    #[test]
    fn a_failover_goes_on_if_nothing_delivered_was_lost_by_it() {
        let before = Record { timeline: 1, ..WITNESS };
        let record = resume(&facts(0x800), Some(&before)).expect("the switch is at the witness's end");
        assert_eq!(record, Record { timeline: 2, ..before });

        let after = Record { end_lsn: EndLsn::new(0x1001), ..before };
        let text = refusal(&facts(0x800), &after);
        assert!(text.contains("reached 0/1001") && text.contains("from 0/1000"), "{text}");

        // Inside a long commit the end is still that of the commit before: the commit itself must not be lost either.
        let inside = Record { commit_lsn: CommitLsn::new(0x1000), ..before };
        assert!(refusal(&facts(0x800), &inside).contains("the commit at 0/1000"));

        let elsewhere = Record { timeline: 9, ..WITNESS };
        assert!(refusal(&facts(0x800), &elsewhere).contains("does not descend"));
    }

    #[test]
    fn rows_that_were_read_beyond_the_log_are_a_gap() {
        let read = |shown| Facts { shown: CommitLsn::new(shown), ..facts(0x800) };
        assert_eq!(resume(&read(0x5000), Some(&WITNESS)).expect("the log ends there"), WITNESS);
        assert!(refusal(&read(0x5001), &WITNESS).contains("as of 0/5001"));
        let before = Record { timeline: 1, ..WITNESS };
        assert!(resume(&read(0x1000), Some(&before)).is_ok());
        assert!(refusal(&read(0x1001), &before).contains("failed over"));
    }

    #[test]
    fn inside_a_transaction_the_publications_must_stay() {
        let other = Facts { publications: 12, ..facts(0x800) };
        let whole = Record { end_lsn: EndLsn::new(0x2000), ..WITNESS };
        let half = Record { commit_lsn: CommitLsn::new(0x2000), ..whole };
        let unknown = Record { publications: 0, ..half };
        for record in [whole, unknown] {
            let from = resume(&other, Some(&record)).expect("nothing is counted on");
            assert_eq!(from, Record { publications: 12, ..record });
        }
        assert_eq!(resume(&facts(0x800), Some(&half)).expect("counted as before"), half);
        let error = resume(&other, Some(&half)).expect_err("counted anew");
        assert_eq!(error.kind(), Kind::Setup);
        assert!(error.to_string().contains("0/2000") && error.help().is_some(), "{error}");
    }

    #[test]
    fn a_server_restored_from_an_older_copy_is_refused() {
        for witness in [
            Record { end_lsn: EndLsn::new(0x5001), ..WITNESS },
            Record { commit_lsn: CommitLsn::new(0x5000), ..WITNESS },
        ] {
            assert!(refusal(&facts(0x800), &witness).contains("the server's WAL ends at 0/5000"));
        }
        let all = Record { commit_lsn: CommitLsn::new(0x4fd0), end_lsn: EndLsn::new(0x5000), ..WITNESS };
        assert_eq!(resume(&facts(0x800), Some(&all)).expect("nothing is missing"), all);
    }

    #[test]
    fn an_accepted_gap_starts_at_the_slot_in_the_next_epoch() {
        let record = resume(&Facts { accept_gap: true, ..facts(0x2000) }, Some(&WITNESS)).expect("accepted");
        assert_eq!((record.epoch, record.end_lsn), (5, EndLsn::new(0x2000)));
        // Where there is no gap, nothing is skipped though the operator would accept one.
        let record = resume(&Facts { accept_gap: true, ..facts(0x800) }, Some(&WITNESS)).expect("no gap");
        assert_eq!(record, WITNESS);
        let last = Record { epoch: u16::MAX, ..WITNESS };
        let error = resume(&Facts { accept_gap: true, ..facts(0x2000) }, Some(&last)).expect_err("no epoch left");
        assert_eq!(error.kind(), Kind::Setup);
    }
}
