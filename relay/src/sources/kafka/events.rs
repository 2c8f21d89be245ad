//! What librdkafka calls of the consumer: rebalances are noted here and done by whoever polls, between two polls.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::kafka::events::{log, token};
use crate::kafka::reachability::Reachability;
use crate::kafka::token::TokenFile;
use crate::sources::kafka::options::KafkaSourceOptions;

/// A topic's name and the number of a partition.
pub(super) type Part = (String, i32);

/// What the group changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// These partitions come to this member.
    Assigned(Vec<Part>),
    /// These go. If they are lost, others may read them already.
    Revoked { parts: Vec<Part>, lost: bool },
}

/// What librdkafka calls.
#[derive(Debug)]
pub(super) struct ConsumerEvents {
    reachability: Arc<Reachability>,
    token: Option<TokenFile>,
    /// Nobody handles changes any more: partitions are given back at once.
    leaving: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    changes: VecDeque<Change>,
    /// The newest error in librdkafka's words, which name the topic or the group.
    reason: String,
    report: Option<Report>,
}

/// The part of librdkafka's [statistics](https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md) that is looked at.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Report {
    #[serde(default)]
    topics: HashMap<String, TopicReport>,
}

#[derive(Debug, Default, Deserialize)]
struct TopicReport {
    #[serde(default)]
    partitions: HashMap<String, Bounds>,
}

/// Between which offsets a partition has records; what is not known is negative.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Bounds {
    /// The first offset that is there.
    #[serde(default)]
    pub(super) lo_offset: i64,
    /// The offset after the last record that may be read.
    #[serde(default)]
    pub(super) ls_offset: i64,
    /// The offset after the last record.
    #[serde(default)]
    pub(super) hi_offset: i64,
}

impl Report {
    /// What is known of a partition.
    pub(super) fn bounds(&self, topic: &str, partition: i32) -> Option<Bounds> {
        self.topics.get(topic)?.partitions.get(&partition.to_string()).copied()
    }
}

impl ConsumerEvents {
    pub(super) fn new(options: &KafkaSourceOptions, reachability: &Arc<Reachability>) -> Self {
        Self {
            reachability: Arc::clone(reachability),
            token: options.security.token(),
            leaving: AtomicBool::new(false),
            heard: Mutex::default(),
        }
    }

    /// From now on nobody handles changes: partitions are given back at once.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// The oldest change that was not handled.
    pub(super) fn next_change(&self) -> Option<Change> {
        self.lock().changes.pop_front()
    }

    /// The newest error in librdkafka's words.
    pub(super) fn reason(&self) -> String {
        self.lock().reason.clone()
    }

    /// The newest statistics, once.
    pub(super) fn report(&self) -> Option<Report> {
        self.lock().report.take()
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ConsumerEvents {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token(self.token.as_ref(), &self.reachability)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.reachability, level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice(statistics) {
            Ok(report) => self.lock().report = Some(report),
            Err(error) => debug!(%error, "librdkafka's statistics are not understood"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            // Not a trouble, but an event.
            Some(Code::PartitionEOF) => {}
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::Authentication
                | Code::SSL
                | Code::OperationTimedOut
                | Code::CriticalSystemResource,
            ) => self.reachability.troubled(&error, reason),
            _ => {
                debug!(%error, reason, "kafka consumer error");
                self.lock().reason = reason.to_owned();
            }
        }
    }
}

impl ConsumerContext for ConsumerEvents {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_revoked = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;
        if self.leaving.load(Ordering::Relaxed) {
            let outcome =
                if is_revoked { consumer.incremental_unassign(list) } else { consumer.incremental_assign(list) };
            if let Err(error) = outcome {
                debug!(%error, "a rebalance while leaving");
            }
            return;
        }
        let parts = list.elements().iter().map(|part| (part.topic().to_owned(), part.partition())).collect();
        let change = if is_revoked {
            Change::Revoked { parts, lost: consumer.assignment_lost() }
        } else {
            Change::Assigned(parts)
        };
        debug!(?change, "rebalance");
        self.lock().changes.push_back(change);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        // Ours are waited for; this would be librdkafka's own, which is switched off.
        if let Err(error) = result {
            warn!(%error, "an offset commit that was not asked for failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_partition_are_found_in_librdkafkas_statistics() {
        let json = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{"0":{"lo_offset":5,"hi_offset":70,"ls_offset":60,"eof_offset":1},"-1":{"lo_offset":-1001}}}}}"#;
        let report: Report = serde_json::from_slice(json).expect("understood");
        let bounds = report.bounds("t", 0).expect("there");
        assert_eq!((bounds.lo_offset, bounds.ls_offset, bounds.hi_offset), (5, 60, 70));
        assert!(report.bounds("t", 1).is_none() && report.bounds("u", 0).is_none());
    }
}
