//! Topics made and changed to measure. The controller answers before the broker has heard of either: what comes next must find it so.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::wait::{PATIENCE, until};

/// A client that makes, changes and removes topics.
///
/// # Panics
/// If there can be none.
#[must_use]
pub fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client of Kafka")
}

/// Makes a topic, and waits until it is there.
///
/// # Panics
/// If it cannot be made.
pub async fn create_topic(bootstrap: &str, topic: NewTopic<'_>) {
    demo::topics::create_all(bootstrap, &[topic]).await.expect("a topic can be created");
}

/// Gives a topic this configuration, and what is not named its default, and waits until it has it.
///
/// # Panics
/// If it cannot be changed.
pub async fn alter_topic(bootstrap: &str, topic: &str, name: &str, value: &str) {
    let (admin, resource) = (admin(bootstrap), ResourceSpecifier::Topic(topic));
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let altered = admin.alter_configs([&change], &AdminOptions::new()).await.expect("a topic can be changed");
    altered.into_iter().for_each(|outcome| drop(outcome.expect("the change is taken")));
    until("the topic is as it was asked for", PATIENCE, async || {
        let described =
            admin.describe_configs([&resource], &AdminOptions::new()).await.expect("a topic can be described");
        let resource = described.into_iter().next()?.ok()?;
        (resource.get(name)?.value.as_deref() == Some(value)).then_some(())
    })
    .await;
}
