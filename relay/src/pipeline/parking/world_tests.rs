//! The two ends between which parking is tested: a sink that refuses what it is told to, and a lot in memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use crate::pipeline::parking::{Cause, Entry, HeldRow, Holding, Loaded, Lot, Returned, RunLimit, Settled, weight};
use crate::pipeline::sink::{Durable, ReceiptSender};
use crate::pipeline::{End, Error, Kind, Message, Messages, Progress, Receipt, Refused, Sink};

/// What the sink will not take, what it took, and the receipts that are open.
#[derive(Default)]
pub(super) struct World {
    /// Positions that are refused beforehand.
    pub(super) refuses: HashSet<u128>,
    /// Topics that are refused beforehand.
    pub(super) no_topics: HashSet<&'static str>,
    /// Positions that are refused only once they were sent.
    pub(super) rejects: HashSet<u128>,
    /// Those of them that are told of once when they are sent again, as a sink does that remembers.
    pub(super) rejected: HashSet<u128>,
    /// Position, topic and key of what was sent, in order.
    pub(super) sent: Vec<(u128, String, String)>,
    /// Receipts are kept open instead of resolved.
    pub(super) holds: bool,
    pub(super) receipts: Vec<ReceiptSender>,
    pub(super) lot: BTreeMap<u128, Row>,
    /// There is no lot.
    pub(super) no_lot: bool,
    /// The lot is away.
    pub(super) away: bool,
    /// How many unsettled rows the relay knows of.
    pub(super) believed: usize,
}

/// A row of the lot in memory.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) state: &'static str,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) timestamp_ms: i64,
    pub(super) bytes: u64,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) struct TestSink(pub(super) Shared);

impl Sink for TestSink {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        let mut world = self.0.lock().unwrap();
        let mut refused = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let original = message.topic() != "dead";
            if world.rejected.remove(&message.position()) {
                refused.push(Refused::new(index, "rejected"));
            } else if (original && world.refuses.contains(&message.position()))
                || world.no_topics.contains(message.topic())
            {
                refused.push(Refused::new(index, format!("no room in {}", message.topic())));
            }
        }
        Ok(refused)
    }

    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        let mut world = self.0.lock().unwrap();
        let mut fate = Ok(Durable::default());
        for (index, message) in messages.iter().enumerate() {
            if world.rejects.contains(&message.position()) {
                // As a broker's: what comes after it is not accepted.
                world.rejected.insert(message.position());
                fate = match index + 1 == messages.len() {
                    true => Ok(Durable { refused: vec![Refused::new(index, "rejected")], split: None }),
                    false => Err(Error::new(End::Sink, Kind::Refused, "rejected")),
                };
                break;
            }
            let key = message.key().map_or("-".into(), |key| String::from_utf8_lossy(key).into_owned());
            world.sent.push((message.position(), message.topic().to_owned(), key));
        }
        let (sender, receipt) = Receipt::pending();
        match world.holds {
            true => world.receipts.push(sender),
            false => sender.resolve(fate),
        }
        Ok(receipt)
    }

    async fn record(&mut self, _progress: Progress) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    async fn reset(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(self, _deadline: Duration) -> Result<(), Error> {
        Ok(())
    }
}

pub(super) struct TestLot(pub(super) Shared);

impl TestLot {
    fn reach(&self) -> Result<MutexGuard<'_, World>, Error> {
        let world = self.0.lock().unwrap();
        match world.away {
            true => Err(Error::new(End::Sink, Kind::Unavailable, "the lot is away")),
            false => Ok(world),
        }
    }
}

fn unsettled(row: &Row) -> bool {
    matches!(row.state, "parked" | "waiting" | "retry")
}

impl Lot for TestLot {
    async fn load(&mut self) -> Result<Loaded, Error> {
        let mut world = self.reach()?;
        world.believed = world.lot.values().filter(|row| unsettled(row)).count();
        if world.no_lot {
            return Ok(Loaded::Absent { why: "there is no table".into(), mend: "Run `postrider migrate`.".into() });
        }
        let rows = world.lot.iter().filter(|(_, row)| unsettled(row)).map(|(position, row)| HeldRow {
            position: *position,
            timestamp_ms: row.timestamp_ms,
            topic: row.topic.clone(),
            key: row.key.clone(),
            bytes: row.bytes,
        });
        let newest_settled = world.lot.iter().rev().find(|(_, row)| !unsettled(row)).map(|(position, _)| *position);
        Ok(Loaded::Ready(Holding { rows: rows.collect(), newest_settled }))
    }

    async fn settled(&mut self, from: u128) -> Result<Vec<Settled>, Error> {
        let world = self.reach()?;
        let settled = world.lot.range(from..).filter(|(_, row)| !unsettled(row));
        Ok(settled.map(|(position, row)| Settled { position: *position, timestamp_ms: row.timestamp_ms }).collect())
    }

    async fn park(&mut self, entries: &[Entry<'_>]) -> Result<(), Error> {
        let mut world = self.reach()?;
        for entry in entries {
            let (state, reason) = match entry.cause {
                Cause::Refused { refused, .. } => ("parked", refused.reason.clone()),
                Cause::Waiting => ("waiting", String::new()),
            };
            let message = entry.message;
            world.lot.entry(message.position()).or_insert_with(|| Row {
                topic: message.topic().to_owned(),
                key: message.key().map(<[u8]>::to_vec),
                state,
                reason,
                attempts: 0,
                timestamp_ms: message.timestamp_ms(),
                bytes: weight(&message),
            });
        }
        world.believed = world.lot.values().filter(|row| unsettled(row)).count();
        Ok(())
    }

    async fn asked(&mut self) {
        let asked = {
            let world = self.0.lock().unwrap();
            let rows: Vec<&Row> = world.lot.values().filter(|row| unsettled(row)).collect();
            rows.len() != world.believed || rows.iter().any(|row| row.state == "retry")
        };
        if !asked {
            std::future::pending::<()>().await;
        }
    }

    async fn due(&mut self, limit: RunLimit) -> Result<Messages, Error> {
        let world = self.reach()?;
        let mut messages = Messages::over(Bytes::new());
        for (position, row) in world.lot.iter().filter(|(_, row)| matches!(row.state, "retry" | "waiting")) {
            let same = |other: &Row| other.key.is_some() && (&other.topic, &other.key) == (&row.topic, &row.key);
            let behind = world.lot.range(..position).any(|(_, other)| other.state == "parked" && same(other));
            if !behind && messages.len() < limit.events_max.min(3) {
                let key = row.key.as_ref().map(|key| messages.keep(key));
                let (topic, timestamp_ms) = (Arc::from(row.topic.as_str()), row.timestamp_ms);
                let position = *position;
                messages.push(Message { topic, key, value: None, headers: 0..0, timestamp_ms, position, route: 0 });
            }
        }
        Ok(messages)
    }

    async fn conclude(&mut self, delivered: &[u128], refused: &[Returned]) -> Result<(), Error> {
        let mut world = self.reach()?;
        for position in delivered {
            world.lot.get_mut(position).expect("it was due").state = "delivered";
        }
        for Returned { position, refused } in refused {
            let row = world.lot.get_mut(position).expect("it was due");
            (row.state, row.attempts, row.reason) = ("parked", row.attempts + 1, refused.reason.clone());
        }
        Ok(())
    }
}
