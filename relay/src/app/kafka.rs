//! From the configuration's `[kafka]` to the sink's options.

use crate::config;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::KafkaOptions;
use crate::sinks::kafka::Compression;
use crate::sources::wal::Record;

/// The librdkafka property for the largest message; the sink must know it, to refuse a larger one before it is sent.
const MESSAGE_BYTES_MAX: &str = "message.max.bytes";

/// What the sink is told.
pub(crate) fn options(kafka: &config::kafka::Kafka) -> Result<KafkaOptions, Error> {
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
        properties: kafka.properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..defaults
    })
}
