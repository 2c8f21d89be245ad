//! Whether the brokers can be reached: told once when they cannot, and once when they can again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info, warn};

use crate::telemetry::Metrics;

/// While an outage lasts it is told again at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

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

    /// librdkafka reported an error that is no delivery's.
    pub(super) fn troubled(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Not a trouble, but an event.
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(RDKafkaErrorCode::AllBrokersDown) => self.lost(),
            // These name the broker and the cause; the summary that follows when no broker is left does not.
            _ => {
                self.metrics.kafka_connection_errors.inc();
                reason.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
                debug!(%error, reason, "kafka client error");
            }
        }
    }

    /// No broker is left.
    fn lost(&self) {
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
