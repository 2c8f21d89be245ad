//! Every slot of any number of servers, judged: whose it is, how long it lasts, what holds it back, and what to do about it.
//!
//! Slots belong to a server and publications to a database: of two places on one server the slots are shown once, and the
//! publications of both. A place that does not answer hides no other.

mod advice;
mod judge;
mod look;

use std::time::Duration;

use serde::Serialize;

use crate::postgres::options::ConnectOptions;
use crate::postgres::retention::Outlook;
use crate::slots::facts::{OldestTransaction, PublicationFacts, ServerFacts, SlotFacts};

#[cfg(test)]
pub(in crate::slots) use judge::tests::judged;
pub use look::Survey;

/// A database through which a server is looked at.
#[derive(Debug, Clone)]
pub struct Place {
    /// What it is called here.
    pub name: String,
    /// How it is reached.
    pub connect: ConnectOptions,
    /// Log that the server's disk has room for, in bytes, if that is known.
    pub disk_bytes: Option<i64>,
    /// What of it is this relay's, if a relay reads there.
    pub ours: Option<Ours>,
}

/// What belongs to this relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// The database of the slot.
    pub database: String,
    /// The slot.
    pub slot: String,
    /// The publications that are read through it.
    pub publications: Vec<String>,
    /// The relay's role.
    pub role: String,
    /// How its sessions call themselves.
    pub application: String,
}

/// How to judge.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only slots of these names; all if there are none.
    pub names: Vec<String>,
    /// A slot that nobody has read for longer has no owner any more.
    pub orphan_after: Duration,
    /// The rate of the log is the average over so long.
    pub window: Duration,
}

/// What one look at all places showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listing {
    /// The servers that answered.
    pub servers: Vec<Instance>,
    /// The places that did not.
    pub unseen: Vec<Unseen>,
}

/// A place that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What it is called here.
    pub place: String,
    /// Why.
    pub error: String,
    /// What can be done about it, if that is known.
    pub help: Option<&'static str>,
}

/// A server and its slots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instance {
    /// The places through which it was looked at.
    pub places: Vec<String>,
    /// What it is.
    pub server: ServerFacts,
    /// How fast its log grows, in bytes a second; none before it was measured.
    pub wal_bytes_per_second: Option<f64>,
    /// Over how many seconds that is the average.
    pub measured_seconds: f64,
    /// Log that its disk has room for, in bytes, if that is known.
    pub wal_disk_bytes: Option<i64>,
    /// How many slots it has, those included that were not asked for.
    pub slots_in_all: usize,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// The publications of the databases that were asked.
    pub publications: Vec<Publication>,
    /// What is hidden from the role, and how to have it shown.
    pub hidden: Option<String>,
}

/// A slot, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slot {
    /// Whose it is.
    pub owner: Owner,
    /// What the catalog says.
    #[serde(flatten)]
    pub facts: SlotFacts,
    /// Whether its reader is as fast as the log grows.
    pub keeps_up: bool,
    /// Seconds until the first limit is reached; none if it keeps up, or if no limit comes nearer.
    pub seconds_to_limit: Option<f64>,
    /// The same as if it stayed where it is from now on: how long its reader may be away.
    pub seconds_if_stopped: Option<f64>,
    /// The setting that makes the limit that comes first.
    pub limit: Option<&'static str>,
    /// What keeps the log for it.
    pub held_by: Option<Hold>,
    /// What to do, the most urgent first.
    pub advice: Vec<String>,
}

/// Whose a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// This relay's.
    Ours,
    /// Somebody else's.
    Foreign,
    /// Nobody's, as far as can be known: nobody has read it for long, or it is lost.
    Orphan,
}

/// What keeps log for a slot, where it is more than a slot keeps that is well.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Hold {
    /// Nobody reads it.
    Nobody,
    /// Its reader confirms less than is written.
    Reader,
    /// A transaction is open: the slot would need the log from its beginning on.
    Transaction(OldestTransaction),
    /// Perhaps a transaction that is hidden from the role.
    Hidden,
}

/// A publication, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Publication {
    /// What the catalog says.
    #[serde(flatten)]
    pub facts: PublicationFacts,
    /// The slots that are known to read it.
    pub read_by: Vec<String>,
    /// Whether no slot reads it; none where that cannot be known, because of some slot it is not known what it reads.
    pub without_slot: Option<bool>,
}

impl Owner {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Foreign => "foreign",
            Self::Orphan => "orphan",
        }
    }
}

impl Slot {
    /// The slot as it stands, without what a person makes of it.
    fn new(facts: SlotFacts, owner: Owner, outlook: &Outlook, held_by: Option<Hold>) -> Self {
        let limit = outlook.left.or(outlook.if_stopped).map(|left| left.limit.setting());
        Self {
            owner,
            keeps_up: outlook.keeps_up,
            seconds_to_limit: outlook.left.map(|left| left.seconds),
            seconds_if_stopped: outlook.if_stopped.map(|left| left.seconds),
            limit,
            held_by,
            advice: Vec::new(),
            facts,
        }
    }
}
