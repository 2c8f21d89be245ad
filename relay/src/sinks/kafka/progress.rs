//! The progress topic: one compacted topic in which the newest record of a key tells how far its slot was delivered.
//!
//! The newest is the one with the highest offset, unless the source, whose business the value is, says that one before it
//! reached further.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info};

use crate::kafka::events::ReaderEvents;
use crate::kafka::patience::{ASK_AGAIN, Patience};
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind, Progress};
use crate::sinks::kafka::options::KafkaOptions;

/// The only partition that is written and read, however many there are.
pub(super) const PARTITION: i32 = 0;

/// How many offsets before the end are read first. A relay writes some ten records a second, so that its newest is among
/// the last few unless many relays share the topic.
const FIRST_WINDOW: i64 = 256;

/// By how much each further window is longer than the one before.
const WINDOW_GROWTH: i64 = 16;

/// How long it takes at most to hand a token over.
pub(super) const TOKEN_HANDOVER: Duration = Duration::from_millis(20);

/// The topic's configuration. Small segments, because only closed ones are compacted; one mebibyte is the least that
/// Kafka 4 allows.
const TOPIC_CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// Reads the progress topic.
pub(super) struct Reader {
    /// There until the reader is dropped.
    consumer: Option<BaseConsumer<ReaderEvents>>,
    options: KafkaOptions,
    reachability: Arc<Reachability>,
    deadline: Instant,
}

/// What reading a window led to.
enum Window {
    /// The newest record of the key in it.
    Found(Progress),
    /// The newest record of the key in it is a tombstone: somebody removed the progress on purpose.
    Removed,
    /// The key is not in it.
    Absent,
}

impl Reader {
    /// Begins to connect.
    pub(super) fn start(options: KafkaOptions, reachability: Arc<Reachability>) -> Result<Self, Error> {
        let deadline = Instant::now() + options.connect_timeout;
        let events = ReaderEvents::new(&options.security, &reachability);
        let consumer = BaseConsumer::from_config_and_context(&options.reader(), events)
            .map_err(|error| Error::new(End::Sink, Kind::Setup, "the kafka client does not start").because(error))?;
        if options.security.token().is_some() {
            // Polling is what hands over the token, without which no broker is asked anything.
            drop(consumer.poll(TOKEN_HANDOVER));
        }
        Ok(Self { consumer: Some(consumer), options, reachability, deadline })
    }

    /// Whether the topic exists. Fails if no broker answers in time. Blocks.
    pub(super) fn topic_exists(&self) -> Result<bool, Error> {
        let topic = &self.options.progress_topic;
        // A connection that just failed is tried again, unless it is known that this will not help.
        let metadata = Patience::until(self.deadline)
            .ask(|_| !self.is_refused(), |question| self.consumer().fetch_metadata(Some(topic), question))
            .map_err(|error| self.unavailable("no kafka broker answers", &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(false) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {
                Ok(found.partitions().iter().any(|partition| partition.id() == PARTITION && partition.leader() >= 0))
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::LeaderNotAvailable) => Ok(false),
            Some(code) => {
                Err(Error::new(End::Sink, Kind::Setup, format!("the progress topic {topic:?} is not readable"))
                    .because(code)
                    .with_help("Grant the relay Read, Write, Describe and Create on the progress topic."))
            }
        }
    }

    /// The newest record of `key`. Blocks.
    pub(super) fn newest(&self, key: &[u8]) -> Result<Option<Progress>, Error> {
        let topic = &self.options.progress_topic;
        let (low, high) = self.bounds()?;
        let mut length = FIRST_WINDOW;
        let mut end = high;
        while end > low {
            let start = low.max(end.saturating_sub(length));
            debug!(topic, start, end, "reading progress");
            match self.read(key, start, end)? {
                Window::Found(progress) => return Ok(Some(progress)),
                Window::Removed => return Ok(None),
                Window::Absent => {
                    end = start;
                    length = length.saturating_mul(WINDOW_GROWTH);
                }
            }
        }
        Ok(None)
    }

    /// Waits until this record is the newest of its key that is committed, and with it everything before it. Blocks.
    ///
    /// # Errors
    /// It is not in time: transactions of others, which are not over, stand before it.
    pub(super) fn await_record(&self, record: &Progress) -> Result<(), Error> {
        while self.newest(&record.key)?.as_ref() != Some(record) {
            self.ask_again()?;
        }
        Ok(())
    }

    /// Waits until everything before the offset `end` is committed or aborted. Blocks.
    ///
    /// # Errors
    /// As of [`Reader::await_record`].
    pub(super) fn await_end(&self, end: i64) -> Result<(), Error> {
        while self.bounds()?.1 < end {
            self.ask_again()?;
        }
        Ok(())
    }

    /// Waits for a transaction that is open in the topic, while there is time.
    fn ask_again(&self) -> Result<(), Error> {
        if Instant::now() >= self.deadline {
            let topic = &self.options.progress_topic;
            let context =
                format!("the progress topic {topic:?} cannot be read to its end: a transaction is open in it");
            return Err(Error::new(End::Sink, Kind::Unavailable, context).with_help(
                "Another relay that shares the topic ended within a transaction. It is over when that relay starts again, \
                 or when its kafka.transaction_timeout_ms has passed.",
            ));
        }
        std::thread::sleep(ASK_AGAIN);
        Ok(())
    }

    /// The first offset and the one after the last. A topic that was just created, or has just moved, may have no leader
    /// that knows of it yet.
    fn bounds(&self) -> Result<(i64, i64), Error> {
        let topic = &self.options.progress_topic;
        Patience::until(self.deadline)
            .ask(|error| !is_final(error), |question| self.consumer().fetch_watermarks(topic, PARTITION, question))
            .map_err(|error| self.unreadable(&error))
    }

    /// Reads the offsets from `start` up to `end`, from the beginning again when nothing comes.
    fn read(&self, key: &[u8], start: i64, end: i64) -> Result<Window, Error> {
        let mut patience = Patience::until(self.deadline);
        loop {
            match self.try_read(key, start, end, patience.question())? {
                Some(window) => return Ok(window),
                None if patience.is_over() => {
                    return Err(self.unreadable(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
                }
                None => debug!(start, end, "reading progress from the beginning again"),
            }
        }
    }

    /// The same, once; nothing if nothing comes for so long.
    fn try_read(&self, key: &[u8], start: i64, end: i64, silence: Duration) -> Result<Option<Window>, Error> {
        let mut assignment = TopicPartitionList::with_capacity(1);
        assignment
            .add_partition_offset(&self.options.progress_topic, PARTITION, Offset::Offset(start))
            .and_then(|()| self.consumer().assign(&assignment))
            .map_err(|error| self.unreadable(&error))?;
        let mut found = Window::Absent;
        loop {
            match self.consumer().poll(silence) {
                None => return Ok(None),
                // Compaction and transaction markers leave offsets without a record, so that often only this tells the end.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(found)),
                // Troubles with connections pass or reach the deadline; the log tells them.
                Some(Err(error)) if self.deadline > Instant::now() && !is_final(&error) => {
                    debug!(%error, "reading progress goes on");
                }
                Some(Err(error)) => return Err(self.unreadable(&error)),
                Some(Ok(record)) => {
                    if record.offset() >= end {
                        return Ok(Some(found));
                    }
                    if record.key() == Some(key) {
                        found = self.newer(found, key, record.payload());
                    }
                    if record.offset() + 1 == end {
                        return Ok(Some(found));
                    }
                }
            }
        }
    }

    /// What was found, once another record of the key is read.
    fn newer(&self, found: Window, key: &[u8], value: Option<&[u8]>) -> Window {
        match (found, value) {
            (_, None) => Window::Removed,
            // A relay that lost its slot may still have had a record on its way, which arrives behind its successor's.
            (Window::Found(best), Some(value)) if !(self.options.progress_is_newer)(value, &best.value) => {
                Window::Found(best)
            }
            (_, Some(value)) => {
                Window::Found(Progress { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) })
            }
        }
    }

    /// Waits until the topic just created has a leader. Blocks.
    pub(super) fn await_topic(&self) -> Result<(), Error> {
        while !self.topic_exists()? {
            if Instant::now() >= self.deadline {
                let context = format!("the progress topic {:?} has no leader", self.options.progress_topic);
                return Err(Error::new(End::Sink, Kind::Unavailable, context));
            }
            std::thread::sleep(ASK_AGAIN);
        }
        Ok(())
    }

    fn consumer(&self) -> &BaseConsumer<ReaderEvents> {
        self.consumer.as_ref().expect("only dropping takes it away")
    }

    /// Whether waiting cannot help.
    fn is_refused(&self) -> bool {
        self.reachability.diagnosis().is_some_and(|diagnosis| diagnosis.certain)
    }

    fn unavailable(&self, what: &str, error: &KafkaError) -> Error {
        let (brokers, within) = (&self.options.bootstrap_servers, self.options.connect_timeout.as_secs_f32());
        let trouble = self.reachability.last_trouble();
        let context = format!("{what} at {brokers} within {within} s");
        let error_of = match self.reachability.diagnosis() {
            None => Error::new(End::Sink, Kind::Unavailable, context),
            Some(diagnosis) => {
                let context = format!("no kafka broker at {brokers} can be used");
                Error::new(End::Sink, self.options.security.trouble(&diagnosis), context).with_help(diagnosis.help)
            }
        };
        if trouble.is_empty() { error_of.because(error.clone()) } else { error_of.because(trouble) }
    }

    fn unreadable(&self, error: &KafkaError) -> Error {
        self.unavailable(&format!("the progress topic {:?} was not read", self.options.progress_topic), error)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // librdkafka takes some 100 ms to let go of a consumer, and nobody has to wait for it.
        let consumer = self.consumer.take();
        drop(std::thread::Builder::new().name("kafka-reader-close".into()).spawn(move || drop(consumer)));
    }
}

/// Creates the topic, unless somebody else does first, and waits until it can be used.
pub(super) async fn create_topic(options: &KafkaOptions, reachability: &Arc<Reachability>) -> Result<(), Error> {
    let topic = options.progress_topic.as_str();
    let failed = |cause: KafkaError| {
        let kind = if needs_a_person(&cause) { Kind::Setup } else { Kind::Unavailable };
        Error::new(End::Sink, kind, format!("the progress topic {topic:?} cannot be created"))
            .because(cause)
            .with_help("Create it with one partition and cleanup.policy=compact, or let the relay do it.")
    };
    if options.security.token().is_some() {
        let context =
            format!("the progress topic {topic:?} does not exist, and with a token the relay cannot create it");
        return Err(Error::new(End::Sink, Kind::Setup, context).with_help(format!(
            "Create it: kafka-topics.sh --bootstrap-server … --create --topic {topic} --partitions 1 --config cleanup.policy=compact"
        )));
    }
    let events = ReaderEvents::new(&options.security, reachability);
    let admin = AdminClient::from_config_and_context(&options.admin(), events).map_err(failed)?;
    let replication = TopicReplication::Fixed(options.progress_replication_factor);
    let mut new = NewTopic::new(topic, 1, replication);
    new.config = TOPIC_CONFIG.to_vec();
    let timeouts = AdminOptions::new()
        .request_timeout(Some(options.connect_timeout))
        .operation_timeout(Some(options.connect_timeout));
    let outcome = admin.create_topics([&new], &timeouts).await.map_err(failed)?;
    // Stopping the client joins its thread.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    match outcome.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
        Some(Ok(_)) | None => {
            info!(topic, "progress topic created");
            Ok(())
        }
    }
}

/// Whether a topic is refused for good, and not because brokers are away or busy.
fn needs_a_person(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::PolicyViolation
                | Code::InvalidConfig
                | Code::InvalidTopic
        )
    )
}

/// Whether waiting cannot help.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::Fatal
        )
    )
}
