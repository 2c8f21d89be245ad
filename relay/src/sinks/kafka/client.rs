//! librdkafka's callbacks: deliveries, connection troubles and log lines.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tracing::{debug, error, warn};

use crate::pipeline::Kind;
use crate::sinks::kafka::batches::BatchLimit;
use crate::sinks::kafka::deliveries::{Deliveries, Failure, Ticket};
use crate::sinks::kafka::reachability::Reachability;
use crate::sinks::kafka::refusal::{ID_HEADER, POSITION_HEADER, Verdict, judge, name_event};

/// What the producer's poll thread calls.
#[derive(Debug)]
pub(super) struct ProducerEvents {
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) reachability: Arc<Reachability>,
    /// How much a request carries.
    pub(super) batches: Arc<BatchLimit>,
}

/// What a client calls that only reads or administers.
#[derive(Debug)]
pub(super) struct ReaderEvents(pub(super) Arc<Reachability>);

impl ClientContext for ProducerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
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
            Ok(_) => {
                self.reachability.reached();
                self.deliveries.delivered(ticket);
            }
            Err((error, message)) => self.deliveries.failed(ticket, self.failure(error, message)),
        }
    }
}

impl ProducerEvents {
    fn failure(&self, error: &KafkaError, message: &BorrowedMessage<'_>) -> Failure {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let header = |name: &str| message.headers()?.iter().find(|header| header.key == name)?.value;
        let event = name_event(message.topic(), header(ID_HEADER), header(POSITION_HEADER));
        match judge(code) {
            Verdict::Refused => Failure::Refused(format!("kafka refused {event}: {code}")),
            Verdict::RequestRefused if self.batches.is_one_record() => {
                Failure::Refused(format!("kafka refused {event}: {code}"))
            }
            Verdict::RequestRefused => {
                self.batches.ask_for_less();
                let reason = format!("kafka refused a request that began with or held {event}: {code}");
                Failure::Other(Kind::Refused, reason)
            }
            Verdict::Failed(kind) => Failure::Other(kind, format!("{event} was not delivered: {code}")),
        }
    }
}

impl ClientContext for ReaderEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.troubled(&error, reason);
    }
}

impl ConsumerContext for ReaderEvents {}

/// librdkafka's log lines. Connection failures come as errors too and are told from there.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match (level, facility) {
        (RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical, _) => {
            error!(facility, "librdkafka: {message}");
        }
        // What passes by itself: a broker that just started allots its first producer ids, or elects leaders.
        (_, "FAIL" | "ERROR" | "CONFWARN" | "GETPID" | "METADATAUPDATE") => debug!(facility, "librdkafka: {message}"),
        (RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning, _) => warn!(facility, "librdkafka: {message}"),
        _ => debug!(facility, "librdkafka: {message}"),
    }
}
