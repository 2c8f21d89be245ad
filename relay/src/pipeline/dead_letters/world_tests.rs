//! The two ends between which dead letters are tested: a sink that refuses what it is told to, and letters in memory that
//! several processes share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::pipeline::assigned::Assigned;
use crate::pipeline::dead_letters::{
    DeadLetterOptions, DeadLetters, Delivered, Identity, Letter, Letters, News, Noted, Order, Place,
};
use crate::pipeline::message::{Cut, Message, Messages, Part};
use crate::pipeline::parking::KeyHash;
use crate::pipeline::sink::{AWAITED, Durable, Receipt, Refused, Sink, Split};
use crate::pipeline::source::Progress;
use crate::pipeline::status::Status;
use crate::pipeline::{End, Error, Kind};
use crate::telemetry::Metrics;

/// A batch as the service got it: its name, and the offsets.
pub(super) type Sent = (u128, i64, i64, Vec<i64>);

/// Everything that outlives a process.
#[derive(Default)]
pub(super) struct World {
    /// Offsets that are refused beforehand.
    pub(super) refuses: HashSet<i64>,
    /// Offsets that are refused beforehand because another record is not there yet.
    pub(super) awaits: HashSet<i64>,
    /// Offsets that are refused beforehand because the record before of their key is not there yet.
    pub(super) depends: HashSet<i64>,
    /// Offsets that the service refuses, each alone; with others, the batch is to be cut.
    pub(super) rejects: HashSet<i64>,
    /// The service is away.
    pub(super) away: bool,
    /// It dies after it took the next batch, before it says so.
    pub(super) dies: bool,
    /// What came of a batch whose last part has not come.
    pub(super) begun: Vec<i64>,
    /// What the service took, by name: what comes again under its name is taken once.
    pub(super) taken: HashMap<(u128, Vec<i64>), ()>,
    /// What was sent, in order.
    pub(super) sent: Vec<Sent>,
    /// How often each offset was taken.
    pub(super) counts: HashMap<i64, u32>,
    /// What was written, in order.
    pub(super) log: Vec<News>,
    /// The records of the letters.
    pub(super) records: HashMap<i64, String>,
    /// What the log was when a letter's batch was sent: letters come before it.
    pub(super) condemned: Vec<(i64, u32, &'static str)>,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) struct TestSink(Shared);

fn offset(position: u128) -> i64 {
    i64::try_from(position).unwrap()
}

fn away() -> Error {
    Error::new(End::Sink, Kind::Unavailable, "away")
}

impl Sink for TestSink {
    async fn admit(&mut self, messages: &Messages) -> Result<Vec<Refused>, Error> {
        let world = self.0.lock().unwrap();
        let refused = messages.iter().enumerate().filter_map(|(index, message)| {
            let refused = Refused::new(index, "does not fit");
            match message.offset() {
                offset if world.refuses.contains(&offset) => Some(refused.with_code("type")),
                offset if world.awaits.contains(&offset) => Some(refused.with_code(AWAITED)),
                offset if world.depends.contains(&offset) => Some(Refused { depends: true, ..refused }),
                _ => None,
            }
        });
        Ok(refused.collect())
    }

    async fn send(&mut self, messages: Messages) -> Result<Receipt, Error> {
        let mut world = self.0.lock().unwrap();
        if world.away {
            return Err(away());
        }
        let part = messages.part();
        let mut offsets = if part.begins() { Vec::new() } else { std::mem::take(&mut world.begun) };
        offsets.extend(messages.iter().map(|message| offset(message.position())));
        if part.more {
            world.begun = offsets;
            return Ok(Receipt::done());
        }
        assert!(!offsets.is_empty(), "nothing is not sent");
        let (sender, receipt) = Receipt::pending();
        if let Some(at) = offsets.iter().position(|offset| world.rejects.contains(offset)) {
            sender.resolve(Ok(match offsets.len() {
                1 => Durable { refused: vec![Refused::new(0, "constraint").with_code("refused")], split: None },
                len => {
                    let after = if at == 0 { 1 } else { at.min(len - 1) };
                    Durable { refused: Vec::new(), split: Some(Split { after, reason: "constraint".into() }) }
                }
            }));
            return Ok(receipt);
        }
        let cut = messages.cut().expect("every batch tells what it was cut out of");
        world.sent.push((messages.salt(), cut.first, cut.last, offsets.clone()));
        if world.taken.insert((messages.salt(), offsets.clone()), ()).is_none() {
            for offset in offsets {
                *world.counts.entry(offset).or_default() += 1;
            }
        }
        let dies = std::mem::take(&mut world.dies);
        sender.resolve(if dies { Err(away()) } else { Ok(Durable::default()) });
        Ok(receipt)
    }

    async fn record(&mut self, _: Progress) -> Result<Receipt, Error> {
        Ok(Receipt::done())
    }

    async fn reset(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(self, _: Duration) -> Result<(), Error> {
        Ok(())
    }
}

pub(super) struct TestLetters {
    world: Shared,
    read: usize,
}

impl Letters for TestLetters {
    async fn news(&mut self) -> Result<Vec<News>, Error> {
        let world = self.world.lock().unwrap();
        let news = world.log[self.read..].to_vec();
        self.read = world.log.len();
        Ok(news)
    }

    async fn condemn(&mut self, letters: &[Letter<'_>]) -> Result<(), Error> {
        let mut world = self.world.lock().unwrap();
        for letter in letters {
            let key = letter.message.key().unwrap();
            let place = Place { partition: 0, offset: i64::try_from(world.log.len()).unwrap() };
            let identity = letter.identity.clone();
            world.records.insert(identity.offset, String::from_utf8(key.to_vec()).unwrap());
            let code = letter.refused.as_ref().map_or("waiting", |refused| refused.code);
            world.condemned.push((identity.offset, letter.attempts, code));
            let held_key = letter.ordered.then(|| KeyHash::of(&identity.topic, key));
            world.log.push(News::Letter(Noted {
                identity,
                place,
                held_key,
                waiting: matches!(code, "waiting" | AWAITED),
                bytes: 1,
            }));
        }
        Ok(())
    }

    async fn write(&mut self, orders: &[Order]) -> Result<(), Error> {
        self.world.lock().unwrap().log.extend(orders.iter().cloned().map(News::Order));
        Ok(())
    }

    async fn fetch(&mut self, wanted: &[(Identity, Place)]) -> Result<Messages, Error> {
        let world = self.world.lock().unwrap();
        let records = wanted.iter().map(|(identity, _)| (identity.offset, world.records[&identity.offset].as_str()));
        Ok(messages(&records.collect::<Vec<_>>()))
    }

    async fn heard(&mut self) {
        std::future::pending::<()>().await;
    }

    async fn close(self) {}
}

/// Records of topic `t` with these offsets and keys.
fn messages(records: &[(i64, &str)]) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    for (offset, key) in records {
        let key = Some(messages.keep(key.as_bytes()));
        let (topic, position) = (Arc::from("t"), u128::try_from(*offset).unwrap());
        messages.push(Message { topic, key, value: None, headers: 0..0, timestamp_ms: 0, position, route: 0 });
    }
    messages
}

/// A batch of partition 0 of topic `t`.
pub(super) fn batch(records: &[(i64, &str)]) -> Messages {
    let mut messages = messages(records);
    let (first, last) = (records[0].0, records[records.len() - 1].0);
    messages.set_cut(Cut { topic: Arc::from("t"), partition: 0, first, last, part: Part::default() });
    messages
}

/// The same as a part of a larger one, of which so many records came before.
pub(super) fn part(records: &[(i64, &str)], before: usize, more: bool) -> Messages {
    let mut messages = batch(records);
    let cut = messages.cut().unwrap().clone();
    messages.set_cut(Cut { part: Part { before, bytes_before: 0, more }, ..cut });
    messages
}

/// A process that holds partition 0 of `t`, where keys keep their order.
pub(super) async fn open(world: &Shared) -> DeadLetters<TestSink, TestLetters> {
    open_with(world, true, 100).await
}

pub(super) async fn open_with(world: &Shared, ordered: bool, letters_max: usize) -> DeadLetters<TestSink, TestLetters> {
    let topic: Arc<str> = Arc::from("t");
    let assigned = Assigned::default();
    assigned.add(&topic, 0);
    let options = DeadLetterOptions {
        topics: vec![Delivered { topic, route: 4, ordered }],
        attempts: 3,
        letters_max,
        assigned,
        by: "worker".into(),
        metrics: Metrics::new(),
        status: Arc::new(Status::new("source", "sink")),
    };
    let letters = TestLetters { world: Arc::clone(world), read: 0 };
    DeadLetters::open(TestSink(Arc::clone(world)), letters, options).await.unwrap()
}
