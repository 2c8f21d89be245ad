//! The Kafka sink under the contract, on the shared broker with topics of its own.

use std::time::{Duration, Instant};

use postrider_relay::pipeline::{Error, Kind, Progress};
use postrider_relay::sinks::kafka::TransactionOptions;
use postrider_relay::sinks::{Kafka, KafkaOptions};
use postrider_relay::telemetry::Metrics;

use super::Rig;
use super::topic::{self, Delivered, unique};

/// The key of the progress that rigs open with.
pub(super) const KEY: &str = "slot";

/// The shared broker, with a topic and a progress topic that nobody else uses.
pub(super) struct Shared {
    pub(super) options: KafkaOptions,
    topic: String,
}

impl Shared {
    pub(super) fn new() -> Self {
        let bootstrap = xtask::services::current().unwrap().kafka.bootstrap;
        Self::on(bootstrap)
    }

    pub(super) fn on(bootstrap: String) -> Self {
        let mut options = KafkaOptions::new(bootstrap);
        options.progress_topic = unique("progress");
        options.progress_replication_factor = 1;
        Self { options, topic: unique("events") }
    }

    pub(super) async fn try_open(&self) -> Result<(Kafka, Option<Progress>), Error> {
        Kafka::open(self.options.clone(), Some(KEY), Metrics::new()).await
    }
}

/// The same with transactions: exactly once.
pub(super) struct Exactly(pub(super) Shared);

impl Exactly {
    pub(super) fn new() -> Self {
        let mut shared = Shared::new();
        shared.options.transactions = Some(TransactionOptions {
            id: unique("exactly"),
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(60),
        });
        Self(shared)
    }
}

impl Rig for Exactly {
    type Sink = Kafka;

    async fn open(&self) -> (Kafka, Option<Progress>) {
        self.0.open().await
    }

    fn topic(&self) -> &str {
        self.0.topic()
    }

    async fn delivered(&self) -> Option<Vec<Delivered>> {
        // A commit is durable before every partition has heard of it.
        topic::settled(&self.0.options.bootstrap_servers, self.topic()).await;
        self.0.delivered().await
    }
}

impl Rig for Shared {
    type Sink = Kafka;

    async fn open(&self) -> (Kafka, Option<Progress>) {
        self.try_open().await.unwrap()
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    async fn delivered(&self) -> Option<Vec<Delivered>> {
        Some(topic::read(&self.options.bootstrap_servers, &self.topic).await)
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_named_and_does_not_hang_the_opening() {
    // The port is free again when the listener is dropped, and nobody listens on it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for key in [Some(KEY), None] {
        let mut options = KafkaOptions::new(&nobody);
        options.connect_timeout = Duration::from_millis(500);
        let begun = Instant::now();
        let error = Kafka::open(options, key, Metrics::new()).await.map(|_| ()).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(error.kind(), Kind::Unavailable);
        let text = error.chain();
        assert!(text.contains(&nobody) && text.contains("refused"), "{text}");
    }
}

#[tokio::test]
async fn a_property_that_is_none_is_a_matter_of_set_up() {
    let mut rig = Shared::new();
    rig.options.properties.push(("no.such.property".into(), "1".into()));
    let error = rig.try_open().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Setup);
    assert!(error.chain().contains("no.such.property"), "{}", error.chain());
}
