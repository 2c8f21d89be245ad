//! What the start would say to a progress record, asked without starting.

use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::replication::{SystemIdentity, TimelineSwitch};
use crate::sources::wal::horizon::Horizon;
use crate::sources::wal::record::Record;
use crate::sources::wal::resume::{Facts, resume};

/// What the start would do.
#[derive(Debug)]
pub enum Verdict {
    /// It would go on from the record.
    GoesOn,
    /// The record is none of ours.
    Foreign(Error),
    /// The record is of another server.
    OtherServer(Error),
    /// Events may be missing.
    Gap(Error),
}

/// Judges the progress record `value` of `slot`, which is confirmed up to `confirmed` on the server of that identity.
#[must_use]
pub fn verdict(
    slot: &str,
    confirmed: EndLsn,
    identity: &SystemIdentity,
    history: &[TimelineSwitch],
    value: &[u8],
) -> Verdict {
    let witness = match Record::parse(value) {
        Ok(witness) => witness,
        Err(error) => {
            let context = format!("the progress record of slot {slot:?} cannot be read");
            return Verdict::Foreign(Error::new(End::Source, Kind::Setup, context).because(error));
        }
    };
    match resume(
        &Facts {
            slot,
            confirmed,
            identity,
            history,
            publications: witness.publications,
            alone_until: witness.alone_until,
            shown: CommitLsn::ZERO,
            next_xid: None,
            accept_gap: false,
        },
        Some(&witness),
    ) {
        Ok(_) => Verdict::GoesOn,
        Err(error) if witness.system_id != identity.system_id => Verdict::OtherServer(error),
        Err(error) => Verdict::Gap(error),
    }
}

/// What a progress record is worth on a server, whatever became of the slot.
#[derive(Debug)]
pub struct Standing {
    /// Whether everything that was delivered is still in the server's log or was before: transactions kept their numbers and places.
    pub same_history: bool,
    /// Why going on from the record would lose events silently, if it would.
    pub trouble: Option<Error>,
    /// What is delivered in the table's own terms, if that was written down and its place is one of the server's history.
    pub horizon: Option<Horizon>,
}

/// Judges the record of `slot`, which is confirmed up to `confirmed` if it can be read at all. `next_xid` is the number of the server's
/// next transaction: an older copy may have grown beyond the record's place by now, but has given out fewer.
#[must_use]
pub fn standing(
    slot: &str,
    confirmed: Option<EndLsn>,
    identity: &SystemIdentity,
    history: &[TimelineSwitch],
    next_xid: u64,
    record: &Record,
) -> Standing {
    let facts = |confirmed| Facts {
        slot,
        confirmed,
        identity,
        history,
        publications: record.publications,
        alone_until: record.alone_until,
        shown: CommitLsn::ZERO,
        next_xid: None,
        accept_gap: false,
    };
    let end = match history.iter().find(|switch| switch.timeline == record.timeline) {
        Some(switch) => Some(switch.switch_point),
        None => (record.timeline == identity.timeline).then_some(identity.flushed),
    };
    let end = end.filter(|_| record.system_id == identity.system_id);
    let is_ahead = |horizon: Horizon| horizon.below > next_xid;
    let same_history = end.is_some_and(|end| !record.is_beyond(end)) && !record.horizon.is_some_and(is_ahead);
    let trouble = resume(&facts(confirmed.unwrap_or(EndLsn::ZERO)), Some(record)).err();
    let trouble = trouble.or_else(|| {
        (!same_history).then(|| {
            let context =
                "the server has given out fewer transactions than were delivered: it was restored from an older copy";
            Error::new(End::Source, Kind::Gap, context)
        })
    });
    let horizon = record.horizon.filter(|horizon| end.is_some_and(|end| horizon.at <= end) && !is_ahead(*horizon));
    Standing { same_history, trouble, horizon }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        system_id: 7,
        timeline: 1,
        epoch: 1,
        commit_lsn: CommitLsn::new(0x900),
        ordinal: 0,
        messages: false,
        end_lsn: EndLsn::new(0x1000),
        publications: 0,
        alone_until: EndLsn::ZERO,
        horizon: Some(Horizon { below: 700, at: EndLsn::new(0xf00), time_ms: 0 }),
        polled: false,
    };

    fn stand(timeline: u32, flushed: u64, switch: Option<u64>, next_xid: u64) -> Standing {
        let identity = SystemIdentity { system_id: 7, timeline, flushed: EndLsn::new(flushed), database: None };
        let switch =
            switch.map(|at| TimelineSwitch { timeline: 1, switch_point: EndLsn::new(at), reason: String::new() });
        standing("orders", None, &identity, &switch.into_iter().collect::<Vec<_>>(), next_xid, &RECORD)
    }

    #[test]
    fn a_failover_that_lost_nothing_keeps_the_history() {
        for standing in [stand(1, 0x1000, None, 700), stand(2, 0x9000, Some(0x1000), 800)] {
            assert!(standing.same_history && standing.trouble.is_none());
            assert_eq!(standing.horizon, RECORD.horizon);
        }
    }

    #[test]
    fn one_that_lost_delivered_transactions_keeps_the_horizon_if_that_is_older() {
        let standing = stand(2, 0x9000, Some(0xf80), 800);
        assert!(!standing.same_history && standing.trouble.is_some());
        assert_eq!(standing.horizon, RECORD.horizon);
        assert_eq!(stand(2, 0x9000, Some(0xe00), 800).horizon, None);
    }

    #[test]
    fn an_older_copy_is_told_by_its_place_or_by_its_transactions() {
        for standing in [stand(1, 0x800, None, 600), stand(1, 0x9000, None, 699)] {
            assert!(!standing.same_history && standing.trouble.is_some() && standing.horizon.is_none());
        }
        assert!(!stand(3, 0x9000, None, 800).same_history, "a timeline that does not descend");
    }
}
