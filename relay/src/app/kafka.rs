//! From the configuration's `[kafka]` to the sink's options.

use regex::Regex;

use crate::config;
use crate::config::kafka::{Password, Sasl};
use crate::pipeline::{End, Error, Kind};
use crate::sinks::KafkaOptions;
use crate::sinks::kafka::{
    Compression, KafkaLogin, KafkaSecurity, KafkaTls, TopicCreation, TransactionOptions, Untimely,
};
use crate::sources::wal::Record;

/// The librdkafka property for the largest message; the sink must know it, to refuse a larger one before it is sent.
const MESSAGE_BYTES_MAX: &str = "message.max.bytes";

/// What the sink is told.
pub(crate) fn options(kafka: &config::kafka::Kafka, topics: &config::topics::Topics) -> Result<KafkaOptions, Error> {
    let topic_refresh_interval = topics.refresh_interval;
    Ok(KafkaOptions { topics: creation(topics), topic_refresh_interval, ..writing(kafka)? })
}

/// Refuses a configuration that publishes to nowhere, because then there is `nothing` of what is needed, as a fragment.
pub(crate) fn insist_on_a_broker(kafka: &config::kafka::Kafka, nothing: &str) -> Result<(), Error> {
    if kafka.has_broker() {
        return Ok(());
    }
    let context = format!("there is no broker, and so {nothing}");
    Err(Error::new(End::Sink, Kind::Setup, context).with_help("Set kafka.bootstrap_servers."))
}

/// What the sink is told that delivers for this slot.
pub(crate) fn delivering(
    kafka: &config::kafka::Kafka,
    topics: &config::topics::Topics,
    slot: &str,
) -> Result<KafkaOptions, Error> {
    let delivery = &kafka.delivery;
    let transactions = delivery.id(slot).map(|id| TransactionOptions {
        id,
        interval: delivery.transaction_interval,
        timeout: delivery.transaction_timeout,
    });
    Ok(KafkaOptions { transactions, ..options(kafka, topics)? })
}

/// What a sink is told that writes to topics of our own.
pub(crate) fn writing(kafka: &config::kafka::Kafka) -> Result<KafkaOptions, Error> {
    let defaults = KafkaOptions::new(&kafka.bootstrap_servers);
    let message_bytes_max = match kafka.properties.iter().find(|(name, _)| *name == MESSAGE_BYTES_MAX) {
        None => defaults.message_bytes_max,
        Some((_, bytes)) => bytes.parse().map_err(|error| {
            let context = format!("{MESSAGE_BYTES_MAX} under [kafka.properties] is not a number of bytes");
            Error::new(End::Sink, Kind::Setup, context).because(error)
        })?,
    };
    Ok(KafkaOptions {
        client_id: kafka.client_id.clone(),
        progress_topic: kafka.progress_topic.clone(),
        progress_is_newer: Record::is_newer,
        progress_replication_factor: kafka.progress_replication_factor,
        queue_bytes_max: usize::try_from(kafka.queue_bytes_max).unwrap_or(usize::MAX),
        message_bytes_max,
        linger: kafka.linger,
        compression: match kafka.compression {
            config::kafka::Compression::Lz4 => Compression::Lz4,
            config::kafka::Compression::None => Compression::None,
        },
        request_timeout: kafka.request_timeout,
        untimely: match kafka.untimely {
            config::kafka::Untimely::Clamp => Untimely::Clamp,
            config::kafka::Untimely::Refuse => Untimely::Refuse,
        },
        security: security(&kafka.security),
        properties: kafka.properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..defaults
    })
}

fn creation(topics: &config::topics::Topics) -> TopicCreation {
    TopicCreation {
        create: topics.create,
        allow: topics.allow.as_deref().map(|allow| Regex::new(allow).expect("the configuration holds only valid ones")),
        partitions: topics.partitions,
        replication_factor: topics.replication_factor,
        cleanup_policy: topics.cleanup_policy.clone(),
        retention_ms: topics.retention_ms,
        topics_max: topics.topics_max,
        ..TopicCreation::default()
    }
}

/// How brokers are reached safely, to write or to read.
pub(super) fn security(security: &config::kafka::Security) -> KafkaSecurity {
    let tls = security.tls.as_ref().map(|tls| {
        let own = tls.certificate.as_ref();
        KafkaTls {
            ca_file: tls.ca_file.clone(),
            certificate: own.map(|own| (own.certificate_file.clone(), own.key_file.clone())),
            key_password_file: own.and_then(|own| own.key_password_file.clone()),
            verify_host_name: tls.verify_host_name,
        }
    });
    let login = security.sasl.as_ref().map(|sasl| match sasl {
        Sasl::Token { file } => KafkaLogin::Token(file.clone()),
        Sasl::Password { mechanism, username, password } => {
            let (password, password_file) = match password {
                Password::Given(secret) => (secret.expose().to_owned(), None),
                Password::File(path) => (String::new(), Some(path.clone())),
            };
            KafkaLogin::Password { mechanism, username: username.clone(), password, password_file }
        }
    });
    KafkaSecurity { tls, login, ..KafkaSecurity::default() }
}
