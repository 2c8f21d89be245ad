//! Opening: whether brokers answer and the topics are there, then the consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{info, warn};

use crate::kafka::events::ReaderEvents;
use crate::kafka::patience::Patience;
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sources::kafka::events::ConsumerEvents;
use crate::sources::kafka::options::{KafkaSourceOptions, Missing};
use crate::sources::kafka::trouble::grant;
use crate::telemetry::Metrics;

/// How long to wait before asking a broker again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long it takes at most to hand a token over.
const TOKEN_HANDOVER: Duration = Duration::from_millis(20);

/// What is found about the topics.
struct Found {
    /// How many partitions each has.
    partitions: BTreeMap<Arc<str>, usize>,
    /// Those that do not exist.
    missing: Vec<Arc<str>>,
}

/// A consumer that has joined, or soon will.
pub(super) struct Opened {
    pub(super) consumer: Arc<BaseConsumer<ConsumerEvents>>,
    /// Set, and the opening thread woken, when something arrived that is no record.
    pub(super) arrived: Arc<AtomicBool>,
    pub(super) missing: Vec<Arc<str>>,
}

/// Opens a consumer that wakes the calling thread. Blocks.
///
/// # Errors
/// No broker answers, a topic is not there or may not be read, or a setting is wrong.
pub(super) fn open(
    options: &KafkaSourceOptions,
    reachability: &Arc<Reachability>,
    metrics: &Metrics,
) -> Result<Opened, Error> {
    let Found { partitions, missing } = look(options, reachability)?;
    metrics.consumer.missing_topics.set(missing.len() as i64);
    options.security.worked();
    let events = ConsumerEvents::new(options, reachability);
    let mut consumer = BaseConsumer::from_config_and_context(&options.consumer(&partitions)?, events)
        .map_err(|error| not_started(&error))?;
    let arrived = Arc::new(AtomicBool::new(true));
    let (flag, poller) = (Arc::clone(&arrived), thread::current());
    consumer.set_nonempty_callback(move || {
        flag.store(true, Ordering::Release);
        poller.unpark();
    });
    let names: Vec<&str> = options.topics.iter().map(|topic| &*topic.name).collect();
    consumer
        .subscribe(&names)
        .map_err(|error| Error::new(End::Source, Kind::Setup, "the topics cannot be subscribed to").because(error))?;
    let partitions: usize = partitions.values().sum();
    info!(group = options.group, topics = names.len(), partitions, "reading from kafka");
    Ok(Opened { consumer: Arc::new(consumer), arrived, missing })
}

fn not_started(error: &KafkaError) -> Error {
    let error_of = Error::new(End::Source, Kind::Setup, "the kafka client does not start").because(error.clone());
    error_of.with_help("Check the properties under [consumer.properties] and [kafka.properties].")
}

/// Asks for each topic.
fn look(options: &KafkaSourceOptions, reachability: &Arc<Reachability>) -> Result<Found, Error> {
    let events = ReaderEvents::new(&options.security, reachability);
    let client: BaseConsumer<ReaderEvents> =
        BaseConsumer::from_config_and_context(&options.client()?, events).map_err(|error| not_started(&error))?;
    if options.security.token().is_some() {
        // Polling is what hands over the token, without which no broker is asked anything.
        drop(client.poll(TOKEN_HANDOVER));
    }
    let deadline = Instant::now() + options.connect_timeout;
    let mut found = Found { partitions: BTreeMap::new(), missing: Vec::new() };
    let looked: Result<(), Error> = options.topics.iter().try_for_each(|topic| {
        match partitions_of(&client, &topic.name, options, reachability, deadline)? {
            Some(partitions) => drop(found.partitions.insert(Arc::clone(&topic.name), partitions)),
            None => found.missing.push(Arc::clone(&topic.name)),
        }
        Ok(())
    });
    // librdkafka takes some 100 ms to let go of a client, and nobody has to wait for it.
    drop(thread::Builder::new().name("kafka-look-close".into()).spawn(move || drop(client)));
    looked?;
    tell_missing(options, &found.missing)?;
    Ok(found)
}

fn tell_missing(options: &KafkaSourceOptions, missing: &[Arc<str>]) -> Result<(), Error> {
    const HELP: &str = "Create it, with as many partitions as it shall have (kafka-topics.sh --bootstrap-server … --create --topic …), or correct its name; topics of captured tables and of outboxes come into being with their first event.";
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if options.missing == Missing::Refuse {
        let context = format!("these topics do not exist: {names}");
        return Err(Error::new(End::Source, Kind::Setup, context).with_help(HELP));
    }
    warn!(topics = names, help = HELP, "topics do not exist; they are read as soon as they do");
    Ok(())
}

/// How many partitions the topic has; `None` if it does not exist.
fn partitions_of(
    client: &BaseConsumer<ReaderEvents>,
    topic: &str,
    options: &KafkaSourceOptions,
    reachability: &Reachability,
    deadline: Instant,
) -> Result<Option<usize>, Error> {
    let is_refused = || reachability.diagnosis().is_some_and(|diagnosis| diagnosis.certain);
    let mut patience = Patience::until(deadline);
    loop {
        let metadata = match client.fetch_metadata(Some(topic), patience.question()) {
            Ok(metadata) => metadata,
            Err(error) => {
                drop(client.poll(ASK_AGAIN));
                // A connection that just failed is tried again, unless it is known that this will not help.
                if is_refused() || patience.is_over() {
                    return Err(unavailable(options, reachability, &error));
                }
                continue;
            }
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => return Ok(Some(found.partitions().len())),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            // It is being created.
            Some(RDKafkaErrorCode::LeaderNotAvailable) if !patience.is_over() => thread::sleep(ASK_AGAIN),
            Some(code) => {
                let (kind, help) = match code {
                    RDKafkaErrorCode::TopicAuthorizationFailed => (Kind::Setup, grant("topic", topic)),
                    RDKafkaErrorCode::InvalidTopic => (Kind::Setup, "Correct its name.".to_owned()),
                    _ => (Kind::Unavailable, "See the broker's log.".to_owned()),
                };
                let context = format!("topic {topic:?} cannot be read");
                return Err(Error::new(End::Source, kind, context).because(code).with_help(help));
            }
        }
    }
}

fn unavailable(options: &KafkaSourceOptions, reachability: &Reachability, error: &KafkaError) -> Error {
    let (brokers, within) = (&options.bootstrap_servers, options.connect_timeout.as_secs_f32());
    let error_of = match reachability.diagnosis() {
        None => {
            let context = format!("no kafka broker answers at {brokers} within {within} s");
            Error::new(End::Source, Kind::Unavailable, context)
        }
        Some(diagnosis) => {
            let context = format!("no kafka broker at {brokers} can be used");
            Error::new(End::Source, options.security.trouble(&diagnosis), context).with_help(diagnosis.help)
        }
    };
    let trouble = reachability.last_trouble();
    if trouble.is_empty() { error_of.because(error.clone()) } else { error_of.because(trouble) }
}
