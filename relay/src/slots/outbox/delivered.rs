//! What the slots prove: which positions in the log every reader has passed.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use crate::slots::error::Error;

/// Every logical slot of this database, with the position it confirmed, as a number.
///
/// The server does not tell which publication a slot is read with, so each of them counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots(Vec<Slot>);

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// All that is committed before this was delivered through it.
    pub confirmed: u64,
}

/// A slot that keeps something from being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// It is not there, so nothing proves any delivery.
    Missing {
        /// Its name.
        slot: String,
    },
    /// It is there, and has not come far enough.
    Slot {
        /// What it is and how far it came.
        slot: Slot,
        /// How far it must come.
        needed: u64,
    },
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { slot } => write!(f, "slot {slot} does not exist, so nothing tells what was delivered"),
            Self::Slot { slot, needed } => {
                write!(f, "slot {} has confirmed {}, not yet {}", slot.name, lsn(slot.confirmed), lsn(*needed))
            }
        }
    }
}

/// Between two looks at a slot.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until the slot has confirmed `position`, as long as somebody reads it and at most `patience`; whether it has.
///
/// # Errors
/// [`Error::Database`].
pub async fn has_confirmed(client: &Client, slot: &str, position: u64, patience: Duration) -> Result<bool, Error> {
    const SLOT: &str = "
select (confirmed_flush_lsn - '0/0')::bigint, active
from pg_catalog.pg_replication_slots
where slot_name = $1 and slot_type = 'logical' and confirmed_flush_lsn is not null";
    // A commit, however empty, makes the server flush the log up to here; a standby commits nothing.
    const FLUSH: &str = "select case when not pg_is_in_recovery() then pg_current_xact_id()::text end";
    let failed = |source| Error::Database { action: format!("cannot read slot {slot}"), source };
    let deadline = Instant::now() + patience;
    client.query_one(FLUSH, &[]).await.map_err(failed)?;
    loop {
        let Some(row) = client.query_opt(SLOT, &[&slot]).await.map_err(failed)? else { return Ok(false) };
        if row.get::<_, i64>(0).unsigned_abs() >= position {
            return Ok(true);
        }
        if !row.get::<_, bool>(1) || Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A position in the log as Postgres prints it.
#[must_use]
pub fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff)
}

const SLOTS: &str = "
select slot_name::text, (confirmed_flush_lsn - '0/0')::bigint
from pg_catalog.pg_replication_slots
where slot_type = 'logical' and database = current_database() and confirmed_flush_lsn is not null
order by slot_name";

impl Slots {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn read(client: &Client) -> Result<Self, Error> {
        let rows = client.query(SLOTS, &[]).await;
        let rows = rows.map_err(|source| Error::Database { action: "cannot read the slots".to_owned(), source })?;
        let slot =
            |row: &tokio_postgres::Row| Slot { name: row.get(0), confirmed: row.get::<_, i64>(1).unsigned_abs() };
        Ok(Self(rows.iter().map(slot).collect()))
    }

    /// The slots that have not confirmed `position`; `own`, which must exist, first.
    #[must_use]
    pub fn behind(&self, own: &str, position: u64) -> Vec<Behind> {
        let missing = !self.0.iter().any(|slot| slot.name == own);
        let missing = missing.then(|| Behind::Missing { slot: own.to_owned() });
        let behind = self.0.iter().filter(|slot| slot.confirmed < position);
        missing.into_iter().chain(behind.map(|slot| Behind::Slot { slot: slot.clone(), needed: position })).collect()
    }
}

#[cfg(test)]
impl Slots {
    /// Slots by name and position.
    pub(crate) fn of(slots: &[(&str, u64)]) -> Self {
        Self(slots.iter().map(|(name, confirmed)| Slot { name: (*name).to_owned(), confirmed: *confirmed }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_must_have_passed_and_our_own_must_be_there() {
        let slot = |name: &str, confirmed| Slot { name: name.to_owned(), confirmed };
        let slots = Slots::of(&[("a", 0x1_0000_0010), ("b", 0x20)]);
        assert_eq!(slots.behind("a", 0x20), []);
        let behind = slots.behind("a", 0x21);
        assert_eq!(behind, [Behind::Slot { slot: slot("b", 0x20), needed: 0x21 }]);
        assert_eq!(behind[0].to_string(), "slot b has confirmed 0/20, not yet 0/21");
        assert_eq!(slots.behind("c", 0), [Behind::Missing { slot: "c".to_owned() }]);
        assert_eq!(lsn(0x1_0000_0010), "1/10");
    }
}
