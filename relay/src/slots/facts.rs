//! What the catalog says about slots: the one place that asks it, for listing, watching, planning, checking and setting up.
//!
//! Every column that a version lacks is read as a field of the row that may be absent, so that one question fits PostgreSQL 15 to
//! 18. Questions go as unnamed statements, which a pooler between may hand to any of its sessions. Nothing is changed.

mod query;
mod server;

use serde::Serialize;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::postgres::lsn::EndLsn;
use crate::slots::error::Error;

#[cfg(test)]
pub(crate) use server::plain as plain_server;
pub use server::{OldestTransaction, ServerFacts};

/// A server and its slots at one moment, and the publications of the database that was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// The server, and the database through which it was asked.
    pub server: ServerFacts,
    /// Every slot of the server, by name.
    pub slots: Vec<SlotFacts>,
    /// Every publication of the database, by name.
    pub publications: Vec<PublicationFacts>,
}

/// A slot as the catalog shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// The output plugin of a logical slot.
    pub plugin: Option<String>,
    /// The database of a logical slot.
    pub database: Option<String>,
    /// Whether it goes with the session that made it.
    pub temporary: bool,
    /// Whether it hands a prepared transaction over before it is committed.
    pub two_phase: bool,
    /// Whether a failover keeps it (PostgreSQL 17 and later).
    pub failover: bool,
    /// Whether it is a standby's copy of the primary's slot (PostgreSQL 17 and later).
    pub synced: bool,
    /// Who reads it, if anybody does.
    pub reader: Option<Reader>,
    /// From where on the log is kept for it.
    #[serde(serialize_with = "text_of_position")]
    pub restart_lsn: Option<EndLsn>,
    /// Up to where its reader has confirmed, of a logical slot.
    #[serde(serialize_with = "text_of_position")]
    pub confirmed_flush_lsn: Option<EndLsn>,
    /// Log that is kept for it, in bytes.
    pub retained_bytes: Option<i64>,
    /// Log that was written after what its reader has confirmed, in bytes.
    pub lag_bytes: Option<i64>,
    /// `reserved`, `extended`, `unreserved` or `lost`; none if it keeps no log.
    pub wal_status: Option<String>,
    /// Log that may be written before the server may give it up, in bytes; none without `max_slot_wal_keep_size`.
    pub safe_wal_size: Option<i64>,
    /// Since when nobody reads it, in UTC (PostgreSQL 17 and later).
    pub inactive_since: Option<String>,
    /// How long nobody has read it, in seconds (PostgreSQL 17 and later).
    pub inactive_seconds: Option<f64>,
    /// Why the server gave it up (PostgreSQL 17 and later).
    pub invalidation_reason: Option<String>,
    /// Whether it was given up on a standby because rows that it needed were removed (PostgreSQL 16 and later).
    pub conflicting: Option<bool>,
    /// Transactions that began since the oldest whose rows it keeps from vacuum.
    pub xmin_age: Option<i64>,
    /// The same for rows of the system catalogs.
    pub catalog_xmin_age: Option<i64>,
    /// What was decoded for a logical slot.
    pub decoded: Option<Decoded>,
}

/// Whoever reads a slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reader {
    /// The process of the server that serves it.
    pub pid: i32,
    /// Its role.
    pub role: Option<String>,
    /// How it calls itself.
    pub application: Option<String>,
    /// From where it connects; none over a socket, and where it is hidden.
    pub client: Option<String>,
    /// Since when it is connected, in UTC; none where it is hidden.
    pub since: Option<String>,
    /// The publications that it asked for, where that can be seen.
    pub publications: Option<Vec<String>>,
}

/// What was decoded for a slot since its statistics were reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decoded {
    /// Transactions that were handed over.
    pub total_txns: i64,
    /// Bytes that were handed over.
    pub total_bytes: i64,
    /// Transactions that were larger than `logical_decoding_work_mem` and went to the server's disk first.
    pub spill_txns: i64,
    /// How often any of them did.
    pub spill_count: i64,
    /// Bytes that went to disk.
    pub spill_bytes: i64,
    /// Transactions that were handed over while they still ran.
    pub stream_txns: i64,
    /// Bytes that were handed over so.
    pub stream_bytes: i64,
    /// When the statistics were reset, in UTC.
    pub since: Option<String>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicationFacts {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Tables that it names; none if it publishes all, or all of a schema.
    pub tables: Option<i64>,
}

impl SlotFacts {
    /// Whether the server has given it up.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation_reason.is_some()
    }

    /// Whether it is a logical slot.
    #[must_use]
    pub const fn is_logical(&self) -> bool {
        self.plugin.is_some()
    }

    fn read(row: &Row, server: &ServerFacts) -> Self {
        let restart = position(row, "restart");
        let plugin: Option<String> = row.get("plugin");
        Self {
            name: row.get("name"),
            database: row.get("database"),
            temporary: row.get("temporary"),
            two_phase: row.get("two_phase"),
            failover: row.get("failover"),
            synced: row.get("synced"),
            reader: Reader::read(row),
            restart_lsn: restart,
            confirmed_flush_lsn: position(row, "confirmed"),
            retained_bytes: row.get("retained"),
            lag_bytes: row.get("lag"),
            wal_status: row.get("wal_status"),
            // A standby reckons it from a position that it does not keep up to date, and every server some for a slot that keeps
            // nothing.
            safe_wal_size: match restart {
                Some(restart) if server.standby => server.safe_bytes(restart),
                Some(_) => row.get("safe_wal_size"),
                None => None,
            },
            inactive_since: row.get("inactive_since"),
            inactive_seconds: row.get("inactive_seconds"),
            invalidation_reason: row.get("invalidation"),
            conflicting: row.get("conflicting"),
            xmin_age: row.get("xmin_age"),
            catalog_xmin_age: row.get("catalog_xmin_age"),
            decoded: plugin.is_some().then(|| Decoded::read(row)),
            plugin,
        }
    }
}

impl Reader {
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            pid: row.get::<_, Option<i32>>("active_pid")?,
            role: row.get("role"),
            application: row.get("application"),
            client: row.get("client"),
            since: row.get("since"),
            publications: row.get::<_, Option<String>>("publications").map(|names| identifiers(&names)),
        })
    }
}

impl Decoded {
    fn read(row: &Row) -> Self {
        Self {
            total_txns: row.get("total_txns"),
            total_bytes: row.get("total_bytes"),
            spill_txns: row.get("spill_txns"),
            spill_count: row.get("spill_count"),
            spill_bytes: row.get("spill_bytes"),
            stream_txns: row.get("stream_txns"),
            stream_bytes: row.get("stream_bytes"),
            since: row.get("stats_since"),
        }
    }
}

/// Reads all there is to know through one session.
///
/// # Errors
/// [`Error::Database`].
pub async fn read(client: &Client) -> Result<Facts, Error> {
    let server = server::read(client).await.map_err(failed)?;
    let slots = slots(client, &server, None).await.map_err(failed)?;
    let rows = client.query_typed(query::PUBLICATIONS, &[]).await.map_err(failed)?;
    let publications = rows.iter().map(|row| PublicationFacts {
        database: server.database.clone(),
        name: row.get("name"),
        owner: row.get("owner"),
        tables: row.get("tables"),
    });
    Ok(Facts { publications: publications.collect(), slots, server })
}

/// Reads one slot; none if there is no such slot.
///
/// # Errors
/// What the server or the connection said.
pub async fn slot(client: &Client, name: &str) -> Result<Option<SlotFacts>, tokio_postgres::Error> {
    let server = server::itself(client).await?;
    Ok(slots(client, &server, Some(name)).await?.pop())
}

async fn slots(
    client: &Client,
    server: &ServerFacts,
    name: Option<&str>,
) -> Result<Vec<SlotFacts>, tokio_postgres::Error> {
    let rows = client.query_typed(query::SLOTS, &[(&name, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| SlotFacts::read(row, server)).collect())
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "cannot read what the catalog says about slots".to_owned(), source }
}

fn position(row: &Row, column: &str) -> Option<EndLsn> {
    row.get::<_, Option<i64>>(column).map(|bytes| EndLsn::new(bytes.unsigned_abs()))
}

fn text_of_position<S: serde::Serializer>(position: &Option<EndLsn>, serializer: S) -> Result<S::Ok, S::Error> {
    match position {
        Some(position) => serializer.collect_str(position),
        None => serializer.serialize_none(),
    }
}

/// The names of a list of identifiers as SQL writes it: with commas between, and double quotes where they are needed.
fn identifiers(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => name.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            ' ' if !quoted => {}
            _ => name.push(letter),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

/// A slot for the tests of those who judge: logical, read by nobody, and hardly behind.
#[cfg(test)]
pub(crate) fn plain(name: &str) -> SlotFacts {
    SlotFacts {
        name: name.to_owned(),
        plugin: Some("pgoutput".to_owned()),
        database: Some("shop".to_owned()),
        temporary: false,
        two_phase: false,
        failover: false,
        synced: false,
        reader: None,
        restart_lsn: Some(EndLsn::new(1000)),
        confirmed_flush_lsn: Some(EndLsn::new(2000)),
        retained_bytes: Some(2 << 20),
        lag_bytes: Some(1 << 20),
        wal_status: Some("reserved".to_owned()),
        safe_wal_size: None,
        inactive_since: None,
        inactive_seconds: None,
        invalidation_reason: None,
        conflicting: None,
        xmin_age: None,
        catalog_xmin_age: Some(3),
        decoded: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_identifiers_is_taken_apart() {
        assert_eq!(identifiers("postrider"), ["postrider"]);
        assert_eq!(identifiers("\"a,b\",  c , \"d\"\"e\""), ["a,b", "c", "d\"e"]);
        assert_eq!(identifiers(""), [""; 0]);
    }
}
