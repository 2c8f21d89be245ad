//! Leaves out events that are here already: an idempotency key for each, claimed before the sink has it and done after.
//!
//! An optimisation that fails open, and on which nothing rests. A record that claims a key is never taken for a repetition,
//! however often it is delivered; only another record with the same id and time is, and only once the first is durable. While
//! Redis does not answer, nothing is left out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::pipeline::{Durable, Error, MessageRef, Messages, Progress, Receipt, ReceiptSender, Refused, Sink};
use crate::sinks::redis::options::RedisOptions;
use crate::sinks::redis::wire::Wire;
use crate::telemetry::Metrics;

/// The header with an event's id.
const ID: &str = "id";

/// What a key begins with.
const PREFIX: &str = "event_idempotency:";

/// How long a claim holds that is never done: longer than any batch is in flight.
const CLAIM: Duration = Duration::from_secs(600);

/// How long Redis may take over a batch's claims before they are done without.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long nothing is asked after Redis did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// A mark before the record that claimed a key.
const CLAIMED: u8 = b'c';
/// The same once the record is durable.
const DONE: u8 = b'd';

/// What is left out, and where that is remembered.
#[derive(Debug, Clone)]
pub struct OnceOptions {
    /// Where.
    pub redis: RedisOptions,
    /// The topics whose events have an id of their own.
    pub topics: Vec<Arc<str>>,
    /// How long a durable event is remembered.
    pub remember: Duration,
}

/// A sink that is not handed what it was handed before.
pub struct Once<S> {
    sink: S,
    keys: Keys,
}

/// Idempotency keys.
#[derive(Clone)]
struct Keys {
    options: OnceOptions,
    wire: Option<Wire>,
    /// Not before.
    retry: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// A key that a message of the batch has: its place, its name, and what names the record.
struct Claim {
    index: usize,
    key: String,
    record: String,
}

impl<S: Sink> Once<S> {
    /// Around `sink`; connects when the first event comes.
    pub fn new(sink: S, options: OnceOptions, metrics: Arc<Metrics>) -> Self {
        Self { sink, keys: Keys { options, wire: None, retry: None, metrics } }
    }
}

impl<S: Sink> Sink for Once<S> {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        self.sink.admit(messages).await
    }

    async fn send(&mut self, mut messages: Messages) -> Result<Receipt, Error> {
        let (claims, mut known) = self.keys.claims(&messages);
        if claims.is_empty() {
            return self.sink.send(messages).await;
        }
        let claims = self.keys.claim(claims, &mut known).await;
        let count = messages.len();
        if !known.is_empty() {
            debug!(known = known.len(), "events that are here already are left out");
            self.keys.metrics.deduplication.hits.inc_by(known.len() as u64);
            messages.remove(&known);
        }
        let inner = if messages.is_empty() { Receipt::done() } else { self.sink.send(messages).await? };
        let (sender, receipt) = Receipt::pending();
        let places: Vec<usize> = (0..count).filter(|index| known.binary_search(index).is_err()).collect();
        tokio::spawn(finish(inner, sender, places, claims, self.keys.clone()));
        Ok(receipt)
    }

    async fn record(&mut self, progress: Progress) -> Result<Receipt, Error> {
        self.sink.record(progress).await
    }

    async fn due(&mut self) {
        self.sink.due().await;
    }

    async fn attend(&mut self) -> Result<(), Error> {
        self.sink.attend().await
    }

    async fn probe(&mut self) -> Result<(), Error> {
        self.sink.probe().await
    }

    async fn reset(&mut self) -> Result<(), Error> {
        self.sink.reset().await
    }

    async fn close(self, deadline: Duration) -> Result<(), Error> {
        self.sink.close(deadline).await
    }
}

/// Waits until a batch is durable, marks its keys as done, and tells it in the places that the batch had.
async fn finish(inner: Receipt, sender: ReceiptSender, places: Vec<usize>, claims: Vec<Claim>, mut keys: Keys) {
    let fate = inner.await.map(|durable| back(durable, &places));
    let durable = match &fate {
        Ok(durable) if durable.split.is_none() => {
            let refused = |claim: &Claim| durable.refused.iter().any(|refused| refused.index == claim.index);
            claims.into_iter().filter(|claim| !refused(claim)).collect()
        }
        // What is not durable comes again, and claims its keys as its own.
        _ => Vec::new(),
    };
    keys.done(&durable).await;
    sender.resolve(fate);
}

/// The places of a batch as it was before some of it was left out.
fn back(mut durable: Durable, places: &[usize]) -> Durable {
    for refused in &mut durable.refused {
        refused.index = places.get(refused.index).copied().unwrap_or(refused.index);
    }
    if let Some(split) = &mut durable.split {
        split.after = places.get(split.after).copied().unwrap_or(split.after);
    }
    durable
}

impl Keys {
    /// The keys of a batch, and the places of those that repeat one of them: what becomes of the first becomes of both.
    fn claims(&self, messages: &Messages) -> (Vec<Claim>, Vec<usize>) {
        let partition = messages.cut().map_or(0, |cut| cut.partition);
        let (mut claims, mut repeated, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
        for (index, message) in messages.iter().enumerate() {
            let Some(claim) = self.key(index, &message, partition) else { continue };
            if keys.insert(claim.key.clone()) {
                claims.push(claim);
            } else {
                repeated.push(index);
            }
        }
        (claims, repeated)
    }

    /// The key of a message, if its topic has events with ids and it has one.
    fn key(&self, index: usize, message: &MessageRef<'_>, partition: i32) -> Option<Claim> {
        if !self.options.topics.iter().any(|topic| **topic == *message.topic()) {
            return None;
        }
        let id = message.header(ID).and_then(|id| str::from_utf8(id).ok()).filter(|id| is_id(id))?;
        let key = format!("{PREFIX}{id}:{}", message.timestamp_ms());
        let record = format!("{}/{partition}@{}", message.topic(), message.position());
        Some(Claim { index, key, record })
    }

    /// Claims keys. Adds to `known`, which rises, the places of those that are durable already as another record.
    async fn claim(&mut self, claims: Vec<Claim>, known: &mut Vec<usize>) -> Vec<Claim> {
        let commands: Vec<Cmd> = claims.iter().map(Claim::claim).collect();
        // Without an answer nothing is known.
        let answers = self.ask("claim idempotency keys", &commands).await.unwrap_or_default();
        let mut own = Vec::new();
        for (place, claim) in claims.into_iter().enumerate() {
            match answers.get(place) {
                Some(Value::BulkString(found)) if found.split_first() == Some((&DONE, claim.record.as_bytes())) => {
                    own.push(claim);
                }
                Some(Value::BulkString(found)) if found.first() == Some(&DONE) => known.push(claim.index),
                Some(_) => own.push(claim),
                None => {}
            }
        }
        known.sort_unstable();
        own
    }

    async fn done(&mut self, claims: &[Claim]) {
        let commands: Vec<Cmd> = claims.iter().map(|claim| claim.done(self.options.remember)).collect();
        if !commands.is_empty() {
            drop(self.ask("mark idempotency keys", &commands).await);
        }
    }

    /// Runs commands, unless Redis is away: then nothing, and not again for a while.
    async fn ask(&mut self, action: &str, commands: &[Cmd]) -> Option<Vec<Value>> {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            self.metrics.deduplication.unasked.inc_by(commands.len() as u64);
            return None;
        }
        let outcome = timeout(PATIENCE, self.run(action, commands)).await;
        let failed = match outcome {
            Ok(Ok(values)) => {
                self.retry = None;
                return Some(values);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("redis did not answer within {} ms", PATIENCE.as_millis()),
        };
        warn!(error = failed, "events are passed on without a look at their idempotency keys");
        self.metrics.deduplication.unasked.inc_by(commands.len() as u64);
        (self.wire, self.retry) = (None, Some(Instant::now() + PAUSE));
        None
    }

    async fn run(&mut self, action: &str, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => none.insert(Wire::open(&self.options.redis, Vec::new()).await?),
        };
        wire.run(action, commands).await
    }
}

impl Claim {
    /// Takes the key if nobody has it, and tells who had.
    fn claim(&self) -> Cmd {
        let mut command = self.mark(CLAIMED, CLAIM);
        command.arg("NX").arg("GET");
        command
    }

    fn done(&self, remember: Duration) -> Cmd {
        self.mark(DONE, remember)
    }

    fn mark(&self, mark: u8, keep: Duration) -> Cmd {
        let mut value = vec![mark];
        value.extend_from_slice(self.record.as_bytes());
        let mut command = cmd("SET");
        command.arg(&self.key).arg(value).arg("PX").arg(keep.as_millis() as u64);
        command
    }
}

/// Whether a header can be part of a key: a text of letters, digits and hyphens, as a UUID is.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Split;

    #[test]
    fn places_are_told_as_they_were_before_some_were_left_out() {
        let durable = Durable {
            refused: vec![Refused::new(0, "a"), Refused::new(2, "b")],
            split: Some(Split { after: 1, reason: String::new() }),
        };
        let told = back(durable, &[1, 4, 5]);
        assert_eq!(told.refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(told.split.map(|split| split.after), Some(4));
    }

    #[test]
    fn only_what_looks_like_an_id_becomes_part_of_a_key() {
        assert!(is_id("018f3c1e-7b1a-7c3d-9e5f-0123456789ab"));
        for id in ["", "a b", "a:b", "{a}", "*", &"x".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
