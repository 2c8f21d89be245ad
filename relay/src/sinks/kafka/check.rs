//! The broker's part of `postrider check`: reads metadata and configurations, changes nothing, and names each fault.
//!
//! A single broker or two cannot keep three replicas: what only a cluster of three can have is a note there, and a warning
//! where it could be had.

mod cluster;
mod rules;
mod transactions;
mod trouble;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use regex::Regex;

use crate::finding::{Finding, Rule, Severity};
use crate::kafka::reachability::Reachability;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::check::cluster::Cluster;
use crate::sinks::kafka::check::rules::{
    APPEND_TIME, AUTHENTICATION, AUTHORIZATION, COMPACTED, COMPACTED_KEYLESS, MESSAGE_BYTES, MIN_INSYNC, PLAINTEXT,
    PROGRESS_PARTITIONS, PROGRESS_POLICY, PROGRESS_UNREADABLE, REPLICATION, RETENTION, TIMESTAMPS, TLS,
    TOPIC_COLLISION, TOPIC_CREATION, TOPIC_MISSING, UNANSWERED, UNCLEAN,
};
use crate::sinks::kafka::check::trouble::Troubles;
use crate::sinks::kafka::options::KafkaOptions;
use crate::sinks::kafka::progress::Reader;
use crate::telemetry::Metrics;

/// Topics whose configuration is looked at.
const TOPICS_MAX: usize = 200;

/// The fewest brokers that can keep what was acknowledged over the loss of one.
const BROKERS_DURABLE: usize = 3;

/// A consumer that is away for a weekend should miss nothing.
const RETENTION_MS_MIN: i64 = 24 * 60 * 60 * 1000;

/// A relay or broker that is away for that long sends commit times as old as that.
const BEFORE_MS_MIN: i64 = 24 * 60 * 60 * 1000;

/// How long the next word about a connection that failed is waited for.
const WORDS_WAIT: Duration = Duration::from_millis(100);

/// How long words are gathered: a connection that fails is tried again and again.
const WORDS_MAX: Duration = Duration::from_secs(1);

/// What a batch of one record adds to it, in bytes.
const BATCH_OVERHEAD_BYTES: i64 = 61;

/// What the configuration expects of the broker.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How to reach it.
    pub options: KafkaOptions,
    /// The slot, which is the key of the progress record.
    pub slot: String,
    /// What the names of event topics look like.
    pub topics: Vec<Regex>,
    /// Topics that events of the outbox go to now.
    pub known: Vec<String>,
    /// Topics that changes of captured tables go to.
    pub captured: Vec<CapturedTopic>,
    /// A topic that events could go to, for the broker to judge; none if the names cannot be told.
    pub example: Option<String>,
}

/// The topic of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTopic {
    /// Its name.
    pub topic: String,
    /// Whether the table's records have keys.
    pub keyed: bool,
}

/// What was found, and the record of what was delivered.
#[derive(Debug, Default)]
pub struct Examined {
    /// The faults.
    pub findings: Vec<Finding>,
    /// The progress record.
    pub progress: Option<Bytes>,
}

/// Every rule of the broker's part.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    rules::RULES.iter().copied()
}

/// Looks at everything. A question that the broker does not answer is a finding as well.
pub async fn check(expected: &Expected) -> Examined {
    let mut expected = expected.clone();
    let mut examined = Examined::default();
    match expected.options.security.properties() {
        Ok(secured) => expected.options.secured = secured,
        Err(error) => {
            examined.findings.push(AUTHENTICATION.found(error.chain()).words(AUTHENTICATION.mend));
            return examined;
        }
    }
    if expected.options.security.token().is_some() {
        return with_token(&expected).await;
    }
    let (cluster, admin) = match reach(&expected).await {
        Ok(reached) => reached,
        Err(finding) => {
            examined.findings.push(finding);
            return examined;
        }
    };
    let look = Look { expected: &expected, admin: &admin, cluster: &cluster };
    examined.findings.extend(look.plaintext());
    examined.findings.extend(look.missing());
    examined.findings.extend(look.collisions());
    examined.findings.extend(look.creation().await);
    examined.findings.extend(look.configurations().await);
    examined.findings.extend(look.transactions().await);
    if cluster.topics.contains_key(&expected.options.progress_topic) {
        match progress(&expected.options, &expected.slot).await {
            Ok(progress) => examined.progress = progress,
            Err(error) => examined.findings.push(progress_unreadable(&expected.options, &error.chain())),
        }
    }
    // Stopping the client joins its thread.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    examined
}

/// What can be looked at with a token: only a client that reads hands one over, and it cannot ask for configurations.
async fn with_token(expected: &Expected) -> Examined {
    let what = "with a token the configuration of topics cannot be asked for: it was not looked at";
    let mut examined = Examined { findings: vec![UNANSWERED.found(what).as_bad_as(Severity::Note)], progress: None };
    match progress(&expected.options, &expected.slot).await {
        Ok(progress) => examined.progress = progress,
        Err(error) => {
            let troubles = Troubles::default();
            troubles.note(&error.chain());
            let finding = match error.kind() {
                Kind::Unavailable => troubles.finding(&expected.options, &KafkaError::Canceled),
                _ => progress_unreadable(&expected.options, &error.chain()),
            };
            examined.findings.push(finding);
        }
    }
    examined
}

/// Connects and asks what there is.
async fn reach(expected: &Expected) -> Result<(Cluster, AdminClient<Troubles>), Finding> {
    let troubles = Troubles::default();
    let unusable = |error: KafkaError| TLS.found(format!("the kafka client does not start: {error}")).words(TLS.mend);
    // Only a client that is polled tells why it cannot connect.
    let reader: BaseConsumer<Troubles> =
        BaseConsumer::from_config_and_context(&expected.options.reader(), troubles.clone()).map_err(unusable)?;
    let patience = expected.options.connect_timeout;
    let asked = tokio::task::spawn_blocking(move || {
        let cluster = reader.fetch_metadata(None, patience).map(|metadata| Cluster::of(&metadata));
        if cluster.is_err() {
            let deadline = Instant::now() + WORDS_MAX;
            while Instant::now() < deadline && reader.poll(WORDS_WAIT).is_some() {}
        }
        cluster
    });
    let cluster = asked.await.unwrap_or(Err(KafkaError::Canceled));
    let cluster = cluster.map_err(|error| troubles.finding(&expected.options, &error))?;
    let admin = AdminClient::from_config_and_context(&expected.options.admin(), troubles).map_err(unusable)?;
    Ok((cluster, admin))
}

/// The newest progress record of the slot, if there is a topic for it. Nothing is made and nobody is fenced.
///
/// # Errors
/// Brokers that do not answer, and what they refuse.
pub async fn newest_progress(options: &KafkaOptions, slot: &str) -> Result<Option<Bytes>, Error> {
    let mut options = options.clone();
    options.secured = options.security.properties()?;
    progress(&options, slot).await
}

async fn progress(options: &KafkaOptions, slot: &str) -> Result<Option<Bytes>, Error> {
    let (options, key) = (options.clone(), slot.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let secure = !options.secured.is_empty();
        let reachability = Arc::new(Reachability::new(&options.bootstrap_servers, secure, Metrics::new()));
        let reader = Reader::start(options, reachability)?;
        if reader.topic_exists()? { reader.newest(key.as_bytes()) } else { Ok(None) }
    });
    let interrupted = |_| Error::new(End::Sink, Kind::Broken, "reading the progress topic was interrupted");
    Ok(read.await.map_err(interrupted)??.map(|progress| progress.value))
}

fn progress_unreadable(options: &KafkaOptions, reason: &str) -> Finding {
    let (topic, brokers) = (&options.progress_topic, &options.bootstrap_servers);
    PROGRESS_UNREADABLE.found(format!("the progress topic {topic:?} cannot be read: {reason}")).command(format!(
        "kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:<the relay's> --operation Read --operation Write --operation Describe --topic {topic}"
    ))
}

/// What looking needs.
struct Look<'a> {
    expected: &'a Expected,
    admin: &'a AdminClient<Troubles>,
    cluster: &'a Cluster,
}

impl Look<'_> {
    /// The topics of events that are there.
    fn event_topics(&self) -> Vec<&str> {
        let is_event = |name: &str| {
            name != self.expected.options.progress_topic
                && (self.expected.topics.iter().any(|pattern| pattern.is_match(name))
                    || self.known().any(|known| known == name))
        };
        self.cluster.topics.keys().map(String::as_str).filter(|name| is_event(name)).take(TOPICS_MAX).collect()
    }

    /// The topics that are known to be needed.
    fn known(&self) -> impl Iterator<Item = &String> {
        self.expected.known.iter().chain(self.expected.captured.iter().map(|captured| &captured.topic))
    }

    fn tool(&self, tool: &str) -> String {
        format!("{tool} --bootstrap-server {}", self.expected.options.bootstrap_servers)
    }

    fn alter(&self, topic: &str, name: &str, value: impl std::fmt::Display) -> String {
        format!(
            "{} --alter --entity-type topics --entity-name {topic} --add-config {name}={value}",
            self.tool("kafka-configs.sh")
        )
    }

    fn plaintext(&self) -> Option<Finding> {
        let client = self.expected.options.admin();
        let protocol = client.get("security.protocol").unwrap_or("plaintext").to_lowercase();
        let is_local = |host: &str| matches!(host, "localhost" | "::1") || host.starts_with("127.");
        let abroad = self.cluster.hosts.iter().find(|host| !is_local(host))?;
        (!protocol.ends_with("ssl")).then(|| {
            PLAINTEXT.found(format!("the connection to broker {abroad:?} is not encrypted")).words(PLAINTEXT.mend)
        })
    }

    /// Whether the relay itself would create the topic, as far as it decides.
    fn may_create(&self, name: &str) -> bool {
        let creation = &self.expected.options.topics;
        creation.create && creation.allow.as_ref().is_none_or(|allow| allow.is_match(name))
    }

    fn missing(&self) -> Vec<Finding> {
        let is_missing = |name: &&String| !self.cluster.topics.contains_key(*name) && !self.may_create(name);
        let found = |name: &String| {
            let replicas = self.cluster.brokers.min(BROKERS_DURABLE);
            let create = format!(
                "{} --create --topic {name} --partitions 6 --replication-factor {replicas}",
                self.tool("kafka-topics.sh")
            );
            TOPIC_MISSING
                .found(format!("topic {name:?} does not exist, and the relay may not create it"))
                .command(create)
        };
        self.known().filter(is_missing).map(found).collect()
    }

    fn collisions(&self) -> Vec<Finding> {
        let mut alike: HashMap<String, BTreeSet<&str>> = HashMap::new();
        for name in self.event_topics().into_iter().chain(self.known().map(String::as_str)) {
            alike.entry(name.replace('.', "_")).or_default().insert(name);
        }
        let mut findings: Vec<Finding> = alike
            .values()
            .filter(|names| names.len() > 1)
            .map(|names| {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                TOPIC_COLLISION.found(format!("topics {} collide", names.join(" and "))).words(TOPIC_COLLISION.mend)
            })
            .collect();
        findings.sort_by(|one, other| one.what().cmp(other.what()));
        findings
    }

    /// Has the broker judge a topic as the relay would create it, without creating it.
    async fn creation(&self) -> Option<Finding> {
        let creation = &self.expected.options.topics;
        let names = self.known().chain(&self.expected.example);
        let mut creatable = names.filter(|name| !self.cluster.topics.contains_key(*name) && self.may_create(name));
        let name = creatable.next()?;
        let retention = creation.retention_ms.map(|ms| ms.to_string());
        let mut topic = NewTopic::new(name, creation.partitions, TopicReplication::Fixed(creation.replication_factor));
        topic.config.extend(creation.cleanup_policy.as_deref().map(|policy| ("cleanup.policy", policy)));
        topic.config.extend(retention.as_deref().map(|ms| ("retention.ms", ms)));
        let patience = Some(self.expected.options.connect_timeout);
        let options = AdminOptions::new().validate_only(true).request_timeout(patience).operation_timeout(patience);
        let code = match self.admin.create_topics([&topic], &options).await {
            Ok(outcome) => outcome.into_iter().find_map(Result::err)?.1,
            Err(error) => return Some(unanswered("whether topics can be created", &error)),
        };
        let refused = format!("the broker refuses to create a topic such as {name:?}: {code}");
        match code {
            RDKafkaErrorCode::TopicAlreadyExists => None,
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                Some(AUTHORIZATION.found(refused).command(format!(
                    "{} --add --allow-principal User:<the relay's> --operation Create --cluster",
                    self.tool("kafka-acls.sh")
                )))
            }
            RDKafkaErrorCode::InvalidReplicationFactor => {
                let brokers = self.cluster.brokers;
                Some(
                    TOPIC_CREATION
                        .found(format!("{refused}, with {} replicas on {brokers} brokers", creation.replication_factor))
                        .configuration("topics.replication_factor", &brokers.to_string()),
                )
            }
            _ => Some(TOPIC_CREATION.found(refused).words(TOPIC_CREATION.mend)),
        }
    }

    async fn configurations(&self) -> Vec<Finding> {
        let mut names = self.event_topics();
        let progress = self.expected.options.progress_topic.as_str();
        if self.cluster.topics.contains_key(progress) {
            names.push(progress);
        }
        if names.is_empty() {
            return Vec::new();
        }
        let asked: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.expected.options.connect_timeout));
        let described = match self.admin.describe_configs(&asked, &options).await {
            Ok(described) => described,
            Err(error) => return vec![unanswered("the configuration of the topics", &error)],
        };
        let mut findings = Vec::new();
        for outcome in described {
            match outcome {
                Ok(resource) => findings.extend(self.topic(&resource)),
                Err(code) => {
                    let error = KafkaError::AdminOp(code);
                    findings.push(unanswered("the configuration of a topic", &error).command(format!(
                        "{} --add --allow-principal User:<the relay's> --operation DescribeConfigs --topic '*'",
                        self.tool("kafka-acls.sh")
                    )));
                    break;
                }
            }
        }
        findings
    }

    fn topic(&self, resource: &ConfigResource) -> Vec<Finding> {
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { return Vec::new() };
        let mut findings = self.durability(name, resource);
        if *name == self.expected.options.progress_topic {
            findings.extend(self.progress_topic(name, resource));
        } else {
            findings.extend(self.event_topic(name, resource));
        }
        findings
    }

    /// What keeps an acknowledged event over the loss of a broker.
    fn durability(&self, topic: &str, resource: &ConfigResource) -> Vec<Finding> {
        let can_be_had = self.cluster.brokers >= BROKERS_DURABLE;
        let severity = if can_be_had { Severity::Warning } else { Severity::Note };
        let replicas = self.cluster.topics.get(topic).map_or(0, |found| found.replicas);
        let mut findings = Vec::new();
        if replicas < BROKERS_DURABLE {
            findings.push(
                REPLICATION
                    .found(format!(
                        "topic {topic:?} has partitions with {replicas} replicas on {} brokers",
                        self.cluster.brokers
                    ))
                    .as_bad_as(severity)
                    .words(REPLICATION.mend),
            );
        }
        if number(resource, "min.insync.replicas").is_some_and(|least| least < 2) {
            let finding = MIN_INSYNC.found(format!("topic {topic:?} has min.insync.replicas=1")).as_bad_as(severity);
            findings.push(if replicas < BROKERS_DURABLE {
                finding.words("once it has three replicas: min.insync.replicas=2")
            } else {
                finding.command(self.alter(topic, "min.insync.replicas", 2))
            });
        }
        if text(resource, "unclean.leader.election.enable") == Some("true") {
            findings.push(
                UNCLEAN.found(format!("topic {topic:?} has unclean.leader.election.enable=true")).command(self.alter(
                    topic,
                    "unclean.leader.election.enable",
                    false,
                )),
            );
        }
        findings
    }

    fn event_topic(&self, topic: &str, resource: &ConfigResource) -> Vec<Finding> {
        let mut findings = Vec::new();
        let policy = text(resource, "cleanup.policy").unwrap_or_default();
        let rule =
            match self.expected.captured.iter().filter(|captured| captured.topic == topic).map(|one| one.keyed).min() {
                // Of a row that has a key the newest record is all that a compacted topic need keep.
                Some(true) => None,
                Some(false) => Some(&COMPACTED_KEYLESS),
                None => Some(&COMPACTED),
            };
        if let Some(rule) = rule.filter(|_| policy.split(',').any(|part| part.trim() == "compact")) {
            findings.push(rule.found(format!("topic {topic:?} has cleanup.policy={policy}")).command(self.alter(
                topic,
                "cleanup.policy",
                "delete",
            )));
        }
        let wanted = i64::try_from(self.expected.options.message_bytes_max).unwrap_or(i64::MAX);
        if let Some(bytes) =
            number(resource, "max.message.bytes").filter(|bytes| *bytes < wanted + BATCH_OVERHEAD_BYTES)
        {
            findings.push(
                MESSAGE_BYTES
                    .found(format!(
                        "topic {topic:?} has max.message.bytes={bytes}, and the relay takes events of {wanted} bytes"
                    ))
                    .command(self.alter(topic, "max.message.bytes", wanted + BATCH_OVERHEAD_BYTES + 27)),
            );
        }
        if let Some(before) = number(resource, "message.timestamp.before.max.ms").filter(|ms| *ms < BEFORE_MS_MIN) {
            findings.push(
                TIMESTAMPS
                    .found(format!("topic {topic:?} takes times that lie back {before} ms at most"))
                    .command(self.alter(topic, "message.timestamp.before.max.ms", i64::MAX)),
            );
        }
        if text(resource, "message.timestamp.type") == Some("LogAppendTime") {
            findings.push(
                APPEND_TIME
                    .found(format!("topic {topic:?} has message.timestamp.type=LogAppendTime"))
                    .command(self.alter(topic, "message.timestamp.type", "CreateTime")),
            );
        }
        if let Some(kept) = number(resource, "retention.ms").filter(|ms| (0..RETENTION_MS_MIN).contains(ms)) {
            findings.push(RETENTION.found(format!("topic {topic:?} keeps events for {kept} ms")).command(self.alter(
                topic,
                "retention.ms",
                7 * RETENTION_MS_MIN,
            )));
        }
        findings
    }

    fn progress_topic(&self, topic: &str, resource: &ConfigResource) -> Vec<Finding> {
        let mut findings = Vec::new();
        let policy = text(resource, "cleanup.policy").unwrap_or_default();
        if policy != "compact" {
            findings.push(
                PROGRESS_POLICY
                    .found(format!("the progress topic {topic:?} has cleanup.policy={policy}"))
                    .command(self.alter(topic, "cleanup.policy", "compact")),
            );
        }
        let partitions = self.cluster.topics.get(topic).map_or(0, |found| found.partitions);
        if partitions > 1 {
            findings.push(
                PROGRESS_PARTITIONS
                    .found(format!("the progress topic {topic:?} has {partitions} partitions"))
                    .words(PROGRESS_PARTITIONS.mend),
            );
        }
        findings
    }
}

fn text<'r>(resource: &'r ConfigResource, name: &str) -> Option<&'r str> {
    resource.get(name)?.value.as_deref()
}

fn number(resource: &ConfigResource, name: &str) -> Option<i64> {
    text(resource, name)?.parse().ok()
}

fn unanswered(about: &str, error: &KafkaError) -> Finding {
    UNANSWERED.found(format!("the broker was asked about {about} and did not answer: {error}"))
}
