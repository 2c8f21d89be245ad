//! The consumer: notes when each event came, on a thread of its own and with a client of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::error::{Doing, Error, Result};
use crate::latency::place::Place;
use crate::watcher::{Counter, now_us};

/// How soon an order to stop is noticed.
const POLL: Duration = Duration::from_millis(50);

/// Between two looks at how many have come.
const LOOK: Duration = Duration::from_millis(10);

/// A consumer at work.
pub(super) struct Arrivals {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<HashMap<u64, i64>>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: AtomicU64,
    finish: AtomicBool,
}

impl Arrivals {
    /// Reads the place's topics from their beginning.
    pub(super) fn start(place: &Place) -> Result<Self> {
        let consumer: BaseConsumer = place
            .client()
            .set("group.id", format!("{}latency", place.topics.prefix()))
            .set("enable.auto.commit", "false")
            .set("fetch.min.bytes", "1")
            .create()
            .doing("starting the independent consumer")?;
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in place.topics.partitions() {
            partitions.add_partition_offset(&topic, partition, Offset::Beginning).doing("assigning partitions")?;
        }
        consumer.assign(&partitions).doing("assigning partitions")?;
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let read = move || {
            let mut arrived = HashMap::new();
            while !told.finish.load(Ordering::Relaxed) {
                let Some(message) = consumer.poll(POLL) else { continue };
                let message = message.doing("reading the run's topics")?;
                let now = now_us();
                if let Some(number) = Counter::of(message.payload().unwrap_or_default()) {
                    // A repeated event came when it came first.
                    arrived.entry(number).or_insert(now);
                    told.seen.store(arrived.len() as u64, Ordering::Relaxed);
                }
            }
            Ok(arrived)
        };
        let thread =
            std::thread::Builder::new().name("arrivals".into()).spawn(read).doing("starting the consumer's thread")?;
        Ok(Self { shared, thread })
    }

    /// Waits until `events` different events have come.
    pub(super) async fn wait_for(&self, events: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.shared.seen.load(Ordering::Relaxed);
            if seen >= events {
                return Ok(());
            }
            if Instant::now() > deadline || self.thread.is_finished() {
                return Err(Error::Relay(format!("only {seen} of {events} events arrived within {patience:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// When each event came, in microseconds since 1970, by its number.
    pub(super) fn finish(self) -> Result<HashMap<u64, i64>> {
        self.shared.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Relay("the consumer's thread panicked; its message is above".into()))?
    }
}
