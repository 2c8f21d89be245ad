//! The topics of one run: their names all begin with the run's prefix, so that runs side by side never see each other's records.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::{Doing, Error, Result};

/// Partitions of every topic: enough that keys spread, few enough for a laptop.
pub const PARTITIONS: i32 = 6;

/// What every outbox topic's name begins with, after the run's prefix.
const OUTBOX: &str = "outbox.event.";

/// The topics of one run.
#[derive(Debug, Clone)]
pub struct Topics {
    prefix: String,
    aggregate_types: &'static [&'static str],
}

impl Topics {
    /// The topics of the run named `run` for these aggregate types.
    pub fn new(run: &str, aggregate_types: &'static [&'static str]) -> Self {
        Self { prefix: format!("{run}."), aggregate_types }
    }

    /// What the name of every topic of this run begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The relay's topic template for this run.
    pub fn template(&self) -> String {
        format!("{}{OUTBOX}{{aggregate_type}}", self.prefix)
    }

    /// The topic of the relay's progress record in this run.
    pub fn progress(&self) -> String {
        format!("{}postrider.progress", self.prefix)
    }

    /// An aggregate type's topic, without the prefix.
    pub fn of(aggregate_type: &str) -> String {
        format!("{OUTBOX}{aggregate_type}")
    }

    /// Every outbox topic of the run.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.aggregate_types.iter().map(|aggregate_type| format!("{}{}", self.prefix, Self::of(aggregate_type)))
    }

    /// Every partition of every outbox topic.
    pub fn partitions(&self) -> impl Iterator<Item = (String, i32)> {
        self.names().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic.clone(), partition)))
    }

    /// How many records the run's topics hold, if nobody wrote with transactions: then every offset is a record.
    pub fn records(&self, consumer: &BaseConsumer, timeout: Duration) -> Result<u64> {
        let mut records = 0;
        for (topic, partition) in self.partitions() {
            let (low, high) = consumer
                .fetch_watermarks(&topic, partition, timeout)
                .doing(format!("asking for the end of {topic}"))?;
            records += (high - low).unsigned_abs();
        }
        Ok(records)
    }

    /// Creates the outbox topics and waits until every partition has a leader.
    pub async fn create(&self, bootstrap: &str) -> Result<()> {
        let admin = admin(bootstrap)?;
        let names: Vec<String> = self.names().collect();
        let wanted: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))).collect();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(15)));
        let outcome = admin.create_topics(&wanted, &options).await.doing("creating the run's topics")?;
        if let Some((topic, code)) = outcome.into_iter().find_map(std::result::Result::err) {
            return Err(Error::Relay(format!("topic {topic} could not be created: {code}")));
        }
        Ok(())
    }

    /// Deletes the outbox topics and the progress topic; one that is not there is no error.
    pub async fn delete(&self, bootstrap: &str) -> Result<()> {
        let mut names: Vec<String> = self.names().collect();
        names.push(self.progress());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        admin(bootstrap)?.delete_topics(&names, &AdminOptions::new()).await.doing("deleting the run's topics")?;
        Ok(())
    }
}

pub(crate) fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().doing("connecting to Kafka")
}

/// Has the consumer, which tells of ends, read on from where it stands: each of its partitions, whose number is returned, then
/// tells of its end once, if nothing produces any more. Offsets cannot be counted: transactions leave marks among the records.
pub fn on_to_the_end(consumer: &BaseConsumer) -> Result<usize> {
    let stands = consumer.position().doing("asking where the consumer stands")?;
    let mut on = TopicPartitionList::new();
    for partition in stands.elements() {
        let offset = match partition.offset() {
            Offset::Offset(next) => Offset::Offset(next),
            _ => Offset::Beginning,
        };
        on.add_partition_offset(partition.topic(), partition.partition(), offset).doing("assigning partitions")?;
    }
    consumer.assign(&on).doing("assigning partitions")?;
    Ok(on.count())
}

#[cfg(test)]
mod tests {
    use crate::topics::Topics;

    #[test]
    fn every_name_of_a_run_begins_with_its_prefix() {
        let topics = Topics::new("demo7", &["post", "user"]);
        assert_eq!(topics.names().collect::<Vec<_>>(), ["demo7.outbox.event.post", "demo7.outbox.event.user"]);
        assert_eq!(topics.template(), "demo7.outbox.event.{aggregate_type}");
        assert_eq!(topics.progress(), "demo7.postrider.progress");
        assert_eq!(topics.partitions().count(), 12);
    }
}
