//! Advancing a slot: its reader never sees what lies before the new place.
//!
//! Guarantee: the relay's own slot is never moved past what its progress record, the witness, says to be delivered: that would be a
//! gap. <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>

use crate::postgres::lsn::EndLsn;
use crate::slots::change::{Found, Owner, foreign, literal, refusal, size, told};
use crate::slots::error::{Error, Refusal};
use crate::slots::session::Direct;
use crate::slots::setup::{Step, Table};

/// Rows that are counted at most.
const COUNT_MAX: i64 = 1_000_000;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To where the log ends now.
    Now,
    /// To this place.
    At(EndLsn),
}

/// What is known to be delivered through the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// It is not the relay's own: nothing of it is known here.
    NotOurs,
    /// Nothing was delivered yet, or no record of it is left.
    Nothing,
    /// Everything before this place, on the history of this server.
    Up(EndLsn),
    /// The record is of another history.
    OtherHistory,
    /// It could not be asked for.
    Unknown(String),
}

/// Rows of an outbox that may not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The table.
    pub table: Table,
    /// The number of the transaction from which on they may not be.
    pub from_xid: u64,
}

/// What advancing a slot takes, and costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The slot.
    pub slot: String,
    /// What it has confirmed.
    pub from: EndLsn,
    /// Where it will be.
    pub to: EndLsn,
    /// Log that its reader will not see, in bytes; nothing is to be done where it is 0.
    pub skipped_bytes: i64,
    /// What is skipped with it, as a sentence.
    pub lost: String,
    /// The statement.
    pub step: Step,
}

/// What it takes to advance the slot. `rows` tells how many rows of the outbox may not be delivered, where that is known.
///
/// # Errors
/// Why it is left alone.
pub fn advance(
    found: &Found,
    owner: Owner,
    target: Target,
    witness: &Witness,
    rows: Option<i64>,
) -> Result<Advance, Vec<Refusal>> {
    let slot = &found.slot;
    let name = &slot.name;
    let to = match target {
        Target::Now => found.server.position,
        Target::At(place) => place,
    };
    let unfit = unfit(found, owner);
    let from = match slot.confirmed_flush_lsn {
        Some(from) if unfit.is_empty() => from,
        _ => return Err(unfit),
    };
    let mut refusals = Vec::new();
    if to < from {
        refusals.push(refusal(
            format!("slot {name} has confirmed {from}, and {to} lies before it: a slot never goes back"),
            "name a later place; what was confirmed is gone from this slot, and only a new one, or the table, has rows again",
        ));
    }
    if to > found.server.position {
        refusals.push(refusal(
            format!("the log ends at {}, and {to} lies behind it", found.server.position),
            "name an earlier place, or say --to-now",
        ));
    }
    if to > from && owner == Owner::Relay {
        refusals.extend(gap(name, from, to, witness, rows));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let skipped = distance(from, to);
    Ok(Advance {
        slot: name.clone(),
        from,
        to,
        skipped_bytes: skipped,
        lost: match owner {
            Owner::Relay => "nothing: all of it is delivered".to_owned(),
            _ => format!("its reader never sees what was committed in {} of log from {from} to {to}", size(skipped)),
        },
        step: Step::new(
            format!("advance slot {name} from {from} to {to}"),
            format!("select end_lsn::text from pg_replication_slot_advance({}, '{to}')", literal(name)),
        ),
    })
}

/// Why no place at all would do.
fn unfit(found: &Found, owner: Owner) -> Vec<Refusal> {
    let slot = &found.slot;
    let name = &slot.name;
    let mut refusals: Vec<Refusal> = foreign(slot, owner).into_iter().collect();
    if !slot.is_logical() {
        refusals.push(refusal(
            format!(
                "slot {name} is a physical slot: a standby that reads by it would find the log gone that it needs next"
            ),
            "let the standby catch up, or drop its slot where there is none any more",
        ));
        return refusals;
    }
    if slot.temporary {
        refusals.push(refusal(
            format!("slot {name} is temporary: only the session that made it can move it"),
            "leave it alone: it goes with its session",
        ));
    }
    if slot.is_lost() {
        refusals.push(refusal(
            format!("slot {name} is lost: the server removed WAL that it needs"),
            match owner {
                Owner::Relay => "run `postrider slot recover`".to_owned(),
                _ => format!("run `postrider slot drop {name}`, and make it anew"),
            },
        ));
    }
    if let Some(reader) = slot.reader.as_ref().filter(|_| !slot.temporary) {
        refusals.push(refusal(
            format!("slot {name} is being read: {}", told(reader)),
            "stop its reader first: what it confirms would cross this",
        ));
    }
    if slot.synced && found.server.standby {
        refusals.push(refusal(
            format!("slot {name} is this standby's copy of the primary's: the server keeps it in step"),
            "advance it at the primary",
        ));
    }
    if slot.confirmed_flush_lsn.is_none() && refusals.is_empty() {
        refusals.push(refusal(
            format!("slot {name} is still being made: it has no place in the log yet"),
            "wait for the transactions that were open when it was begun",
        ));
    }
    refusals
}

/// Why the relay's own slot is not moved there.
fn gap(name: &str, from: EndLsn, to: EndLsn, witness: &Witness, rows: Option<i64>) -> Option<Refusal> {
    let delivered = match witness {
        Witness::Up(place) if *place >= to => return None,
        Witness::Up(place) => (*place).max(from),
        Witness::NotOurs | Witness::Nothing | Witness::OtherHistory | Witness::Unknown(_) => from,
    };
    let why = match witness {
        Witness::Up(place) => format!("only what lies before {place} is delivered"),
        Witness::NotOurs | Witness::Nothing => "no progress record says that anything was delivered".to_owned(),
        Witness::OtherHistory => "the progress record is of another server or timeline".to_owned(),
        Witness::Unknown(reason) => format!("the progress record cannot be read ({reason})"),
    };
    let missing = size(distance(delivered, to));
    let rows = match rows {
        None => String::new(),
        Some(1) => ", at most 1 row of the outbox".to_owned(),
        Some(rows) if rows > COUNT_MAX => format!(", more than {COUNT_MAX} rows of the outbox"),
        Some(rows) => format!(", at most {rows} rows of the outbox"),
    };
    Some(refusal(
        format!("{why}: to advance slot {name} to {to} would leave a gap of {missing} of log{rows}"),
        "start `postrider run`, which delivers it; or, if the slot is of no use, run `postrider slot recover`, which publishes what \
         is missing from the table",
    ))
}

fn distance(from: EndLsn, to: EndLsn) -> i64 {
    i64::try_from(to.as_u64().saturating_sub(from.as_u64())).unwrap_or(i64::MAX)
}

impl Undelivered {
    /// How many there are, counted as far as it matters; none where the table does not tell.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn count(&self, session: &Direct) -> Result<Option<i64>, Error> {
        const TELLS: &str = "
select exists (
  select
  from pg_catalog.pg_attribute a
  where a.attrelid = to_regclass($1::text) and a.attname = 'xid' and a.atttypid = 'xid8'::regtype and not a.attisdropped
)";
        let failed =
            |source| Error::Database { action: "cannot count the rows that are not delivered".to_owned(), source };
        let name = self.table.quoted();
        if !session.client.query_one(TELLS, &[&name]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(None);
        }
        let sql = format!(
            "select count(*) from (select from {name} where xid >= '{}'::xid8 limit {}) late",
            self.from_xid,
            COUNT_MAX + 1
        );
        Ok(Some(session.client.query_one(&sql, &[]).await.map_err(failed)?.get(0)))
    }
}

impl Advance {
    /// Moves the slot; where it is then.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run(&self, session: &Direct) -> Result<String, Error> {
        let moved = session.client.query_one(&self.step.sql, &[]).await;
        let row = moved.map_err(|source| Error::Database { action: format!("cannot {}", self.step.what), source })?;
        Ok(row.get(0))
    }
}
