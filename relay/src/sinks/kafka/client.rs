//! librdkafka's callbacks: deliveries, connection troubles and log lines.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::events::{log, token};
use crate::kafka::reachability::Reachability;
use crate::kafka::token::TokenFile;
use crate::pipeline::Kind;
use crate::sinks::kafka::admission::raise_limit;
use crate::sinks::kafka::batches::BatchLimit;
use crate::sinks::kafka::deliveries::{Deliveries, Failure, Ticket};
use crate::sinks::kafka::refusal::{Class, ID_HEADER, POSITION_HEADER, Refusal, Verdict, judge, name_event};
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

impl ClientContext for ProducerEvents {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token(self.token.as_ref(), &self.reachability)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // It comes as no error of a message, only as that of the whole transaction.
        if facility == NOT_IN_TRANSACTION
            && let Some(topic) = forbidden_topic(message)
        {
            self.deliveries.forbidden(topic, denied(topic, "Write"));
        }
        log(&self.reachability, level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if self.wire.report(statistics) {
            self.reachability.cut_off();
        }
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
                // What is in a transaction that failed is not seen by anybody, so that it overtook nothing.
                if self.deliveries.is_troubled() && !self.deliveries.is_atomic() {
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

/// What librdkafka calls its log lines about partitions that cannot take part in a transaction.
const NOT_IN_TRANSACTION: &str = "ADDPARTS";

/// The topic of such a line, if the relay has no right to it.
fn forbidden_topic(message: &str) -> Option<&str> {
    message.contains("Topic authorization failed").then(|| message.split('"').nth(1)).flatten()
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

#[cfg(test)]
mod tests {
    use super::forbidden_topic;

    #[test]
    fn a_topic_that_may_not_take_part_is_read_from_the_line_that_tells_it() {
        let line = "127.0.0.1:9092/1: Failed to add partition \"orders.v1\" [3] to transaction: Broker: Topic authorization failed";
        assert_eq!(forbidden_topic(line), Some("orders.v1"));
        assert_eq!(forbidden_topic("Failed to add partition \"orders\" [3] to transaction: Broker: Not leader"), None);
    }
}
