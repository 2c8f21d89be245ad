//! What is to be done, decided from the witness and from what the database looks like. Pure.

use crate::app::recover::report::{self, Report, Witness};
use crate::app::recover::{Options, now};
use crate::calendar::iso8601;
use crate::kafka::held::Held;
use crate::pipeline::Error as PipelineError;
use crate::postgres::lsn::{CommitLsn, EndLsn};
use crate::postgres::replication::{SystemIdentity, TimelineSwitch};
use crate::slots::error::{Error, Refusal};
use crate::slots::facts::SlotFacts;
use crate::slots::recover::{Look, Suspects, TableLook};
use crate::sources::snapshot::SnapshotProgress;
use crate::sources::wal::{Horizon, Record, standing};

/// The highest sixteen bits of a position are its epoch.
const EPOCH_SHIFT: u32 = 112;

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Whether anything is.
    pub needed: bool,
    /// Why.
    pub why: String,
    /// Whether transactions kept their numbers and places since the witness was written.
    pub same_history: bool,
    /// Which rows may be missing in Kafka.
    pub suspects: Suspects,
    /// Whether there is a slot that must go.
    pub drops: bool,
    /// Where the slot goes on that can be kept: only the witness is behind it, and nothing could be bridged.
    pub kept: Option<EndLsn>,
    /// Whether the new slot is kept over a failover.
    pub failover: bool,
    witness: Record,
    identity: SystemIdentity,
    slot: String,
    slot_was: &'static str,
    tables: Vec<TableLook>,
    prefixes: Vec<String>,
    snapshot: bool,
}

impl Plan {
    pub(super) fn new(
        slot: &str,
        options: &Options,
        witness: Record,
        look: Look,
        (identity, history): (SystemIdentity, Vec<TimelineSwitch>),
        prefixes: Vec<String>,
    ) -> Result<Self, Error> {
        let usable = look.slot.as_ref().filter(|slot| !slot.is_lost());
        let confirmed = usable.and_then(|slot| slot.confirmed_flush_lsn);
        let standing = standing(slot, confirmed, &identity, &history, look.next_xid, &witness);
        let (needed, why) = why(slot, options, &look, standing.trouble.as_ref());
        if needed {
            let refusals = refusals(slot, options, &look);
            if !refusals.is_empty() {
                return Err(Error::Refused(refusals));
            }
        }
        let exact = standing.horizon.filter(|_| standing.same_history);
        let suspects = suspects(options, standing.same_history, exact, witness.horizon);
        let kept = confirmed.filter(|_| look.tables.is_empty() && !options.anew);
        Ok(Self {
            needed,
            why,
            same_history: standing.same_history,
            suspects,
            drops: look.slot.is_some() && kept.is_none(),
            kept,
            failover: options.failover || look.slot.as_ref().is_some_and(|slot| slot.failover),
            witness,
            identity,
            slot: slot.to_owned(),
            slot_was: match (&look.slot, confirmed) {
                (None, _) => "missing",
                (Some(_), None) => "lost",
                (Some(_), Some(_)) => "there",
            },
            tables: look.tables,
            prefixes,
            snapshot: options.snapshot,
        })
    }

    /// The outboxes' tables.
    pub(super) fn tables(&self) -> &[TableLook] {
        &self.tables
    }

    /// From when on events may be missing, in milliseconds since 1970, if the witness tells.
    pub(super) fn missing_since_ms(&self) -> Option<i64> {
        // Where the transaction tells which rows are meant, no moment was chosen.
        self.suspects.from_ms.or(self.witness.horizon.map(|horizon| horizon.time_ms))
    }

    /// What a snapshot's progress becomes. Its places in the log are not those of the new slot; one that was not complete begins anew.
    pub(super) fn snapshot(&self, before: Option<&SnapshotProgress>) -> Option<SnapshotProgress> {
        before.filter(|before| before.done).map(|_| SnapshotProgress::over())
    }

    /// Whether the captured tables must be asked for: a snapshot that was not complete begins anew by itself.
    pub(super) fn reads_again(&self, before: Option<&SnapshotProgress>) -> bool {
        before.is_none_or(|before| before.done)
    }

    /// The witness to go on from. `begins` is where the slot does, `horizon` what is delivered of the tables.
    pub(super) fn record(&self, begins: EndLsn, horizon: Option<Horizon>, held: Option<&Held>) -> Record {
        let seen = held.and_then(|held| held.newest).map_or(0, |newest| (newest >> EPOCH_SHIFT) as u16);
        let before = Record {
            timeline: self.identity.timeline,
            end_lsn: begins,
            // Nothing is half delivered any more, so that nothing is counted on.
            publications: 0,
            alone_until: EndLsn::ZERO,
            polled: false,
            horizon: horizon.or(self.witness.horizon.filter(|_| self.same_history)),
            ..self.witness
        };
        if self.same_history {
            return before;
        }
        Record {
            system_id: self.identity.system_id,
            epoch: self.witness.epoch.max(seen).saturating_add(1),
            commit_lsn: CommitLsn::ZERO,
            ordinal: 0,
            messages: false,
            ..before
        }
    }

    pub(super) fn report(&self, snapshot: Option<&SnapshotProgress>) -> Report {
        let horizon = self.witness.horizon;
        let witness = Witness {
            system_id: self.witness.system_id.to_string(),
            timeline: self.witness.timeline,
            epoch: self.witness.epoch,
            commit_lsn: self.witness.commit_lsn.to_string(),
            end_lsn: self.witness.end_lsn.to_string(),
            delivered_below: horizon.map(|horizon| horizon.below),
            time: horizon.map(|horizon| iso8601(horizon.time_ms)),
        };
        let mut report = Report::new(&self.slot, self.needed, &self.why, self.slot_was, witness);
        report.history = if self.same_history { "same" } else { "other" };
        report.rows_since = self.suspects.from_ms.map(iso8601);
        if self.needed {
            let to = (self.identity.flushed.to_string(), iso8601(now()));
            let mend = match (self.reads_again(snapshot), self.snapshot) {
                (false, _) => "the initial snapshot was not complete, and begins anew by itself",
                (true, true) => report::READ_AGAIN,
                (true, false) => "`postrider snapshot start` reads the tables again",
            };
            report.gone(&self.prefixes, to, mend);
        }
        report
    }
}

/// Whether there is anything to recover, and why.
fn why(slot: &str, options: &Options, look: &Look, trouble: Option<&PipelineError>) -> (bool, String) {
    let of_slot = match &look.slot {
        None => Some(format!("slot {slot:?} does not exist")),
        Some(found) if found.is_lost() => {
            let reason = found.invalidation_reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            Some(format!("slot {slot:?} was invalidated{reason}: the server removed WAL that it still needed"))
        }
        Some(_) => None,
    };
    let both: Vec<String> = of_slot.into_iter().chain(trouble.map(PipelineError::chain)).collect();
    match (both.is_empty(), options.anew) {
        (false, _) => (true, both.join("; ")),
        (true, true) => (true, "the slot shall be made anew".to_owned()),
        (true, false) => (false, format!("slot {slot:?} can go on from the progress record")),
    }
}

/// Which rows may be missing. Without a horizon, or a moment that a person names, nothing is known of any row.
fn suspects(options: &Options, same_history: bool, exact: Option<Horizon>, written: Option<Horizon>) -> Suspects {
    if let Some(horizon) = exact {
        return Suspects { below: Some(horizon.below), same_history: true, from_ms: None };
    }
    let margin = i64::try_from(options.margin.as_millis()).unwrap_or(i64::MAX);
    let since = options.since_ms.or(written.map(|horizon| horizon.time_ms.saturating_sub(margin)));
    let same_history = same_history && written.is_none();
    Suspects { below: written.map(|horizon| horizon.below), same_history, from_ms: since }
}

/// What stands in the way.
fn refusals(slot: &str, options: &Options, look: &Look) -> Vec<Refusal> {
    let refusal = |what: String, mend: &str| Refusal { what, mend: mend.to_owned() };
    let mut refusals = Vec::new();
    if look.standby {
        let mend = "name the primary in postgres.host, or promote this server first";
        refusals
            .push(refusal("this server is a standby, and rows can only be bridged on the primary".to_owned(), mend));
    }
    for publication in &look.unpublished {
        refusals.push(refusal(
            format!(
                "publication {publication} does not exist, and a slot reads only what is younger than its publication"
            ),
            "run `postrider init --backlog skip`, which makes it, and then this again",
        ));
    }
    refusals.extend(look.slot.as_ref().and_then(|found| foreign(slot, found, &look.database)));
    if let Some(holder) = look.lease.as_ref().filter(|_| !options.holds_lease) {
        let mend = "stop every relay of this slot, also those that poll, or wait until the lease has run out";
        refusals.push(refusal(format!("a relay works for slot {slot} under a lease: {holder}"), mend));
    }
    // A slot that goes makes room for one of the two.
    if look.slots_free + i64::from(look.slot.is_some()) < 2 {
        refusals.push(refusal(
            "recovery needs a second replication slot for a moment, and none is free".to_owned(),
            "drop a slot that nobody needs (`postrider slot list`), or raise max_replication_slots and restart the server",
        ));
    }
    refusals.extend(look.tables.iter().flat_map(unfit));
    refusals
}

/// Why a slot of that name is not ours to drop.
fn foreign(slot: &str, found: &SlotFacts, database: &str) -> Option<Refusal> {
    let refusal = |what: String, mend: &str| Some(Refusal { what, mend: mend.to_owned() });
    let rename = "name the relay's own slot in source.slot";
    if found.plugin.as_deref() != Some("pgoutput") || found.temporary {
        return refusal(
            format!("slot {slot} is not one that a relay reads: it is physical, temporary or of another plugin"),
            rename,
        );
    }
    if found.database.as_deref() != Some(database) {
        let of = found.database.as_deref().unwrap_or_default();
        return refusal(format!("slot {slot} belongs to database {of}, and this session is in {database}"), rename);
    }
    let reader = found.reader.as_ref()?;
    let named = reader.application.as_ref().map_or_else(String::new, |name| format!(", {name}"));
    let from = reader.client.as_ref().map_or_else(String::new, |client| format!(" from {client}"));
    refusal(
        format!("slot {slot} is being read by the backend with pid {}{named}{from}", reader.pid),
        "stop the relay that reads it, and run this again",
    )
}

/// Why the rows of a table cannot be published anew.
fn unfit(table: &TableLook) -> Vec<Refusal> {
    let name = table.table.quoted();
    if !table.exists {
        let mend = "correct outbox.table, or run `postrider migrate`".to_owned();
        return vec![Refusal { what: format!("the outbox table {name} does not exist"), mend }];
    }
    let mut refusals: Vec<Refusal> = table
        .obstacles
        .iter()
        .map(|obstacle| Refusal {
            what: format!(
                "{obstacle} would take part when rows of {name} are published anew, which deletes and inserts them"
            ),
            mend: "disable or drop it for the time of this command".to_owned(),
        })
        .collect();
    if !table.may_write {
        refusals.push(Refusal {
            what: format!("this role may not delete and insert rows of {name}"),
            mend: format!(
                "connect as one that may with --admin-url, or `grant insert, delete on {name}` to the relay's role"
            ),
        });
    }
    if table.order.is_none() {
        refusals.push(Refusal {
            what: format!("nothing tells in which order the rows of {name} were written"),
            mend: "name the column that does with --order".to_owned(),
        });
    }
    refusals
}
