//! The topics of one run: their names all begin with the run's prefix, so that runs side by side never see each other's records.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::{Doing, Error, Result};

/// Partitions of every topic: enough that keys spread, few enough for a laptop.
pub const PARTITIONS: i32 = 6;

/// How long the brokers may take to make topics, and to tell each other of them.
const CREATE_MAX: Duration = Duration::from_secs(30);
/// Between two looks, and how long each may take: a client that has just connected may wait in vain for its first answer.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(3);

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
        create(bootstrap, &self.names().collect::<Vec<_>>(), PARTITIONS).await
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

/// Creates topics with so many partitions each, and waits until every partition has a leader.
pub(crate) async fn create(bootstrap: &str, names: &[String], partitions: i32) -> Result<()> {
    let wanted = names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)));
    create_all(bootstrap, &wanted.collect::<Vec<_>>()).await
}

/// Creates topics, and waits until every partition has a leader: the controller answers before the brokers have heard of them.
///
/// # Errors
/// Kafka refused one, or did not do it in time.
pub async fn create_all(bootstrap: &str, wanted: &[NewTopic<'_>]) -> Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(CREATE_MAX));
    let outcome = admin(bootstrap)?.create_topics(wanted, &options).await.doing("creating topics")?;
    if let Some((topic, code)) = outcome.into_iter().find_map(std::result::Result::err) {
        return Err(Error::Relay(format!("topic {topic} could not be created: {code}")));
    }
    let client = admin(bootstrap)?;
    let topics: Vec<(String, usize)> = wanted
        .iter()
        .map(|topic| (topic.name.to_owned(), usize::try_from(topic.num_partitions).unwrap_or_default()))
        .collect();
    let led = tokio::task::spawn_blocking(move || topics.iter().try_for_each(|topic| led(&client, topic))).await;
    led.map_err(|error| Error::Relay(error.to_string()))?
}

/// Waits until each partition of a topic has a leader. Blocks.
fn led(client: &AdminClient<DefaultClientContext>, (topic, partitions): &(String, usize)) -> Result<()> {
    let deadline = Instant::now() + CREATE_MAX;
    loop {
        match client.inner().fetch_metadata(Some(topic), LOOK_MAX).doing(format!("looking at {topic}")) {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let led = found.map_or(0, |found| found.partitions().iter().filter(|one| one.leader() >= 0).count());
                if led >= *partitions {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    return Err(Error::Relay(format!("{led} of {partitions} partitions of {topic} have a leader")));
                }
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
        std::thread::sleep(LOOK_AGAIN);
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
