//! The client's callbacks: deliveries, connection troubles and log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tracing::{debug, error, info, warn};

use crate::pipeline::Kind;
use crate::sinks::kafka::deliveries::{Deliveries, Failure, Ticket};
use crate::sinks::kafka::refusal::{ID_HEADER, POSITION_HEADER, Verdict, judge, name_event};
use crate::telemetry::Metrics;

/// While an outage lasts it is told again at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

/// What the producer's poll thread calls.
#[derive(Debug)]
pub(super) struct ProducerEvents {
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) reachability: Arc<Reachability>,
    /// How much a request carries.
    pub(super) batches: Arc<BatchLimit>,
}

/// The bound of a request's batch, in bytes before compression. It shrinks when a broker refuses a request, down to one
/// record each: then a refusal says which record is meant.
#[derive(Debug)]
pub(super) struct BatchLimit {
    bytes: AtomicU32,
    shrink: AtomicBool,
}

/// What a client calls that only reads or administers.
#[derive(Debug)]
pub(super) struct ReaderEvents(pub(super) Arc<Reachability>);

/// Whether the cluster can be reached, and when that was told last.
#[derive(Debug)]
pub(super) struct Reachability {
    bootstrap_servers: String,
    away: AtomicBool,
    warned: Mutex<Option<Instant>>,
    last: Mutex<String>,
    metrics: Arc<Metrics>,
}

impl Reachability {
    pub(super) fn new(bootstrap_servers: &str, metrics: Arc<Metrics>) -> Self {
        metrics.kafka_reachable.set(1);
        Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            away: AtomicBool::new(false),
            warned: Mutex::new(None),
            last: Mutex::new(String::new()),
            metrics,
        }
    }

    /// The newest connection trouble in librdkafka's words; empty if there was none.
    pub(super) fn last_trouble(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A broker acknowledged something.
    pub(super) fn reached(&self) {
        // Read first: this is called for every message, and writing would contend.
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            self.metrics.kafka_reachable.set(1);
            info!(brokers = self.bootstrap_servers, "broker reachable again");
        }
    }

    fn troubled(&self, error: &KafkaError, reason: &str) {
        self.metrics.kafka_connection_errors.inc();
        let all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !all_down {
            // This one names the broker and the cause; the summary that follows it does not.
            reason.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
            debug!(%error, reason, "broker connection failed");
            return;
        }
        self.metrics.kafka_reachable.set(0);
        self.away.store(true, Ordering::Relaxed);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            *warned = Some(Instant::now());
            let (brokers, cause) = (&self.bootstrap_servers, self.last_trouble());
            warn!(brokers, cause, "broker unreachable; delivery will go on when it is back");
        }
    }
}

impl BatchLimit {
    /// librdkafka's own default; a broker's default `message.max.bytes` is a little more.
    const FULL: u32 = 1_000_000;

    /// How fast it shrinks: seven refusals would be too patient, and two too rash.
    const STEP: u32 = 16;

    pub(super) fn new() -> Self {
        Self { bytes: AtomicU32::new(Self::FULL), shrink: AtomicBool::new(false) }
    }

    /// `batch.size`. A batch takes its first record whatever the bound, so that 1 means one record a request.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn is_one_record(&self) -> bool {
        self.bytes() == 1
    }

    /// Asks for smaller batches from the next producer on.
    fn ask_for_less(&self) {
        self.shrink.store(true, Ordering::Relaxed);
    }

    /// Shrinks if that was asked for; true if it did.
    pub(super) fn shrink(&self) -> bool {
        if !self.shrink.swap(false, Ordering::Relaxed) || self.is_one_record() {
            return false;
        }
        let smaller = self.bytes() / Self::STEP;
        // Below some hundred bytes a batch has one record anyhow.
        self.bytes.store(if smaller < 1000 { 1 } else { smaller }, Ordering::Relaxed);
        true
    }
}

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
        // A broker that was just set up counts its first producer ids: asked again it has them.
        (_, "FAIL" | "ERROR" | "CONFWARN" | "GETPID") => debug!(facility, "librdkafka: {message}"),
        (RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning, _) => warn!(facility, "librdkafka: {message}"),
        _ => debug!(facility, "librdkafka: {message}"),
    }
}
