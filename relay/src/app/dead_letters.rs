//! From the configuration's `[dead_letter]` to what stands around a worker's sink.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::kafka;
use crate::app::worker::Worker;
use crate::config;
use crate::config::dead_letter::{DeadLetter, Order, Shape};
use crate::pipeline::dead_letters::Delivered;
use crate::pipeline::{Assigned, DeadLetterOptions, DeadLetters, Error, Sink};
use crate::sinks::lots::letters::Shape as Written;
use crate::sinks::lots::{KafkaLetters, KafkaLettersOptions};
use crate::telemetry::Metrics;

/// What opens the place of the dead letters around a sink, as often as the sink is opened.
pub(super) struct Around {
    letters: KafkaLettersOptions,
    options: DeadLetterOptions,
}

impl Around {
    /// Around the sink of `group`, which reads these topics; of each is told whether its records are rows of captured tables.
    ///
    /// # Errors
    /// What is wrong with `[kafka]`.
    pub(super) fn new<'t>(
        (kafka, dead_letter): (&config::kafka::Kafka, &DeadLetter),
        group: &str,
        topics: impl IntoIterator<Item = (&'t str, bool)>,
        assigned: &Assigned,
        worker: &Worker,
    ) -> Result<Self, Error> {
        let mut captured: BTreeMap<&str, bool> = BTreeMap::new();
        for (topic, is_captured) in topics {
            *captured.entry(topic).or_default() |= is_captured;
        }
        let ordered = |is_captured| match dead_letter.order {
            Order::Auto => is_captured,
            Order::Key => true,
            Order::None => false,
        };
        let topics = captured.into_iter().map(|(topic, is_captured)| Delivered {
            topic: Arc::from(topic),
            route: 0,
            ordered: ordered(is_captured),
        });
        let options = DeadLetterOptions {
            topics: topics.collect(),
            attempts: dead_letter.attempts,
            letters_max: dead_letter.letters_max,
            assigned: assigned.clone(),
            by: group.to_owned(),
            metrics: Arc::clone(&worker.metrics),
            status: Arc::clone(&worker.status),
        };
        Ok(Self { letters: letters(kafka, dead_letter, group)?, options })
    }

    /// Puts the dead letters around `sink`.
    ///
    /// # Errors
    /// Those of Kafka.
    pub(super) async fn open<S: Sink>(
        &self,
        sink: S,
        metrics: &Arc<Metrics>,
    ) -> Result<DeadLetters<S, KafkaLetters>, Error> {
        let letters = KafkaLetters::open(self.letters.clone(), Arc::clone(metrics)).await?;
        DeadLetters::open(sink, letters, self.options.clone()).await
    }
}

/// Where the dead letters of a group are, and how they are written.
///
/// # Errors
/// What is wrong with `[kafka]`.
pub(super) fn letters(
    kafka: &config::kafka::Kafka,
    dead_letter: &DeadLetter,
    group: &str,
) -> Result<KafkaLettersOptions, Error> {
    Ok(KafkaLettersOptions {
        kafka: kafka::writing(kafka)?,
        topic: dead_letter.topic_of(group),
        job: group.to_owned(),
        shape: match dead_letter.shape {
            Shape::Original => Written::Original,
            Shape::Event => Written::Event,
        },
        retention: dead_letter.retention,
        replication_factor: dead_letter.replication_factor,
        poll_interval: dead_letter.poll_interval,
    })
}
