//! Makes the two topics, unless somebody did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tracing::info;

use crate::kafka::events::ReaderEvents;
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::lots::letters::log::Log;
use crate::sinks::lots::letters::{KafkaLettersOptions, LETTER_BYTES_MAX};

/// How long to wait before asking again for a topic that was just made.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Makes those of the two topics that do not exist, and waits until they can be used.
pub(super) async fn create_missing(
    options: &KafkaLettersOptions,
    (letters, orders): (&Arc<str>, &Arc<str>),
    reachability: &Arc<Reachability>,
) -> Result<(), Error> {
    let names = [Arc::clone(letters), Arc::clone(orders)];
    let missing = missing(options, names.to_vec(), reachability).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let bytes = LETTER_BYTES_MAX.to_string();
    let retention = options.retention.as_millis().to_string();
    for topic in &missing {
        let config: Vec<(&str, &str)> = if *topic == *letters {
            vec![("cleanup.policy", "delete"), ("retention.ms", &retention), ("max.message.bytes", &bytes)]
        } else {
            vec![("cleanup.policy", "compact"), ("max.message.bytes", &bytes)]
        };
        create(options, topic, config, reachability).await?;
    }
    let deadline = Instant::now() + options.kafka.connect_timeout;
    while let Some(topic) = self::missing(options, missing.clone(), reachability).await?.first() {
        if Instant::now() >= deadline {
            let context = format!("the topic {topic:?} of the dead letters has no leader");
            return Err(Error::new(End::Sink, Kind::Unavailable, context));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

/// Those of the topics that do not exist.
async fn missing(
    options: &KafkaLettersOptions,
    names: Vec<Arc<str>>,
    reachability: &Arc<Reachability>,
) -> Result<Vec<Arc<str>>, Error> {
    let (kafka, reachability) = (options.kafka.clone(), Arc::clone(reachability));
    let task = tokio::task::spawn_blocking(move || {
        let log = Log::start(&kafka, reachability)?;
        let mut missing = Vec::new();
        for name in names {
            if log.partitions(&name)?.is_empty() {
                missing.push(name);
            }
        }
        Ok(missing)
    });
    task.await.unwrap_or_else(|error| {
        Err(Error::new(End::Sink, Kind::Broken, "the thread that looks for topics ended early").because(error))
    })
}

async fn create(
    options: &KafkaLettersOptions,
    topic: &str,
    config: Vec<(&str, &str)>,
    reachability: &Arc<Reachability>,
) -> Result<(), Error> {
    let command: String = config.iter().map(|(key, value)| format!(" --config {key}={value}")).collect();
    let failed = |cause: KafkaError| {
        Error::new(End::Sink, Kind::Setup, format!("the topic {topic:?} of the dead letters cannot be created"))
            .because(cause)
            .with_help(format!(
                "Create it, or grant the worker Create: kafka-topics.sh --bootstrap-server … --create --topic {topic} --partitions 1{command}"
            ))
    };
    if options.kafka.security.token().is_some() {
        return Err(failed(KafkaError::AdminOp(Code::ClusterAuthorizationFailed)));
    }
    let events = ReaderEvents::new(&options.kafka.security, reachability);
    let admin = AdminClient::from_config_and_context(&options.kafka.admin(), events).map_err(failed)?;
    let mut new = NewTopic::new(topic, 1, TopicReplication::Fixed(options.replication_factor));
    new.config = config;
    let timeout = Some(options.kafka.connect_timeout);
    let timeouts = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
    let outcome = admin.create_topics([&new], &timeouts).await.map_err(failed)?;
    // Stopping the client joins its thread.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    match outcome.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
        Some(Ok(_)) | None => {
            info!(topic, "topic of dead letters created");
            Ok(())
        }
    }
}
