//! What the workers gave up: the records of the dead-letter topic.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::{Doing, Error, Result};
use crate::state::reader::TableTopics;

/// How long a request to the broker may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// How long nothing may arrive while letters are read.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);

/// How many records a topic holds; none where it was never created.
pub(crate) fn count(bootstrap: &str, topic: &str) -> Result<u64> {
    let metadata = consumer(bootstrap)?.fetch_metadata(None, REQUEST_MAX).doing("asking Kafka for its topics")?;
    let mut records = 0;
    if metadata.topics().iter().any(|found| found.name() == topic) {
        each(bootstrap, topic, |_| records += 1)?;
    }
    Ok(records)
}

/// Deletes the topic of dead letters, and the one beside it that says what was replayed; neither need be there.
pub(crate) async fn delete(bootstrap: &str, topic: &str) -> Result<()> {
    TableTopics::new(bootstrap, "", &[topic.to_owned(), format!("{topic}-orders")]).delete().await
}

/// Shows every record of a topic to `take`.
pub(crate) fn each(bootstrap: &str, topic: &str, mut take: impl FnMut(&BorrowedMessage<'_>)) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_MAX).doing("asking Kafka for a topic")?;
    let mut beginning = TopicPartitionList::new();
    for found in metadata.topics() {
        for partition in found.partitions() {
            let added = beginning.add_partition_offset(topic, partition.id(), Offset::Beginning);
            added.doing("assigning partitions")?;
        }
    }
    consumer.assign(&beginning).doing("assigning partitions")?;
    let (mut open, mut moved) = (beginning.count(), Instant::now());
    while open > 0 {
        if moved.elapsed() > NO_PROGRESS_MAX {
            return Err(Error::Relay(format!("nothing could be read of {topic} for {NO_PROGRESS_MAX:?}")));
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => continue,
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).doing(format!("reading {topic}")),
            Some(Ok(message)) => take(&message),
        }
        moved = Instant::now();
    }
    Ok(())
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "letters")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .create()
        .doing("connecting to Kafka")
}
