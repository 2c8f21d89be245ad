//! librdkafka's callbacks: deliveries, connection troubles and log lines.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tracing::{debug, error, warn};

use crate::pipeline::Kind;
use crate::sinks::kafka::admission::raise_limit;
use crate::sinks::kafka::batches::BatchLimit;
use crate::sinks::kafka::deliveries::{Deliveries, Failure, Ticket};
use crate::sinks::kafka::options::KafkaOptions;
use crate::sinks::kafka::reachability::Reachability;
use crate::sinks::kafka::refusal::{Class, ID_HEADER, POSITION_HEADER, Refusal, Verdict, judge, name_event};
use crate::sinks::kafka::token::TokenFile;
use crate::sinks::kafka::topics::denied;
use crate::sinks::kafka::wire::Wire;

/// What the producer's poll thread calls.
#[derive(Debug)]
pub(super) struct ProducerEvents {
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) reachability: Arc<Reachability>,
    /// How much a request carries.
    pub(super) batches: Arc<BatchLimit>,
    /// Who the relay is, if it logs in by a token.
    pub(super) token: Option<TokenFile>,
    /// What goes over the wire.
    pub(super) wire: Wire,
}

/// What a client calls that only reads or administers.
#[derive(Debug)]
pub(super) struct ReaderEvents {
    reachability: Arc<Reachability>,
    token: Option<TokenFile>,
}

impl ReaderEvents {
    pub(super) fn new(options: &KafkaOptions, reachability: &Arc<Reachability>) -> Self {
        Self { reachability: Arc::clone(reachability), token: options.security.token() }
    }
}

impl ClientContext for ProducerEvents {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token(self.token.as_ref(), &self.reachability)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.reachability, level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.wire.report(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reachability.troubled(&error, reason);
    }
}

impl ProducerContext for ProducerEvents {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let ticket = Ticket::unpack(ticket);
        match result {
            Ok(message) => {
                self.reachability.reached();
                if self.deliveries.is_troubled() {
                    self.deliveries.delivered_in_trouble(ticket, (message.topic(), message.key()));
                }
                self.deliveries.delivered(ticket);
            }
            Err((error, message)) => {
                let record = (message.topic(), message.key());
                self.deliveries.failed(ticket, record, self.failure(error, message));
            }
        }
    }
}

impl ProducerEvents {
    fn failure(&self, error: &KafkaError, message: &BorrowedMessage<'_>) -> Failure {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let header = |name: &str| message.headers()?.iter().find(|header| header.key == name)?.value;
        let event = name_event(message.topic(), header(ID_HEADER), header(POSITION_HEADER));
        let refused = |help: &str| {
            let reason = format!("kafka refused {event}: {}", said(code));
            Failure::Refused(Refusal::new(Class::Broker, reason, help.to_owned()))
        };
        match judge(code) {
            Verdict::Refused => {
                let refusal = denied(message.topic(), "Write");
                let failure = refused(&refusal.help);
                self.deliveries.refusals.forbid(message.topic(), refusal);
                failure
            }
            Verdict::RequestRefused if self.batches.is_one_record() => refused(&mend(code, message.topic())),
            Verdict::RequestRefused => {
                self.batches.ask_for_less();
                let reason = format!("kafka refused a request that began with or held {event}: {}", said(code));
                Failure::Other(Kind::Refused, reason)
            }
            Verdict::TopicChanged => Failure::Other(
                Kind::Refused,
                format!("{event} was not delivered: {code}; the topic is looked at again"),
            ),
            Verdict::Failed(kind) => Failure::Other(kind, format!("{event} was not delivered: {code}")),
        }
    }
}

/// A broker's refusal in words.
fn said(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => {
            "it is larger than the topic's max.message.bytes allows (too large)".into()
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => "the relay lacks the right Write on the topic".into(),
        code => code.to_string(),
    }
}

/// What makes the broker take it.
fn mend(code: RDKafkaErrorCode, topic: &str) -> String {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => raise_limit(topic, None),
        _ => format!(
            "See the broker's log; the topic's configuration tells: kafka-configs.sh --bootstrap-server … --describe --topic {topic}"
        ),
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
fn token(file: Option<&TokenFile>, reachability: &Reachability) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    let file = file.ok_or("the relay does not log in by a token")?;
    file.read().map_err(|reason| {
        reachability.without_token(&reason);
        reason.into()
    })
}

/// What librdkafka calls its log lines about requests that a broker did not answer.
const TIMED_OUT: &str = "REQTMOUT";

/// librdkafka's log lines. Connection failures come as errors too and are told from there.
fn log(reachability: &Reachability, level: RDKafkaLogLevel, facility: &str, message: &str) {
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
