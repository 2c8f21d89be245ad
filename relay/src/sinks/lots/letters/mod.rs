//! Dead letters in Kafka: a topic of letters and, beside it, a small compacted topic of orders, which is the audit as well.
//!
//! Guarantees: a letter or an order is durable on all in-sync replicas before it is told to be; what is read is everything
//! that was written before it was asked for. A letter holds its record to the byte. Any number of processes may write and
//! read at the same time: a record's letter is known by where the record was read, an order by its name, and of an order the
//! newest form holds. Several groups may share the topics: each sees only what is its own.

mod creation;
mod log;
mod order;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::kafka::reachability::Reachability;
use crate::pipeline::dead_letters::{Identity, Letter, Letters, News, Order, Place};
use crate::pipeline::message::Message;
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error, Kind, Messages, Sink};
use crate::sinks::kafka::{Kafka, KafkaOptions};
use crate::sinks::lots::letters::log::Log;
use crate::sinks::lots::letters::wire::Read;
use crate::telemetry::Metrics;

pub use wire::{Details, Shape};

/// The largest letter, in bytes: a record of the usual largest size, in any shape, with all headers.
const LETTER_BYTES_MAX: usize = 10 << 20;

/// What the name of the topic of orders ends with.
const ORDERS: &str = "-orders";

/// How long orders wait at most to be looked at again by a process that was given their partition meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Where and how dead letters are kept.
#[derive(Debug, Clone)]
pub struct KafkaLettersOptions {
    /// How Kafka is reached and written to.
    pub kafka: KafkaOptions,
    /// The topic of the letters; that of the orders is called like it, with `-orders` at the end.
    pub topic: String,
    /// Who gives records up: the consumer group.
    pub job: String,
    /// The form of a letter's value.
    pub shape: Shape,
    /// How long letters are kept, if the topic is made now.
    pub retention: Duration,
    /// Replicas of the topics, if they are made now; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// How often to look for orders.
    pub poll_interval: Duration,
}

/// Dead letters in Kafka.
pub struct KafkaLetters {
    options: KafkaLettersOptions,
    topic: Arc<str>,
    orders: Arc<str>,
    kafka: Kafka,
    /// Something failed, so that the sink must be reset before it is used again.
    troubled: bool,
    log: Arc<Mutex<Log>>,
    bell: Arc<Notify>,
    watch: JoinHandle<()>,
}

impl KafkaLetters {
    /// Connects, and makes the topics that do not exist.
    ///
    /// # Errors
    /// `Unavailable` if no broker answers, `Setup` if a right is missing.
    pub async fn open(mut options: KafkaLettersOptions, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let kafka = &mut options.kafka;
        kafka.secured = kafka.security.properties()?;
        kafka.message_bytes_max = kafka.message_bytes_max.max(LETTER_BYTES_MAX);
        let secure = !kafka.secured.is_empty();
        let reachability = Arc::new(Reachability::new(&kafka.bootstrap_servers, secure, Arc::clone(&metrics)));
        let topic: Arc<str> = Arc::from(options.topic.as_str());
        let orders: Arc<str> = Arc::from(format!("{topic}{ORDERS}"));
        creation::create_missing(&options, (&topic, &orders), &reachability).await?;
        let log = Arc::new(Mutex::new(Log::start(&options.kafka, reachability)?));
        let (kafka, _) = Kafka::open(options.kafka.clone(), None, metrics).await?;
        let bell = Arc::new(Notify::new());
        let watch = tokio::spawn(watch(
            (Arc::clone(&log), Arc::clone(&bell)),
            [Arc::clone(&topic), Arc::clone(&orders)],
            options.poll_interval,
        ));
        Ok(Self { options, topic, orders, kafka, troubled: false, log, bell, watch })
    }

    /// Everything that letters and orders say of themselves, of what was not read so far: letters in the order of their
    /// places, then orders in theirs, each form of one that is still there.
    ///
    /// # Errors
    /// As [`KafkaLetters::open`].
    pub async fn survey(&mut self) -> Result<(Vec<Details>, Vec<Order>), Error> {
        let (topic, orders, job) = (Arc::clone(&self.topic), Arc::clone(&self.orders), self.options.job.clone());
        self.blocking(move |log| {
            // Orders are written after the letters that they name: read before, the letters are there as well.
            let (mut written, mut letters) = (Vec::new(), Vec::new());
            log.read_on(&orders, |read| written.extend(order_of(&read, &job)))?;
            log.read_on(&topic, |read| letters.extend(read.details().filter(|letter| letter.job == job)))?;
            letters.sort_by_key(|letter| letter.noted.place);
            Ok((letters, written))
        })
        .await
    }

    /// The record of a letter: its value and headers as they were.
    ///
    /// # Errors
    /// As [`KafkaLetters::open`].
    pub async fn content(&mut self, place: Place) -> Result<Option<Content>, Error> {
        let topic = Arc::clone(&self.topic);
        let found = self.blocking(move |log| {
            let mut found = None;
            log.read_at(&topic, &[(place.partition, place.offset)], |read| found = Some(read))?;
            Ok(found)
        });
        Ok(found.await?.and_then(|read| {
            let value = read.original_value()?;
            Some(Content { value, headers: read.original_headers().to_vec() })
        }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let log = Arc::clone(&self.log);
        let task = tokio::task::spawn_blocking(move || work(&mut log.lock().unwrap_or_else(PoisonError::into_inner)));
        task.await.unwrap_or_else(|error| {
            Err(Error::new(End::Sink, Kind::Broken, "the thread that reads dead letters ended early").because(error))
        })
    }

    /// Sends records and waits until they are durable.
    async fn publish(&mut self, messages: Messages) -> Result<(), Error> {
        if self.troubled {
            self.kafka.reset().await?;
        }
        // Given up halfway, it is troubled as well.
        self.troubled = true;
        if let Some(refused) = self.kafka.admit(&messages).await?.first() {
            self.troubled = false;
            return Err(self.refused(&refused.reason, refused.help.as_deref()));
        }
        let durable = self.kafka.send(messages).await?.await?;
        if let Some(refused) = durable.refused.first() {
            return Err(self.refused(&refused.reason, refused.help.as_deref()));
        }
        self.troubled = false;
        Ok(())
    }

    fn refused(&self, reason: &str, help: Option<&str>) -> Error {
        let context = format!("the topic {:?} of the dead letters takes no record: {reason}", self.options.topic);
        let help = help.unwrap_or("Make the broker accept it.");
        Error::new(End::Sink, Kind::Refused, context).with_help(format!("The stream waits here. {help}"))
    }
}

/// What a letter's record held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its value, if it had one.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letters for KafkaLetters {
    async fn news(&mut self) -> Result<Vec<News>, Error> {
        let (letters, orders) = self.survey().await?;
        let letters = letters.into_iter().map(|letter| News::Letter(letter.noted));
        Ok(letters.chain(orders.into_iter().map(News::Order)).collect())
    }

    async fn condemn(&mut self, letters: &[Letter<'_>]) -> Result<(), Error> {
        let mut messages = Messages::over(Bytes::new());
        let now = now_ms();
        for letter in letters {
            wire::write(&mut messages, letter, (&self.topic, &self.options.job), self.options.shape, now);
        }
        self.publish(messages).await
    }

    async fn write(&mut self, orders: &[Order]) -> Result<(), Error> {
        let mut messages = Messages::over(Bytes::new());
        let now = now_ms();
        for order in orders {
            let mark = messages.header_mark();
            let key = Some(messages.keep(order::key(order).as_bytes()));
            let value = Some(messages.keep(&order::value(order, &self.options.job)));
            let topic = Arc::clone(&self.orders);
            messages.push(Message { topic, key, value, headers: mark..mark, timestamp_ms: now, position: 0, route: 0 });
        }
        self.publish(messages).await
    }

    async fn fetch(&mut self, wanted: &[(Identity, Place)]) -> Result<Messages, Error> {
        let (topic, wanted) = (Arc::clone(&self.topic), wanted.to_vec());
        self.blocking(move |log| {
            let places: Vec<(i32, i64)> = wanted.iter().map(|(_, at)| (at.partition, at.offset)).collect();
            let mut found: HashMap<Place, Read> = HashMap::new();
            let is_wanted: std::collections::HashSet<(i32, i64)> = places.iter().copied().collect();
            log.read_at(&topic, &places, |read| {
                if is_wanted.contains(&(read.partition, read.offset)) {
                    found.insert(Place { partition: read.partition, offset: read.offset }, read);
                }
            })?;
            let mut messages = Messages::over(Bytes::new());
            for (identity, place) in &wanted {
                let restored = found.get(place).is_some_and(|read| read.restore(&mut messages));
                debug_assert!(restored || !found.contains_key(place), "a letter of ours reads back: {identity}");
            }
            Ok(messages)
        })
        .await
    }

    async fn heard(&mut self) {
        drop(tokio::time::timeout(LOOK_AGAIN, self.bell.notified()).await);
    }

    async fn close(self) {
        self.watch.abort();
    }
}

impl Drop for KafkaLetters {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Rings whenever there is something that was not read.
async fn watch((log, bell): (Arc<Mutex<Log>>, Arc<Notify>), topics: [Arc<str>; 2], interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let (log, topics) = (Arc::clone(&log), topics.clone());
        let look = tokio::task::spawn_blocking(move || {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, Error>(log.has_news(&topics[1])? || log.has_news(&topics[0])?)
        });
        match look.await {
            Ok(Ok(true)) => bell.notify_one(),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => debug!(error = error.chain(), "orders were not looked for; the next look will tell"),
            Err(error) => debug!(%error, "the look for orders ended early"),
        }
    }
}

fn order_of(read: &Read, job: &str) -> Option<Order> {
    order::parse(read.key.as_deref()?, read.value.as_deref()?, job)
}
