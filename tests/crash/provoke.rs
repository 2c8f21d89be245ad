//! How a relay is brought to a failpoint: most are on everybody's way, some need a stop or a refusal.

use harness::{Ended, PATIENCE, Relay, Site, TopicReader, until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

/// What leads to a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provocation {
    /// Events.
    Load,
    /// SIGTERM, once events flow.
    Stop,
    /// The broker refuses what it would have taken before.
    Refuse,
}

impl Provocation {
    pub(crate) fn of(point: &str) -> Self {
        match point {
            "pump.drain" | "pump.drained" | "kafka.close" | "source.close" => Self::Stop,
            "kafka.reset" | "kafka.renewed" | "source.rewind" | "source.stopped" | "source.rewound" => Self::Refuse,
            _ => Self::Load,
        }
    }

    /// Whether a process comes there only once, or another time is not another case.
    pub(crate) fn comes_once(self) -> bool {
        self != Self::Load
    }

    /// Waits until `relay` has ended.
    pub(crate) async fn provoke(self, site: &Site, reader: &TopicReader, relay: Relay) -> Ended {
        let records = reader.count();
        if self != Self::Load {
            until("records arrive", PATIENCE, async || (reader.count() > records).then_some(())).await;
        }
        match self {
            Self::Stop => relay.terminate().await,
            Self::Load => relay.ended().await,
            Self::Refuse => {
                limit(site, "200").await;
                let ended = relay.ended().await;
                limit(site, "1000000").await;
                ended
            }
        }
    }
}

/// Sets the greatest batch of one of the topics.
async fn limit(site: &Site, bytes: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    let topic = format!("{}.outbox.event.order", site.name());
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let altered = admin.alter_configs([&change], &AdminOptions::new()).await.unwrap();
    altered.into_iter().for_each(|outcome| drop(outcome.unwrap()));
}
