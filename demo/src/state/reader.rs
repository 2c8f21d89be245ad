//! The independent consumer of captured tables: reads their topics from the beginning, on its own thread, and folds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::{Doing, Error, Result};
use crate::state::fold::{Folder, Record};
use crate::state::schema::FENCE;
use crate::topics::{self, on_to_the_end};

/// Partitions of each topic.
const PARTITIONS: i32 = 3;
/// How long one poll waits for a record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How long the last records may take to be read once the relay has stopped.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// How long a request to the broker may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// The topics of a run's captured tables.
#[derive(Debug, Clone)]
pub struct TableTopics {
    bootstrap: String,
    prefix: String,
    names: Vec<String>,
}

impl TableTopics {
    /// The topics of these tables: their names after `prefix`.
    pub fn new(bootstrap: &str, prefix: &str, tables: &[String]) -> Self {
        let names = tables.iter().map(|table| format!("{prefix}{table}")).collect();
        Self { bootstrap: bootstrap.to_owned(), prefix: prefix.to_owned(), names }
    }

    /// Creates them.
    ///
    /// # Errors
    /// Kafka refused.
    pub async fn create(&self) -> Result<()> {
        topics::create(&self.bootstrap, &self.names, PARTITIONS).await
    }

    /// Deletes them.
    ///
    /// # Errors
    /// Kafka refused.
    pub async fn delete(&self) -> Result<()> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        topics::admin(&self.bootstrap)?
            .delete_topics(&names, &AdminOptions::new())
            .await
            .doing("deleting the tables' topics")?;
        Ok(())
    }

    /// A consumer, called `name`, of every partition from its beginning; `ends`: it tells of their ends.
    pub(crate) fn consumer(&self, name: &str, ends: bool) -> Result<BaseConsumer> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            // The client asks for a group name even where no group is joined.
            .set("group.id", name)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", ends.to_string())
            .set("fetch.wait.max.ms", "100")
            .create()
            .doing("starting the independent consumer")?;
        let mut from_the_beginning = TopicPartitionList::new();
        for (topic, partition) in self.partitions() {
            let added = from_the_beginning.add_partition_offset(topic, partition, Offset::Beginning);
            added.doing("assigning partitions")?;
        }
        consumer.assign(&from_the_beginning).doing("assigning partitions")?;
        Ok(consumer)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// How many records they hold, if nobody wrote with transactions: then every offset is a record.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn records(&self) -> Result<u64> {
        Ok(self.ends()?.iter().map(|end| end.unsigned_abs()).sum())
    }

    /// Where each partition ends, topic by topic.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn ends(&self) -> Result<Vec<i64>> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().doing("connecting to Kafka")?;
        let end = |(topic, partition): (&str, i32)| {
            let marks = consumer.fetch_watermarks(topic, partition, REQUEST_MAX);
            marks.map(|(_, high)| high).doing(format!("asking for the end of {topic}"))
        };
        self.partitions().map(end).collect()
    }

    /// Every partition of theirs.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&str, i32)> {
        self.names.iter().flat_map(|name| (0..PARTITIONS).map(move |partition| (name.as_str(), partition)))
    }
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Read {
    records: AtomicU64,
    fences: AtomicU64,
    finish: AtomicBool,
}

impl Read {
    /// Records that were read so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// How often the last row was read.
    pub fn fences(&self) -> u64 {
        self.fences.load(Ordering::Relaxed)
    }
}

/// A reader at work.
#[derive(Debug)]
pub struct Reader {
    read: Arc<Read>,
    thread: JoinHandle<Result<Folder>>,
}

impl Reader {
    /// Starts to read topics, which must exist.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn start(topics: &TableTopics) -> Result<Self> {
        let consumer = topics.consumer("state", true)?;
        let read = Arc::new(Read::default());
        let reading = Reading { consumer, topics: topics.clone(), read: Arc::clone(&read), folder: Folder::default() };
        let thread = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || reading.run())
            .doing("starting the reader's thread")?;
        Ok(Self { read, thread })
    }

    /// What it has read so far.
    pub fn read(&self) -> &Arc<Read> {
        &self.read
    }

    /// Reads up to the present end of every partition. To be called when nothing produces any more.
    ///
    /// # Errors
    /// The end could not be reached.
    pub fn finish(self) -> Result<Folder> {
        self.read.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Relay("the reader's thread panicked; its message is above".into()))?
    }
}

struct Reading {
    consumer: BaseConsumer,
    topics: TableTopics,
    read: Arc<Read>,
    folder: Folder,
}

impl Reading {
    fn run(mut self) -> Result<Folder> {
        while !self.read.finish.load(Ordering::Relaxed) {
            self.read_one()?;
        }
        let mut unread = on_to_the_end(&self.consumer)?;
        let deadline = Instant::now() + CATCH_UP_MAX;
        while unread > 0 && Instant::now() < deadline {
            unread -= usize::from(self.read_one()?);
        }
        match unread {
            0 => Ok(self.folder),
            _ => Err(Error::Relay(format!(
                "the independent consumer could not read the last {unread} partitions to their end within {CATCH_UP_MAX:?}"
            ))),
        }
    }

    /// Reads a record; true if it came to the end of a partition instead.
    fn read_one(&mut self) -> Result<bool> {
        use rdkafka::types::RDKafkaErrorCode as Code;

        let Some(polled) = self.consumer.poll(POLL) else { return Ok(false) };
        let message = match polled {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(_)) => return Ok(true),
            // The client reconnects by itself, and follows every offset.
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut)
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error).doing("reading the tables' topics"),
        };
        let record = record(&message, &self.topics.prefix);
        let fence = record.table == FENCE;
        self.read.records.fetch_add(1, Ordering::Relaxed);
        if self.folder.observe(record) && fence {
            self.read.fences.fetch_add(1, Ordering::Relaxed);
        }
        Ok(false)
    }
}

/// The parts of a Kafka message that are folded. A missing part stays empty: the folder says so.
fn record(message: &BorrowedMessage<'_>, prefix: &str) -> Record {
    let topic = message.topic();
    let header = |name: &str| {
        let mut headers = message.headers()?.iter();
        headers.find(|header| header.key == name)?.value.map(<[u8]>::to_vec)
    };
    let position = header("postrider-position").and_then(|text| String::from_utf8(text).ok());
    Record {
        table: topic.strip_prefix(prefix).unwrap_or(topic).to_owned(),
        partition: message.partition(),
        position: position.and_then(|text| u128::from_str_radix(&text, 16).ok()),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        old_key: header("__debezium.oldkey"),
    }
}
