//! What librdkafka calls of a client that only reads or administers, and what every client of ours does with its log lines and its
//! wish for a token.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use tracing::{debug, error, warn};

use crate::kafka::reachability::Reachability;
use crate::kafka::security::KafkaSecurity;
use crate::kafka::token::TokenFile;

/// What a client calls that only reads or administers.
#[derive(Debug)]
pub(crate) struct ReaderEvents {
    reachability: Arc<Reachability>,
    token: Option<TokenFile>,
}

impl ReaderEvents {
    pub(crate) fn new(security: &KafkaSecurity, reachability: &Arc<Reachability>) -> Self {
        Self { reachability: Arc::clone(reachability), token: security.token() }
    }
}

impl ClientContext for ReaderEvents {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token(self.token.as_ref(), &self.reachability)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.reachability, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reachability.troubled(&error, reason);
    }
}

impl ConsumerContext for ReaderEvents {}

/// The token that librdkafka asks for; a file without one is trouble like a connection that fails.
pub(crate) fn token(
    file: Option<&TokenFile>,
    reachability: &Reachability,
) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    let file = file.ok_or("the relay does not log in by a token")?;
    file.read().map_err(|reason| {
        reachability.without_token(&reason);
        reason.into()
    })
}

/// What librdkafka calls its log lines about requests that a broker did not answer.
const TIMED_OUT: &str = "REQTMOUT";

/// librdkafka's log lines. Connection failures come as errors too and are told from there.
pub(crate) fn log(reachability: &Reachability, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match (level, facility) {
        // It comes as no error, and again with every request.
        (_, TIMED_OUT) => reachability.silent(message),
        (RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical, _) => {
            error!(facility, "librdkafka: {message}");
        }
        // A broker that hangs up comes as no error, though the words tell why it may have.
        (_, "FAIL") => reachability.overheard(message),
        // What passes by itself: a broker that just started allots its first producer ids, or elects leaders.
        (_, "ERROR" | "CONFWARN" | "GETPID" | "METADATAUPDATE") => debug!(facility, "librdkafka: {message}"),
        (RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning, _) => warn!(facility, "librdkafka: {message}"),
        _ => debug!(facility, "librdkafka: {message}"),
    }
}
