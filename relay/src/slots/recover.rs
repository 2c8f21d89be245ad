//! The database's part of recovery: a slot that is gone or beyond use is made anew, and what it would have told is bridged from
//! the tables.
//!
//! Guarantee: the slot of the old name appears only once every row that was not delivered stands behind its beginning. Until then a
//! temporary slot holds the place, so that whatever ends this half way leaves no slot: the next run starts over, and nothing that
//! goes by a slot's confirmed place takes a row for delivered that is not.

mod bridge;
mod look;

use std::collections::HashSet;

use serde::Serialize;
use tokio_postgres::Client;

use crate::postgres::lsn::EndLsn;
use crate::postgres::options::ConnectOptions;
use crate::slots::error::Error;
use crate::slots::facts::SlotFacts;
use crate::slots::setup::{self, Table};
use crate::slots::{facts, session};

pub use bridge::{Bridged, Hold};
pub use look::{TableLook, Written};

/// Which rows of a table may not have been delivered; those of them that Kafka turns out to hold are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspects {
    /// Below this transaction every row is delivered, as it counts on the history that the progress record was written on.
    pub below: Option<u64>,
    /// Whether the database still has that history: then nothing else must be asked.
    pub same_history: bool,
    /// Rows that were created before this, in milliseconds since 1970, are delivered.
    pub from_ms: Option<i64>,
}

/// A table to bridge, and what a person says of it.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// The table.
    pub table: Table,
    /// Its column with the event's id.
    pub id: String,
    /// The header that holds it in a record, if one does.
    pub id_header: Option<String>,
    /// The column that tells when a row was written, if it is known.
    pub time: Option<String>,
    /// The column that tells in which order rows were written; `None` takes `seq`, or else the time.
    pub order: Option<String>,
}

/// What the database looks like before.
#[derive(Debug)]
pub struct Look {
    /// The slot, if it is there.
    pub slot: Option<SlotFacts>,
    /// Whether the server is a standby.
    pub standby: bool,
    /// `server_version_num`.
    pub version: i32,
    /// The database of the session.
    pub database: String,
    /// Slots that could still be made.
    pub slots_free: i64,
    /// The next transaction's number, as `xid8` counts.
    pub next_xid: u64,
    /// Who holds the lease of the slot, if anybody does.
    pub lease: Option<String>,
    /// The outboxes' tables, in their order.
    pub tables: Vec<TableLook>,
    /// Whether the tables of the publication are there to be published: names that are missing.
    pub unpublished: Vec<String>,
}

/// A session for recovery.
pub struct Recovery {
    client: Client,
    connect: ConnectOptions,
    slot: String,
}

/// What was asked for a moment ago, and where.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Requested {
    /// The tables that the relay will read, `schema.table`.
    pub tables: Vec<String>,
    /// Those that cannot be read piece by piece, each with the reason.
    pub refused: Vec<String>,
}

impl Recovery {
    /// Connects. No other session sets this database up until this one ends.
    ///
    /// # Errors
    /// Those of [`session::connect`] and [`setup::exclusively`].
    pub async fn connect(options: ConnectOptions, slot: &str) -> Result<Self, Error> {
        let client = session::connect(&options).await?;
        setup::exclusively(&client).await?;
        Ok(Self { client, connect: options, slot: slot.to_owned() })
    }

    /// Looks at everything that decides what is to be done.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn look(&self, publications: &[String], outboxes: &[Outbox]) -> Result<Look, Error> {
        look::look(&self.client, &self.slot, publications, outboxes).await
    }

    /// How many rows of a table are suspect, and of which ids `held` says that they are delivered.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn suspects(
        &mut self,
        table: &TableLook,
        suspects: &Suspects,
        held: impl Fn(&str) -> bool,
    ) -> Result<(u64, HashSet<String>), Error> {
        bridge::suspects(&mut self.client, table, &self.slot, suspects, held).await
    }

    /// When the oldest suspect row of a table was created, in milliseconds since 1970; `None` if there is none, or no such column.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn oldest_ms(&self, table: &TableLook, suspects: &Suspects) -> Result<Option<i64>, Error> {
        look::oldest_ms(&self.client, table, &self.slot, suspects).await
    }

    /// Drops the slot.
    ///
    /// # Errors
    /// [`Error::Database`], also if somebody reads it.
    pub async fn drop_slot(&self) -> Result<(), Error> {
        bridge::drop_slot(&self.client, &self.slot).await
    }

    /// Holds a place in the log by a temporary slot, which ends with this session. Waits for transactions that are open.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn hold(&self) -> Result<Hold, Error> {
        bridge::hold(&self.client, &self.slot).await
    }

    /// Publishes the suspect rows of all tables anew but those `delivered`, in one transaction, while writers wait.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was changed.
    pub async fn bridge(
        &self,
        hold: &Hold,
        tables: &[(TableLook, HashSet<String>)],
        suspects: &Suspects,
        block_ms_max: u64,
    ) -> Result<Bridged, Error> {
        bridge::bridge(&self.client, &self.slot, hold, tables, suspects, block_ms_max).await
    }

    /// Makes the slot where the held place is, and lets go of that; where the new slot begins.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn create(&self, hold: Hold, failover: bool) -> Result<EndLsn, Error> {
        bridge::create(&self.client, &self.slot, hold).await?;
        if failover {
            bridge::keep_over_failover(&self.connect, &self.slot).await?;
        }
        let slot = facts::slot(&self.client, &self.slot).await.map_err(failed("cannot look at the new slot"))?;
        Ok(slot.and_then(|slot| slot.confirmed_flush_lsn).unwrap_or(EndLsn::ZERO))
    }

    /// The tables of a publication that are captured: those of it that are none of `besides`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn captured(&self, publication: &str, besides: &[Table]) -> Result<Vec<Table>, Error> {
        look::captured(&self.client, publication, besides).await
    }

    /// Asks the relay to read the captured tables beside its stream, but those that it was asked for already and has not begun.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn read_again(&mut self, publication: &str, tables: &[Table]) -> Result<Requested, Error> {
        look::read_again(&mut self.client, &self.slot, publication, tables).await
    }
}

fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    let action = action.to_owned();
    move |source| Error::Database { action, source }
}
