//! Asks the brokers about topics, and has them create what is missing. Never creates by asking: a name is what a writer sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, Producer as _};
use tracing::debug;

use crate::kafka::events::ReaderEvents;
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::blocking;
use crate::sinks::kafka::client::ProducerEvents;
use crate::sinks::kafka::creation::TopicCreation;
use crate::sinks::kafka::options::KafkaOptions;
use crate::sinks::kafka::progress::TOKEN_HANDOVER;
use crate::sinks::kafka::topic::{Description, Limits};

/// Topics asked about one by one; of more, all that the cluster has are asked for at once.
const ONE_BY_ONE_MAX: usize = 8;

/// The client that asks. An administrative one cannot log in by a token, because nobody could hand it over; a consumer can,
/// but asks for less.
enum Asker {
    Admin(AdminClient<ReaderEvents>),
    Consumer(BaseConsumer<ReaderEvents>),
}

impl Asker {
    /// The native client, with a token if it needs one. Blocks.
    fn client(&self) -> &Client<ReaderEvents> {
        match self {
            Self::Admin(admin) => admin.inner(),
            Self::Consumer(consumer) => {
                drop(consumer.poll(TOKEN_HANDOVER));
                consumer.client()
            }
        }
    }
}

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
    asker: Arc<Mutex<Option<Arc<Asker>>>>,
}

impl Inspector {
    pub(super) fn new(options: &KafkaOptions, reachability: &Arc<Reachability>) -> Self {
        Self { options: Arc::new(options.clone()), reachability: Arc::clone(reachability), asker: Arc::default() }
    }

    /// What the brokers say about these topics, in their order. An error means that none was reached.
    pub(super) async fn describe(&self, names: Vec<Box<str>>) -> Result<Answers, Error> {
        let asker = self.asker()?;
        let timeout = self.options.connect_timeout;
        let asked = Arc::clone(&asker);
        let mut found = blocking(move || {
            partitions(asked.client(), names, timeout).map_err(|error| {
                Error::new(End::Sink, Kind::Unavailable, "kafka did not tell of topics").because(error)
            })
        })
        .await?;
        let there = found.iter().filter(|(_, found)| matches!(found, Found::There(_)));
        let resources: Vec<ResourceSpecifier<'_>> = there.map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
        let Asker::Admin(admin) = &*asker else { return Ok(found) };
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

    /// Whether topics can be created.
    pub(super) fn may_create(&self) -> bool {
        self.options.security.token().is_none()
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
        let asker = self.asker()?;
        let Asker::Admin(admin) = &*asker else {
            return Err(Error::new(End::Sink, Kind::Broken, "topics cannot be created with a token"));
        };
        let outcome = admin.create_topics(&topics, &self.patience()).await.map_err(|error| {
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
        let (asker, timeout) = (self.asker()?, self.options.connect_timeout);
        blocking(move || {
            let metadata = asker.client().fetch_metadata(None, timeout);
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

    fn asker(&self) -> Result<Arc<Asker>, Error> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        let mut asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = &*asker {
            return Ok(Arc::clone(asker));
        }
        let events = ReaderEvents::new(&self.options.security, &self.reachability);
        let made = match self.may_create() {
            true => AdminClient::from_config_and_context(&self.options.admin(), events).map(Asker::Admin),
            false => BaseConsumer::from_config_and_context(&self.options.reader(), events).map(Asker::Consumer),
        };
        let made = made.map_err(|error| {
            Error::new(End::Sink, Kind::Setup, "the kafka client for topics does not start").because(error)
        })?;
        Ok(Arc::clone(asker.insert(Arc::new(made))))
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        // The last one's client joins its thread, which takes some 100 ms, and nobody has to wait for it.
        if Arc::strong_count(&self.asker) == 1
            && let Some(asker) = self.asker.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            drop(std::thread::Builder::new().name("kafka-asker-close".into()).spawn(move || drop(asker)));
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
