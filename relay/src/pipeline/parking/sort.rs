//! Decides, message by message in order, what of a batch is sent, parked, dead-lettered or left out. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::pipeline::error::{End, Error, Kind};
use crate::pipeline::message::{MessageRef, Messages};
use crate::pipeline::parking::held::Held;
use crate::pipeline::parking::key::joined;
use crate::pipeline::parking::policy::{OnRefusal, Policies};
use crate::pipeline::sink::Refused;

/// The header that carries an event's id.
const ID_HEADER: &str = "id";

/// How much of an id is shown, in bytes: a UUID has 36.
const ID_SHOWN_BYTES: usize = 100;

/// What becomes of a batch, by the places of its messages; whoever is not named is sent.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Those to park, in order.
    pub(super) aside: Vec<Aside>,
    /// Those for a dead-letter topic, in order; the topic is that of their route.
    pub(super) dead: Vec<usize>,
    /// Those that are in the lot already or were settled, in order.
    pub(super) known: Vec<usize>,
}

/// A message to park.
#[derive(Debug)]
pub(super) struct Aside {
    /// Its place in the batch.
    pub(super) index: usize,
    /// Whether it is refused itself; else it waits behind another.
    pub(super) refused: bool,
}

/// What a batch is compared with.
pub(super) struct Against<'a> {
    /// What is in the lot.
    pub(super) held: &'a mut Held,
    /// What was settled, with its commit time.
    pub(super) settled: &'a HashMap<u128, i64>,
    /// What the routes do.
    pub(super) policies: &'a Policies,
    /// Those that a dead-letter topic refused as well.
    pub(super) undeliverable: &'a HashSet<usize>,
}

/// Sorts a batch of which `refused` cannot be delivered.
///
/// # Errors
/// `Refused` if a route wants the stream to wait for one of them.
pub(super) fn sort(
    messages: &Messages,
    refused: &BTreeMap<usize, Refused>,
    against: &mut Against<'_>,
) -> Result<Sorted, Error> {
    let mut sorted = Sorted::default();
    let mut newly_held: HashSet<Vec<u8>> = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        if against.held.has(&message) || against.settled.get(&message.position()) == Some(&message.timestamp_ms()) {
            sorted.known.push(index);
            continue;
        }
        let key = || message.key().map(|key| joined(message.topic(), key));
        if let Some(why) = refused.get(&index) {
            match against.policies.of(message.route()) {
                OnRefusal::Block => return Err(blocked(&message, why)),
                OnRefusal::DeadLetter(_) if !against.undeliverable.contains(&index) => sorted.dead.push(index),
                OnRefusal::DeadLetter(_) | OnRefusal::Park => {
                    if message.position() == 0 {
                        return Err(blocked(&message, why));
                    }
                    newly_held.extend(key());
                    sorted.aside.push(Aside { index, refused: true });
                }
            }
            continue;
        }
        let waits = against.held.is_behind(&message)
            || (!newly_held.is_empty() && key().is_some_and(|key| newly_held.contains(&key)));
        if waits {
            sorted.aside.push(Aside { index, refused: false });
        }
    }
    Ok(sorted)
}

/// The error that lets the stream wait at `message`.
pub(super) fn blocked(message: &MessageRef<'_>, why: &Refused) -> Error {
    let context = format!("{} cannot be delivered: {}", name(message), why.reason);
    let help = why.help.as_deref().unwrap_or("Make the broker accept it.");
    Error::new(End::Sink, Kind::Refused, context).with_help(format!("The stream waits here. {help}"))
}

/// Names a message without telling what it says.
pub(super) fn name(message: &MessageRef<'_>) -> String {
    let id = message.header(ID_HEADER).unwrap_or(b"unknown");
    let id = id[..id.len().min(ID_SHOWN_BYTES)].escape_ascii();
    let topic = message.topic().as_bytes();
    let topic = topic[..topic.len().min(2 * ID_SHOWN_BYTES)].escape_ascii();
    format!("event {id} at position {:032x} for topic \"{topic}\"", message.position())
}
