//! The cluster as its metadata tells it: brokers, topics, partitions and replicas.

use std::collections::BTreeMap;

use rdkafka::metadata::{Metadata, MetadataBroker};

/// What the cluster's metadata says.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) brokers: usize,
    pub(super) ids: Vec<i32>,
    pub(super) hosts: Vec<String>,
    pub(super) topics: BTreeMap<String, TopicFound>,
}

#[derive(Debug)]
pub(super) struct TopicFound {
    pub(super) partitions: usize,
    pub(super) replicas: usize,
}

impl Cluster {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let topics = metadata.topics().iter().map(|topic| {
            let partitions = topic.partitions();
            let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
            (topic.name().to_owned(), TopicFound { partitions: partitions.len(), replicas })
        });
        let hosts = metadata.brokers().iter().map(|broker| broker.host().to_owned());
        let ids = metadata.brokers().iter().map(MetadataBroker::id).collect();
        Self { brokers: metadata.brokers().len(), ids, hosts: hosts.collect(), topics: topics.collect() }
    }
}
