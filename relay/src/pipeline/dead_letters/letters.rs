//! What a place for dead letters must be able to do, and what it tells. This file knows no broker.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::pipeline::error::Error;
use crate::pipeline::message::{MessageRef, Messages};
use crate::pipeline::parking::KeyHash;
use crate::pipeline::sink::Refused;

/// A durable place for records that a worker gave up, and for what people decide about them.
///
/// Called by [`DeadLetters`](crate::pipeline::DeadLetters) alone. Several processes write to it, and all read what any wrote.
pub trait Letters: Send {
    /// What was written since it was asked the last time, all of it: the letters before the orders that name them.
    fn news(&mut self) -> impl Future<Output = Result<Vec<News>, Error>> + Send;

    /// Makes letters durable before it returns. They are told by [`news`](Letters::news) too, here or elsewhere.
    fn condemn(&mut self, letters: &[Letter<'_>]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes orders durable, in this order, before it returns. They are told by [`news`](Letters::news) too.
    fn write(&mut self, orders: &[Order]) -> impl Future<Output = Result<(), Error>> + Send;

    /// The records of these letters as they were when they were given up, in this order; one that is gone is left out.
    fn fetch(&mut self, wanted: &[(Identity, Place)]) -> impl Future<Output = Result<Messages, Error>> + Send;

    /// Waits until there is news. May also return for no reason. Cancel safe.
    fn heard(&mut self) -> impl Future<Output = ()> + Send;

    /// Lets go of it.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What names a record for ever: where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Where a letter lies among the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A record to give up.
#[derive(Debug, Clone)]
pub struct Letter<'m> {
    /// The record.
    pub message: MessageRef<'m>,
    /// What names it.
    pub identity: Identity,
    /// Why it is given up; `None`: it waits behind an earlier one of its key.
    pub refused: Option<Refused>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first, in milliseconds since 1970.
    pub failed_at_ms: i64,
    /// Whether later records of its key wait for it.
    pub ordered: bool,
}

/// A letter without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// What names it.
    pub identity: Identity,
    /// Where it lies.
    pub place: Place,
    /// Its key, if later records of its key wait for it.
    pub held_key: Option<KeyHash>,
    /// It was not refused, but waits behind an earlier one of its key.
    pub waiting: bool,
    /// The bytes of its key and value.
    pub bytes: u64,
}

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A record was given up.
    Letter(Noted),
    /// An order was given, or went on.
    Order(Order),
}

/// What shall become of letters of one partition. Its newest form is what holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name: the salt of what is delivered by it. Never 0.
    pub id: u128,
    /// What shall be done.
    pub verb: Verb,
    /// How far it is.
    pub step: Step,
    /// The topic of the records.
    pub topic: Arc<str>,
    /// Their partition.
    pub partition: i32,
    /// Their offsets, rising: what was asked for; once it runs, exactly what is delivered.
    pub offsets: Vec<i64>,
    /// Also those that were settled before.
    pub again: bool,
    /// Who gave it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it was done.
    pub done_at_ms: Option<i64>,
    /// Those that stay what they were, and why.
    pub returned: Vec<Returned>,
}

impl Order {
    /// The record of this offset.
    #[must_use]
    pub fn identity(&self, offset: i64) -> Identity {
        Identity { topic: Arc::clone(&self.topic), partition: self.partition, offset }
    }
}

/// What shall be done with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// They are delivered, as a person asked for.
    Replay,
    /// They are delivered, because nothing is left that they waited for.
    Release,
    /// They are given up for good.
    Drop,
}

impl Verb {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Release => "release",
            Self::Drop => "drop",
        }
    }
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing was done.
    Asked,
    /// What is delivered is decided, and may be delivered already. After a crash exactly that is delivered again.
    Running,
    /// Nothing is left to do.
    Done,
}

impl Step {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// A letter that stays one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The offset of its record.
    pub offset: i64,
    /// The class of the reason.
    pub why: Stays,
    /// Why, without any byte of it.
    pub reason: String,
}

/// Why an order leaves a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It was refused again.
    Refused,
    /// An earlier letter of its key stays.
    Behind,
    /// It was settled before, or another order names it.
    Settled,
    /// Its record is no longer kept.
    Gone,
    /// The order was cut in two, which name it now.
    Moved,
}

impl Stays {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Behind => "behind",
            Self::Settled => "settled",
            Self::Gone => "gone",
            Self::Moved => "moved",
        }
    }
}
