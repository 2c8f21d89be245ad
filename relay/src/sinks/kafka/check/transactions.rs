//! What exactly-once delivery needs of the brokers.

use rdkafka::admin::{AdminOptions, ResourceSpecifier};

use crate::finding::{Finding, Severity};
use crate::sinks::kafka::check::rules::{READ_COMMITTED, TRANSACTION_LOG, TRANSACTION_TIMEOUT};
use crate::sinks::kafka::check::{BROKERS_DURABLE, Look, number, unanswered};

/// The topic in which the brokers keep what became of each transaction; made with the first one.
const TRANSACTION_LOG_TOPIC: &str = "__transaction_state";

impl Look<'_> {
    /// Nothing, unless transactions are wanted.
    pub(super) async fn transactions(&self) -> Vec<Finding> {
        let Some(wanted) = &self.expected.options.transactions else { return Vec::new() };
        let committed = "delivery is exactly-once: only readers of the committed see each event once";
        let mut findings = vec![READ_COMMITTED.found(committed).words(READ_COMMITTED.mend)];
        findings.extend(self.transaction_log());
        let Some(broker) = self.cluster.ids.first() else { return findings };
        let options = AdminOptions::new().request_timeout(Some(self.expected.options.connect_timeout));
        let described = self.admin.describe_configs(&[ResourceSpecifier::Broker(*broker)], &options).await;
        let described = match described {
            Ok(described) => described,
            Err(error) => {
                findings.push(unanswered("how long transactions may take", &error).as_bad_as(Severity::Note));
                return findings;
            }
        };
        // Without the right to ask, the brokers themselves refuse what they do not allow.
        let most_ms = described.first().and_then(|config| number(config.as_ref().ok()?, "transaction.max.timeout.ms"));
        let wanted_ms = i64::try_from(wanted.timeout.as_millis()).unwrap_or(i64::MAX);
        if let Some(most_ms) = most_ms.filter(|most_ms| *most_ms < wanted_ms) {
            findings.push(
                TRANSACTION_TIMEOUT
                    .found(format!("kafka.transaction_timeout_ms is {wanted_ms}, and the brokers allow {most_ms}"))
                    .configuration("kafka.transaction_timeout_ms", &most_ms.to_string()),
            );
        }
        findings
    }

    fn transaction_log(&self) -> Option<Finding> {
        let log = self.cluster.topics.get(TRANSACTION_LOG_TOPIC)?;
        let severity = if self.cluster.brokers >= BROKERS_DURABLE { Severity::Warning } else { Severity::Note };
        (log.replicas < BROKERS_DURABLE).then(|| {
            let (replicas, brokers) = (log.replicas, self.cluster.brokers);
            let what = format!("{TRANSACTION_LOG_TOPIC} has partitions with {replicas} replicas on {brokers} brokers");
            TRANSACTION_LOG.found(what).as_bad_as(severity).words(TRANSACTION_LOG.mend)
        })
    }
}
