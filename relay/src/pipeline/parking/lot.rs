//! Where messages are set aside: what a lot must be able to do. This file knows no database.

use std::future::Future;

use crate::pipeline::error::Error;
use crate::pipeline::message::{MessageRef, Messages};
use crate::pipeline::sink::Refused;

/// A durable place for messages that cannot be delivered, and for those of their keys behind them.
///
/// Called by [`Parking`](crate::pipeline::Parking) alone. A message is known by its position, so that parking it twice
/// changes nothing. People settle what is in it from outside, at any time.
pub trait Lot: Send {
    /// What is in it and not settled. Called at opening, and again when something was settled.
    fn load(&mut self) -> impl Future<Output = Result<Loaded, Error>> + Send;

    /// What was settled at or above the position `from`: delivered out of the lot, skipped or discarded.
    fn settled(&mut self, from: u128) -> impl Future<Output = Result<Vec<Settled>, Error>> + Send;

    /// Makes entries durable, all or none, before it returns. One that is in it already stays as it is.
    fn park(&mut self, entries: &[Entry<'_>]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits until somebody asked for something, or until what is in the lot is no longer what was loaded. May also
    /// return for no reason. Cancel safe.
    fn asked(&mut self) -> impl Future<Output = ()> + Send;

    /// What shall be delivered now, in the order of positions, at most so much: what was asked for and what waits behind
    /// nothing any more. None of it has an earlier message of its key in the lot that shall stay.
    fn due(&mut self, limit: RunLimit) -> impl Future<Output = Result<Messages, Error>> + Send;

    /// Notes, all or nothing, which of the due messages are durable and which were refused again.
    fn conclude(&mut self, delivered: &[u128], refused: &[Returned]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What a lot says of itself.
#[derive(Debug)]
pub enum Loaded {
    /// It can be used.
    Ready(Holding),
    /// There is none: nothing can be parked.
    Absent {
        /// Why, as a fragment.
        why: String,
        /// What a person can do about it, as a sentence.
        mend: String,
    },
}

/// What is in a lot.
#[derive(Debug, Default)]
pub struct Holding {
    /// Everything that is not settled.
    pub rows: Vec<HeldRow>,
    /// The greatest position that is settled.
    pub newest_settled: Option<u128>,
}

/// A message in the lot, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// Its position.
    pub position: u128,
    /// When it was committed, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The topic it was meant for.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// What it counts for, see [`weight`].
    pub bytes: u64,
}

/// A message that was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Its position.
    pub position: u128,
    /// When it was committed, in milliseconds since 1970: tells it from another one that has its position since the
    /// database was restored elsewhere.
    pub timestamp_ms: i64,
}

/// A message to park.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'m> {
    /// The message.
    pub message: MessageRef<'m>,
    /// The name of its route.
    pub route: &'m str,
    /// Why it is parked.
    pub cause: Cause<'m>,
}

/// Why a message is parked.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'m> {
    /// It cannot be delivered.
    Refused {
        /// Why.
        refused: &'m Refused,
        /// Its source could not shape it, so that what is kept may not be all of it.
        unfit: bool,
    },
    /// It waits behind another one of its key.
    Waiting,
}

/// A message that was refused when it was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Its position.
    pub position: u128,
    /// Why.
    pub refused: Refused,
}

/// How much is tried at once.
#[derive(Debug, Clone, Copy)]
pub struct RunLimit {
    /// Messages.
    pub events_max: usize,
    /// Bytes; a larger message passes alone.
    pub bytes_max: u64,
}

/// What a message counts for in a lot, in bytes: its key, value and headers.
#[must_use]
pub fn weight(message: &MessageRef<'_>) -> u64 {
    let headers = message.headers().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
    let content = message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
    (content + headers.sum::<usize>()) as u64
}
