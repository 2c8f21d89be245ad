//! How far a worker is: what its group has committed, beside where its topics end.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::chain::services::blocking;
use crate::error::{Doing, Result};

/// How long a request to the broker may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// A group and the topics that it reads.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    bootstrap: String,
    name: String,
    partitions: Vec<(String, i32)>,
}

impl Group {
    /// The group `name` of these partitions.
    pub(crate) fn new(bootstrap: &str, name: &str, partitions: Vec<(String, i32)>) -> Self {
        Self { bootstrap: bootstrap.to_owned(), name: name.to_owned(), partitions }
    }

    /// How many records it has not committed yet.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub(crate) async fn behind(&self) -> Result<u64> {
        let group = self.clone();
        blocking(move || group.ask()).await
    }

    fn ask(&self) -> Result<u64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", &self.name)
            .set("enable.auto.commit", "false")
            .create()
            .doing("connecting to Kafka")?;
        let mut wanted = TopicPartitionList::new();
        for (topic, partition) in &self.partitions {
            wanted.add_partition(topic, *partition);
        }
        let doing = || format!("asking for the offsets of the group {}", self.name);
        let committed = consumer.committed_offsets(wanted, REQUEST_MAX).doing(doing())?;
        let mut behind = 0;
        for element in committed.elements() {
            let marks = consumer.fetch_watermarks(element.topic(), element.partition(), REQUEST_MAX);
            let (low, high) = marks.doing(format!("asking for the end of {}", element.topic()))?;
            let at = match element.offset() {
                Offset::Offset(at) => at,
                _ => low,
            };
            behind += (high - at.max(low)).max(0).unsigned_abs();
        }
        Ok(behind)
    }
}
