//! Asks the brokers about topics, and has them create what is missing. Never creates by asking: a name is what a writer sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, Producer as _};
use tracing::debug;

use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::blocking;
use crate::sinks::kafka::client::{ProducerEvents, ReaderEvents};
use crate::sinks::kafka::creation::TopicCreation;
use crate::sinks::kafka::options::KafkaOptions;
use crate::sinks::kafka::reachability::Reachability;
use crate::sinks::kafka::topic::{Description, Limits};

/// Topics asked about one by one; of more, all that the cluster has are asked for at once.
const ONE_BY_ONE_MAX: usize = 8;

type Admin = AdminClient<ReaderEvents>;

/// What was found out about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    There(Description),
    /// No broker knows it.
    Missing,
    /// The relay may not know.
    Denied,
    /// Not now: the cluster has not settled.
    Later,
}

/// What was found out about each topic.
pub(super) type Answers = Vec<(Box<str>, Found)>;

/// Asks brokers. Its clones share one client, which is made at the first question.
#[derive(Clone)]
pub(super) struct Inspector {
    options: Arc<KafkaOptions>,
    reachability: Arc<Reachability>,
    admin: Arc<Mutex<Option<Arc<Admin>>>>,
}

impl Inspector {
    pub(super) fn new(options: &KafkaOptions, reachability: &Arc<Reachability>) -> Self {
        Self { options: Arc::new(options.clone()), reachability: Arc::clone(reachability), admin: Arc::default() }
    }

    /// What the brokers say about these topics, in their order. An error means that none was reached.
    pub(super) async fn describe(&self, names: Vec<Box<str>>) -> Result<Answers, Error> {
        let admin = self.admin()?;
        let timeout = self.options.connect_timeout;
        let asked = Arc::clone(&admin);
        let mut found = blocking(move || {
            partitions(asked.inner(), names, timeout).map_err(|error| {
                Error::new(End::Sink, Kind::Unavailable, "kafka did not tell of topics").because(error)
            })
        })
        .await?;
        let there = found.iter().filter(|(_, found)| matches!(found, Found::There(_)));
        let resources: Vec<ResourceSpecifier<'_>> = there.map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
        if resources.is_empty() {
            return Ok(found);
        }
        let described = admin.describe_configs(&resources, &self.patience()).await;
        let described = described.map_err(|error| {
            Error::new(End::Sink, Kind::Unavailable, "kafka did not tell the limits of topics").because(error)
        })?;
        drop(resources);
        for resource in described.into_iter().flatten() {
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
            let same = found.iter_mut().find(|(known, _)| **known == **name);
            if let Some((_, Found::There(description))) = same {
                description.limits = limits(&resource);
            }
        }
        Ok(found)
    }

    /// Has these topics created; what the controller said about each, in their order.
    pub(super) async fn create(
        &self,
        names: &[Box<str>],
        how: &TopicCreation,
    ) -> Result<Vec<(Box<str>, Result<(), Code>)>, Error> {
        let config = how.config();
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|name| {
                let replication = TopicReplication::Fixed(how.replication_factor);
                let mut topic = NewTopic::new(name, how.partitions, replication);
                topic.config = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
                topic
            })
            .collect();
        let outcome = self.admin()?.create_topics(&topics, &self.patience()).await.map_err(|error| {
            Error::new(End::Sink, Kind::Unavailable, "kafka did not say whether it created topics").because(error)
        })?;
        Ok(outcome
            .into_iter()
            .map(|outcome| match outcome {
                Ok(name) => (name.into(), Ok(())),
                Err((name, code)) => (name.into(), Err(code)),
            })
            .collect())
    }

    /// The names of all topics that the relay may know of.
    pub(super) async fn names(&self) -> Result<Vec<String>, Error> {
        let (admin, timeout) = (self.admin()?, self.options.connect_timeout);
        blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, timeout);
            let metadata = metadata.map_err(|error| {
                Error::new(End::Sink, Kind::Unavailable, "kafka did not list its topics").because(error)
            })?;
            Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
        })
        .await
    }

    fn patience(&self) -> AdminOptions {
        let timeout = Some(self.options.connect_timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    fn admin(&self) -> Result<Arc<Admin>, Error> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(admin) = &*admin {
            return Ok(Arc::clone(admin));
        }
        let events = ReaderEvents(Arc::clone(&self.reachability));
        let made = Admin::from_config_and_context(&self.options.admin(), events).map_err(|error| {
            Error::new(End::Sink, Kind::Setup, "the kafka client for topics does not start").because(error)
        })?;
        Ok(Arc::clone(admin.insert(Arc::new(made))))
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        // The last one's client joins its thread, which takes some 100 ms, and nobody has to wait for it.
        if Arc::strong_count(&self.admin) == 1
            && let Some(admin) = self.admin.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            drop(std::thread::Builder::new().name("kafka-admin-close".into()).spawn(move || drop(admin)));
        }
    }
}

/// Has the producer itself learn of a topic's partitions; how many it knows then. Blocks.
pub(super) fn learn(producer: &BaseProducer<ProducerEvents>, topic: &str, timeout: Duration) -> usize {
    let metadata = producer.client().fetch_metadata(Some(topic), timeout);
    metadata.ok().and_then(|metadata| Some(metadata.topics().first()?.partitions().len())).unwrap_or(0)
}

/// Which of these topics exist, and with how many partitions. Blocks.
fn partitions(client: &Client<ReaderEvents>, names: Vec<Box<str>>, timeout: Duration) -> Result<Answers, KafkaError> {
    let mut found = Vec::with_capacity(names.len());
    if names.len() <= ONE_BY_ONE_MAX {
        for name in names {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let told = metadata.topics().iter().find(|topic| *topic.name() == *name).map_or(Found::Later, judge);
            found.push((name, told));
        }
    } else {
        let metadata = client.fetch_metadata(None, timeout)?;
        let all: std::collections::HashMap<&str, &MetadataTopic> =
            metadata.topics().iter().map(|topic| (topic.name(), topic)).collect();
        for name in names {
            let told = all.get(&*name).map_or(Found::Missing, |topic| judge(topic));
            found.push((name, told));
        }
    }
    Ok(found)
}

fn judge(topic: &MetadataTopic) -> Found {
    match (topic.error().map(Code::from), topic.partitions().len()) {
        (None | Some(Code::LeaderNotAvailable), partitions) if partitions > 0 => {
            Found::There(Description { partitions, limits: Limits::UNKNOWN })
        }
        (Some(Code::UnknownTopic | Code::UnknownTopicOrPartition), _) => Found::Missing,
        (Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed), _) => Found::Denied,
        (error, _) => {
            debug!(topic = topic.name(), ?error, "the topic is not settled");
            Found::Later
        }
    }
}

/// What a topic's configuration says. Without the right to ask there is none.
fn limits(resource: &ConfigResource) -> Limits {
    let text = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref());
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
    // A topic that stamps records itself looks at no time of ours.
    let window = |name: &str| match text("message.timestamp.type") {
        Some("LogAppendTime") => i64::MAX,
        _ => number(name).filter(|ms| *ms >= 0).unwrap_or(i64::MAX),
    };
    Limits {
        batch_bytes_max: number("max.message.bytes").and_then(|bytes| bytes.try_into().ok()).unwrap_or(usize::MAX),
        keyed: text("cleanup.policy").is_some_and(|policy| policy.split(',').any(|word| word.trim() == "compact")),
        before_max_ms: window("message.timestamp.before.max.ms"),
        after_max_ms: window("message.timestamp.after.max.ms"),
    }
}
