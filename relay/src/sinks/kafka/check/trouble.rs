//! Why no broker lets the relay in, from what librdkafka says of its connections.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::finding::Finding;
use crate::kafka::diagnosis::diagnose;
use crate::sinks::kafka::check::rules::{AUTHENTICATION, TLS, UNREACHABLE};
use crate::sinks::kafka::options::KafkaOptions;

/// What librdkafka says of its connections, kept until somebody asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<Vec<String>>>);

impl ClientContext for Troubles {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
        if matches!(facility, "FAIL" | "ERROR") {
            self.note(message);
        }
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.note(reason);
    }
}

impl ConsumerContext for Troubles {}

impl Troubles {
    pub(super) fn note(&self, message: &str) {
        // `[thrd:name]: reason`: the name is librdkafka's own.
        let reason =
            message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(message, |(_, rest)| rest);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(reason.to_owned());
    }

    /// Why no broker answered: the trouble that says most.
    pub(super) fn finding(&self, options: &KafkaOptions, error: &KafkaError) -> Finding {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |words: &[&str]| {
            troubles.iter().rev().find(|reason| words.iter().any(|word| reason.to_lowercase().contains(word)))
        };
        let brokers = &options.bootstrap_servers;
        // The last word is what librdkafka's own words mean, where that is known.
        let secure = !options.secured.is_empty();
        let mend =
            |reason: &str, otherwise: &'static str| diagnose(reason, secure).map_or(otherwise, |found| found.help);
        if let Some(reason) = said(&[
            "sasl authentication",
            "authentication failed",
            "mechanism handshake failed",
            "supported mechanisms",
        ]) {
            return AUTHENTICATION
                .found(format!("the brokers at {brokers} refuse the relay: {reason}"))
                .words(mend(reason, AUTHENTICATION.mend));
        }
        if let Some(reason) = said(&["ssl", "tls", "certificate", "security.protocol", "apiversion"]) {
            return TLS
                .found(format!("no connection to the brokers at {brokers} comes about: {reason}"))
                .words(mend(reason, TLS.mend));
        }
        let reason = troubles.iter().rev().find(|reason| !reason.contains("brokers are down"));
        let reason = reason.map_or_else(|| error.to_string(), Clone::clone);
        UNREACHABLE
            .found(format!("no broker answers at {brokers}: {reason}"))
            .words("start a broker there, or correct `kafka.bootstrap_servers`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trouble_that_says_most_is_told() {
        for (said, code, reason) in [
            (
                "[thrd:a:1/bootstrap]: a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
                "broker-unreachable",
                "a:1/bootstrap: Connect",
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                "broker-tls",
                "PLAINTEXT",
            ),
            (
                "a:1/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol",
                "broker-tls",
                "ApiVersion",
            ),
            (
                "sasl_plaintext://a:1/bootstrap: SASL PLAIN mechanism handshake failed: broker's supported mechanisms: ",
                "broker-authentication",
                "supported mechanisms",
            ),
            (
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed",
                "broker-authentication",
                "failed",
            ),
        ] {
            let troubles = Troubles::default();
            troubles.note(said);
            troubles.note("1/1 brokers are down");
            let finding = troubles.finding(&KafkaOptions::new("a:1"), &KafkaError::Canceled);
            assert_eq!(finding.code(), code, "{said}");
            assert!(finding.what().contains(reason) && !finding.what().contains("thrd"), "{}", finding.what());
        }
    }
}
