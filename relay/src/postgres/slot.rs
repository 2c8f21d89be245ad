//! Creating and dropping logical replication slots: <https://www.postgresql.org/docs/current/protocol-replication.html>.

use crate::postgres::connection::Connection;
use crate::postgres::error::{During, Error, Kind};
use crate::postgres::lsn::EndLsn;
use crate::postgres::quote::identifier;

/// What a name may take in the server's catalogue.
const NAME_BYTES_MAX: usize = 63;

/// A slot to be created, for pgoutput.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSlot {
    /// Its name: lower-case letters, digits and underscores, at most 63.
    pub name: String,
    /// Dropped by the server when the session ends.
    pub temporary: bool,
    /// Synchronised to standbys, from PostgreSQL 17 on.
    pub failover: bool,
    /// What becomes of the snapshot that matches the slot's first position.
    pub snapshot: Snapshot,
}

impl NewSlot {
    /// A permanent slot without a snapshot.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), temporary: false, failover: false, snapshot: Snapshot::Nothing }
    }
}

/// What becomes of the snapshot that matches a new slot's first position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshot {
    /// None is taken.
    Nothing,
    /// Other sessions may use it, by name, until this session runs another command.
    Export,
    /// This session's open transaction uses it.
    Use,
}

/// What the server says of a slot it created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// Every transaction that commits after this is in the slot; earlier ones are in the snapshot.
    pub consistent_point: EndLsn,
    /// The name of the snapshot, if it was exported.
    pub snapshot_name: Option<String>,
}

impl Connection {
    /// Creates a logical slot for pgoutput. This waits, without a limit, for the transactions that are running now.
    ///
    /// # Errors
    ///
    /// [`Kind::Prerequisite`] when `wal_level` is not `logical`; [`Kind::Rejected`] when the slot exists (SQLSTATE 42710) or the
    /// name cannot be one; [`Kind::Unavailable`] when all slots are taken (53400).
    pub fn create_logical_slot(&mut self, slot: &NewSlot) -> Result<CreatedSlot, Error> {
        check_name(&slot.name)?;
        let temporary = if slot.temporary { " TEMPORARY" } else { "" };
        let failover = if slot.failover { ", FAILOVER true" } else { "" };
        let snapshot = match slot.snapshot {
            Snapshot::Nothing => "nothing",
            Snapshot::Export => "export",
            Snapshot::Use => "use",
        };
        let command = format!(
            "CREATE_REPLICATION_SLOT {}{temporary} LOGICAL \"pgoutput\" (SNAPSHOT '{snapshot}'{failover})",
            identifier(&slot.name)
        );
        let context = format!("creating replication slot {:?}", slot.name);
        let rows = self.command(&command, During::SlotCommand, &context, None)?;
        let [name, consistent_point, snapshot_name, _plugin] = one_row(rows, &context)?;
        let consistent_point = consistent_point
            .unwrap_or_default()
            .parse()
            .map_err(|error| Error::with_source(Kind::Protocol, context, error))?;
        Ok(CreatedSlot { name: name.unwrap_or_default(), consistent_point, snapshot_name })
    }

    /// Drops a slot. If another session is using it, `wait` says whether to wait for that session's end or to fail.
    ///
    /// # Errors
    ///
    /// [`Kind::SlotMissing`]; [`Kind::SlotActive`] unless `wait`.
    pub fn drop_slot(&mut self, name: &str, wait: bool) -> Result<(), Error> {
        check_name(name)?;
        let wait_clause = if wait { " WAIT" } else { "" };
        let timeout = if wait { None } else { Some(crate::postgres::connection::COMMAND_TIMEOUT) };
        let command = format!("DROP_REPLICATION_SLOT {}{wait_clause}", identifier(name));
        let context = format!("dropping replication slot {name:?}");
        self.command(&command, During::SlotCommand, &context, timeout).map(drop)
    }
}

/// Refuses what cannot be a slot's name, in our words: in replication commands the server's own grammar would stumble over it.
/// <https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(valid) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Rejected,
        format!("{name:?} is no slot name: lower-case letters, digits and underscores only, {NAME_BYTES_MAX} at most"),
    ))
}

/// The only row of an answer that always has exactly one, with as many columns as its command documents.
pub(crate) fn one_row<const N: usize>(
    rows: Vec<crate::postgres::connection::Row>,
    context: &str,
) -> Result<[Option<String>; N], Error> {
    let row = rows.into_iter().next().and_then(|row| <[Option<String>; N]>::try_from(row).ok());
    row.ok_or_else(|| Error::new(Kind::Protocol, format!("{context}: the answer is not one row of {N} columns")))
}
