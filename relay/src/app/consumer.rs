//! From the configuration's `[kafka]` and `[consumer]` to what a worker's source is told.

use std::sync::Arc;

use crate::app::kafka;
use crate::config;
use crate::config::consumer::{Consumer, MissingTopics, Protocol, Start};
use crate::pipeline::{Assigned, Gathered};
use crate::sources::kafka::{self as source, Cuts, KafkaSourceOptions, Topic};

/// What a role wants of its source, beside what the configuration says.
pub(super) struct Reading<'a> {
    /// The consumer group.
    pub(super) group: &'a str,
    /// The topics, each with the number of its route. One that is named twice is read once.
    pub(super) topics: Vec<(&'a str, u16)>,
    /// When a batch is complete, unless the configuration says so.
    pub(super) cuts: Cuts,
    /// The topics whose batches are handed over in parts, and when those are complete, unless the configuration says so.
    pub(super) in_parts: (&'a [&'a str], Cuts),
    /// Whether a batch comes again exactly as it was cut.
    pub(super) repeatable: bool,
    /// Whether to go on where records are missing that were never read.
    pub(super) accept_gap: bool,
    /// Where the source shows which partitions it holds.
    pub(super) assigned: Assigned,
    /// Where the sink shows what it holds of those.
    pub(super) gathered: Gathered,
}

/// What the source is told.
pub(super) fn options(kafka: &config::kafka::Kafka, consumer: &Consumer, reading: Reading<'_>) -> KafkaSourceOptions {
    let chosen = |cuts: Cuts| Cuts {
        records_max: consumer.batch_records_max.unwrap_or(cuts.records_max),
        bytes_max: consumer.batch_bytes_max.unwrap_or(cuts.bytes_max),
        age_max: consumer.batch_age.unwrap_or(cuts.age_max),
    };
    let mut topics: Vec<Topic> = Vec::with_capacity(reading.topics.len());
    for (name, route) in reading.topics {
        if topics.iter().all(|topic| &*topic.name != name) {
            let in_parts = reading.in_parts.0.contains(&name).then(|| chosen(reading.in_parts.1));
            topics.push(Topic { name: Arc::from(name), route, in_parts });
        }
    }
    let properties = kafka.properties.iter().chain(consumer.properties.iter());
    KafkaSourceOptions {
        client_id: kafka.client_id.clone(),
        instance_id: consumer.instance_id.clone(),
        topics,
        start: match consumer.start {
            Start::Earliest => source::Start::Earliest,
            Start::Latest => source::Start::Latest,
        },
        missing: match consumer.missing_topics {
            MissingTopics::Wait => source::Missing::Wait,
            MissingTopics::Refuse => source::Missing::Refuse,
        },
        protocol: match consumer.protocol {
            Protocol::Classic => source::Protocol::Classic,
            Protocol::Consumer => source::Protocol::Consumer,
        },
        session_timeout: consumer.session_timeout,
        request_timeout: kafka.request_timeout,
        cuts: chosen(reading.cuts),
        repeatable: reading.repeatable,
        queue_bytes_max: consumer.queue_bytes_max,
        accept_gap: reading.accept_gap,
        assigned: reading.assigned,
        gathered: reading.gathered,
        security: kafka::security(&kafka.security),
        properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..KafkaSourceOptions::new(&kafka.bootstrap_servers, reading.group)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::worker::LoadConfig;

    #[test]
    fn a_topic_that_is_named_twice_is_read_once_and_the_configuration_wins_over_the_role() {
        let variables = [
            ("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "broker:9092"),
            ("POSTRIDER_KAFKA_PROPERTIES", "socket.nagle.disable=true"),
            ("POSTRIDER_CLICKHOUSE_URL", "http://localhost:8123"),
            ("POSTRIDER_CLICKHOUSE_DATABASE", "nova"),
            ("POSTRIDER_LOAD_TABLES_USERS_TOPIC", "cdc.users"),
            ("POSTRIDER_CONSUMER_BATCH_AGE_MS", "7"),
            ("POSTRIDER_CONSUMER_START", "latest"),
            ("POSTRIDER_CONSUMER_PROPERTIES", "fetch.wait.max.ms=9"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let config = LoadConfig::load(None, variables).expect("right");
        let reading = Reading {
            group: "g",
            topics: vec![("cdc.users", 0), ("events", 1), ("cdc.users", 2)],
            cuts: Cuts { records_max: 5, bytes_max: 6, age_max: Duration::from_secs(1) },
            in_parts: (&["events"], Cuts { records_max: 50, bytes_max: 60, age_max: Duration::from_secs(1) }),
            repeatable: true,
            accept_gap: false,
            assigned: Assigned::default(),
            gathered: Gathered::default(),
        };
        let options = options(&config.kafka, &config.consumer, reading);
        let topics: Vec<_> = options.topics.iter().map(|topic| (&*topic.name, topic.route)).collect();
        assert_eq!(topics, [("cdc.users", 0), ("events", 1)]);
        let in_parts: Vec<_> = options.topics.iter().map(|topic| topic.in_parts).collect();
        let chosen = Cuts { records_max: 50, bytes_max: 60, age_max: Duration::from_millis(7) };
        assert_eq!(in_parts, [None, Some(chosen)]);
        assert_eq!((options.cuts.age_max, options.start), (Duration::from_millis(7), source::Start::Latest));
        assert_eq!(options.properties.len(), 2);
    }
}
