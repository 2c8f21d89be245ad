//! The topics in use: found out about at their first event, looked at again in the background, forgotten at a reset.
//!
//! Guarantee: the number of partitions that keys are spread over changes only while nothing is in flight.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::creation::{TopicCreation, Unusable, check_name, colliding};
use crate::sinks::kafka::inspector::{Answers, Found, Inspector};
use crate::sinks::kafka::options::KafkaOptions;
use crate::sinks::kafka::refusal::{Class, Refusal};
use crate::sinks::kafka::topic::{Description, Topic};
use crate::telemetry::Metrics;

/// Topics known at most: a hundred times what a platform publishes to. Beyond it all are forgotten and found out about anew.
const TOPICS_MAX: usize = 10_000;

/// How long to wait before asking again about a topic that the cluster is just settling.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long a broker's answer about a topic that cannot be used holds: somebody may be mending it.
const UNUSABLE: Duration = Duration::from_secs(1);

/// How long a topic that refused a record for want of a right is left alone: trying costs what is in flight.
const FORBIDDEN: Duration = Duration::from_secs(10);

/// Topics that one request asks about, or creates, at most.
const ASKED_MAX: usize = 500;

/// A topic known to [`Topics`]: valid until the next call that may learn or forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId(usize);

/// The topics in use.
pub(super) struct Topics {
    by_name: HashMap<Box<str>, usize>,
    list: Vec<Topic>,
    /// Partitions whose first record may not be durable.
    probed: Vec<(usize, usize)>,
    unusable: Unusable,
    /// Those that were just created, and that not every broker may know yet.
    created: HashSet<Box<str>>,
    inspector: Inspector,
    creation: TopicCreation,
    progress_topic: String,
    refresh_interval: Duration,
    /// When all were last looked at; none asks for a look at once.
    refreshed_at: Option<Instant>,
    refreshing: Option<JoinHandle<Result<Answers, Error>>>,
    /// What a look found that may only be used once nothing is in flight.
    changes: Answers,
    metrics: Arc<Metrics>,
}

impl Topics {
    pub(super) fn new(options: &KafkaOptions, reachability: &Arc<Reachability>, metrics: Arc<Metrics>) -> Self {
        Self {
            by_name: HashMap::new(),
            list: Vec::new(),
            probed: Vec::new(),
            unusable: Unusable::default(),
            created: HashSet::new(),
            inspector: Inspector::new(options, reachability),
            creation: options.topics.clone(),
            progress_topic: options.progress_topic.clone(),
            refresh_interval: options.topic_refresh_interval,
            refreshed_at: Some(Instant::now()),
            refreshing: None,
            changes: Vec::new(),
            metrics,
        }
    }

    /// The topic of this name, if it is known.
    pub(super) fn find(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied().map(TopicId)
    }

    pub(super) fn topic(&self, id: TopicId) -> &Topic {
        &self.list[id.0]
    }

    pub(super) fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        &mut self.list[id.0]
    }

    /// Whether nothing needs to be asked about the topic of this name.
    pub(super) fn is_settled(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
            || self.unusable.is_fresh(name)
            || check_name(name, &self.progress_topic).is_err()
    }

    /// Why events for the topic of this name are not taken; none if it is known.
    pub(super) fn refusal(&self, name: &str) -> Option<Refusal> {
        check_name(name, &self.progress_topic).err().or_else(|| self.unusable.find(name).cloned())
    }

    /// The first record of this partition is on its way.
    pub(super) fn probe(&mut self, id: TopicId, partition: usize) {
        self.probed.push((id.0, partition));
    }

    /// Everything in flight is durable.
    pub(super) fn settled(&mut self) {
        for (topic, partition) in self.probed.drain(..) {
            self.list[topic].settled(partition);
        }
    }

    /// Whether there is no room for `more` topics.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.list.len() + more > TOPICS_MAX
    }

    /// Another producer goes on, which no partition knows; what is said of topics may be why. Only while nothing is in flight.
    pub(super) fn renewed(&mut self) {
        self.list.iter_mut().for_each(Topic::renewed);
        self.probed.clear();
        self.refreshed_at = None;
    }

    /// Forgets every topic. Only while nothing is in flight.
    pub(super) fn forget(&mut self) {
        self.by_name.clear();
        self.list.clear();
        self.probed.clear();
        self.changes.clear();
        if let Some(task) = self.refreshing.take() {
            task.abort();
        }
        self.metrics.kafka.topics.set(0);
    }

    /// Leaves a topic alone for a while, because it refused a record for want of a right.
    pub(super) fn forbid(&mut self, name: &str, refusal: Refusal) {
        self.unusable.remember(name, refusal, FORBIDDEN);
    }

    /// Finds out about topics that are not known; creates what may be created. What cannot be used has a [`Topics::refusal`]
    /// afterwards. Waits for brokers as long as there is none.
    pub(super) async fn learn(&mut self, names: Vec<Box<str>>) -> Result<(), Error> {
        for names in names.chunks(ASKED_MAX) {
            let mut names = names.to_vec();
            while !names.is_empty() {
                match self.learn_some(&mut names).await {
                    Err(error) if error.kind() == Kind::Unavailable => {
                        debug!(error = error.chain(), "topics are not known yet; asking again");
                    }
                    outcome => outcome?,
                }
                if !names.is_empty() {
                    sleep(ASK_AGAIN).await;
                }
            }
        }
        Ok(())
    }

    /// One round of [`Topics::learn`]; those that are not decided stay in `names`.
    async fn learn_some(&mut self, names: &mut Vec<Box<str>>) -> Result<(), Error> {
        let mut missing = Vec::new();
        for (name, found) in self.inspector.describe(names.clone()).await? {
            match found {
                Found::There(description) => self.add(name, &description),
                Found::Denied => self.refuse(&name, denied(&name, "Describe")),
                // What was just created is only waited for.
                Found::Missing if !self.created.contains(&name) => missing.push(name),
                Found::Missing | Found::Later => {}
            }
        }
        if !missing.is_empty() {
            self.create(missing).await?;
        }
        names.retain(|name| !self.by_name.contains_key(name) && !self.unusable.is_fresh(name));
        if names.is_empty() {
            self.created.clear();
        }
        Ok(())
    }

    /// Creates those that may be created.
    async fn create(&mut self, names: Vec<Box<str>>) -> Result<(), Error> {
        let mut permitted = Vec::new();
        for name in names {
            if self.creation.create && !self.inspector.may_create() {
                let reason = "the topic does not exist, and with a token the relay cannot create it".to_owned();
                let help = format!("Create it: {}", self.creation.command(&name));
                self.refuse(&name, Refusal::new(Class::Missing, reason, help));
                continue;
            }
            match self.creation.permit(&name) {
                Ok(()) => permitted.push(name),
                Err(refusal) => self.refuse(&name, refusal),
            }
        }
        if permitted.is_empty() {
            return Ok(());
        }
        let outcome = self.inspector.create(&permitted, &self.creation).await;
        let outcome = outcome.inspect_err(|_| permitted.iter().for_each(|_| self.creation.give_back()))?;
        for (name, outcome) in outcome {
            match outcome {
                Ok(()) => {
                    self.metrics.kafka.topics_created.inc();
                    info!(topic = &*name, "topic created");
                    self.created.insert(name);
                }
                Err(code) => {
                    self.creation.give_back();
                    if code == Code::TopicAlreadyExists {
                        // Another relay was faster.
                        self.created.insert(name);
                    } else {
                        let refusal = self.not_created(&name, code).await?;
                        self.refuse(&name, refusal);
                    }
                }
            }
        }
        Ok(())
    }

    /// What a controller's refusal to create a topic means.
    async fn not_created(&self, name: &str, code: Code) -> Result<Refusal, Error> {
        let command = self.creation.command(name);
        let refusal = |class, reason: String, help: String| Ok(Refusal::new(class, reason, help));
        match code {
            // The name is legal: we looked.
            Code::InvalidTopic => {
                let names = self.inspector.names().await?;
                let other = colliding(name, names.iter().map(String::as_str)).unwrap_or("another topic");
                refusal(
                    Class::Name,
                    format!("the topic cannot be created beside {other}: dots and underscores count as the same"),
                    "Name the aggregate type differently, or give it a topic of its own.".into(),
                )
            }
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => refusal(
                Class::Denied,
                "the topic does not exist, and the relay may not create it".into(),
                grant(name, "Create"),
            ),
            Code::PolicyViolation => refusal(
                Class::Denied,
                "the topic does not exist, and a policy of the cluster forbids to create it as [topics] says".into(),
                format!("Change [topics], or create it: {command}"),
            ),
            Code::InvalidPartitions | Code::InvalidReplicationFactor | Code::InvalidConfig | Code::InvalidRequest => {
                refusal(
                    Class::Missing,
                    format!("the topic does not exist, and kafka does not create it as [topics] says: {code}"),
                    format!("Change [topics], or create it: {command}"),
                )
            }
            // Busy, electing, or away.
            _ => {
                Err(Error::new(End::Sink, Kind::Unavailable, format!("topic {name} is not created yet")).because(code))
            }
        }
    }

    fn add(&mut self, name: Box<str>, description: &Description) {
        debug!(topic = &*name, partitions = description.partitions, "topic known");
        self.by_name.insert(name.clone(), self.list.len());
        self.list.push(Topic::new(name, description));
        self.metrics.kafka.topics.set(self.list.len() as i64);
    }

    fn refuse(&mut self, name: &str, refusal: Refusal) {
        debug!(topic = name, reason = refusal.reason, "topic not usable");
        self.unusable.remember(name, refusal, UNUSABLE);
    }

    /// Finds out about these topics again, because something was refused for what they said when they were last asked.
    pub(super) async fn look_again(&mut self, names: Vec<Box<str>>) -> Result<(), Error> {
        let found = self.inspector.describe(names).await?;
        self.note(found);
        Ok(())
    }

    /// Starts a look at all topics if it is time for one, and takes note of one that is done. Never waits.
    pub(super) async fn refresh(&mut self) {
        let is_due = self.is_refresh_due();
        match &mut self.refreshing {
            Some(task) if task.is_finished() => {
                let outcome = task.await;
                self.refreshing = None;
                match outcome {
                    Ok(Ok(found)) => self.note(found),
                    Ok(Err(error)) => {
                        debug!(error = error.chain(), "topics were not looked at; the next look will tell");
                    }
                    Err(error) => warn!(%error, "the look at topics ended early"),
                }
            }
            None if is_due && !self.list.is_empty() => {
                self.refreshed_at = Some(Instant::now());
                let (inspector, names) = (self.inspector.clone(), self.list.iter().map(|topic| topic.name.clone()));
                let names: Vec<Box<str>> = names.collect();
                self.refreshing = Some(tokio::spawn(async move { inspector.describe(names).await }));
            }
            _ => {}
        }
    }

    fn is_refresh_due(&self) -> bool {
        self.refreshed_at.is_none_or(|at| at.elapsed() >= self.refresh_interval)
    }

    /// Takes over what may change at any time, and keeps the rest for when nothing is in flight.
    fn note(&mut self, found: Answers) {
        for (name, found) in found {
            let Some(topic) = self.by_name.get(&name).map(|index| &mut self.list[*index]) else { continue };
            match &found {
                Found::There(description) if description.partitions == topic.partition_count() => {
                    topic.limits = description.limits;
                }
                Found::There(_) | Found::Missing | Found::Denied => {
                    self.changes.retain(|(known, _)| *known != name);
                    self.changes.push((name, found));
                }
                Found::Later => {}
            }
        }
    }

    /// The topics that changed in a way that may be used only once nothing is in flight.
    pub(super) fn changed(&self) -> Vec<Box<str>> {
        self.changes.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Uses what changed, as far as the producer knows as many partitions of each (`known`, in the order of
    /// [`Topics::changed`]). Only while nothing is in flight.
    pub(super) fn use_changes(&mut self, known: &[usize]) {
        let changes = std::mem::take(&mut self.changes);
        for ((name, found), known) in changes.into_iter().zip(known) {
            let Some(index) = self.by_name.get(&name).copied() else { continue };
            match found {
                Found::There(description) if *known < description.partitions => {
                    self.changes.push((name, Found::There(description)));
                }
                Found::There(description) => {
                    let (before, after) = (self.list[index].partition_count(), description.partitions);
                    warn!(topic = &*name, before, after, "the number of partitions changed; keys move to other ones");
                    self.metrics.kafka.partition_changes.inc();
                    self.list[index] = Topic::new(name, &description);
                }
                Found::Missing | Found::Denied | Found::Later => {
                    // Found out about anew by its next event, which may create it.
                    self.by_name.remove(&name);
                }
            }
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        if let Some(task) = &self.refreshing {
            task.abort();
        }
    }
}

/// The relay lacks a right.
pub(super) fn denied(topic: &str, right: &str) -> Refusal {
    let reason = format!("the relay lacks the right {right} on the topic");
    Refusal::new(Class::Denied, reason, grant(topic, right))
}

fn grant(topic: &str, right: &str) -> String {
    format!(
        "Grant it: kafka-acls.sh --bootstrap-server … --add --allow-principal User:… --operation {right} --topic {topic}"
    )
}
