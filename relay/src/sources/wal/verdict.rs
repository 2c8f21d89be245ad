//! What the start would say to a progress record, asked without starting.

use crate::pipeline::{End, Error, Kind};
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::replication::{SystemIdentity, TimelineSwitch};
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
            accept_gap: false,
        },
        Some(&witness),
    ) {
        Ok(_) => Verdict::GoesOn,
        Err(error) if witness.system_id != identity.system_id => Verdict::OtherServer(error),
        Err(error) => Verdict::Gap(error),
    }
}
