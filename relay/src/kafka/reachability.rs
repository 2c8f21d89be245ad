//! Whether the brokers can be reached: told once when they cannot, and once when they can again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::kafka::diagnosis::{Diagnosis, diagnose};
use crate::telemetry::Metrics;

/// While an outage lasts it is told again at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

/// What is known of the connections. librdkafka says that all brokers are down also when it lost an idle connection that
/// it will open again when it is needed; an outage is that, and an attempt that failed.
#[derive(Debug)]
pub(crate) struct Reachability {
    bootstrap_servers: String,
    /// Whether connections are encrypted or logged in to.
    secure: bool,
    /// Wakes whoever waits for a refusal of the relay itself.
    refused: Notify,
    /// Read for every delivery, so kept outside the lock: something failed since the last one.
    doubtful: AtomicBool,
    outage: Mutex<Outage>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Outage {
    all_down: bool,
    /// The newest failure in librdkafka's words: it names the broker.
    cause: Option<String>,
    /// What that means, if it is a matter of security.
    diagnosis: Option<Diagnosis>,
    told_at: Option<Instant>,
    /// When it was last told that a broker does not answer. Deliveries by other brokers do not end that.
    silence_told_at: Option<Instant>,
}

impl Reachability {
    pub(crate) fn new(bootstrap_servers: &str, secure: bool, metrics: Arc<Metrics>) -> Self {
        metrics.kafka.reachable.set(1);
        Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            secure,
            refused: Notify::new(),
            doubtful: AtomicBool::new(false),
            outage: Mutex::default(),
            metrics,
        }
    }

    /// The newest connection trouble in librdkafka's words; empty if there was none.
    pub(crate) fn last_trouble(&self) -> String {
        self.lock().cause.clone().unwrap_or_default()
    }

    /// What the newest trouble means, if it is a matter of security: then waiting may not help.
    pub(crate) fn diagnosis(&self) -> Option<Diagnosis> {
        self.lock().diagnosis
    }

    /// librdkafka logged that a connection failed. Most such failures come as errors too; what only the log says matters if
    /// it is one of security.
    pub(crate) fn overheard(&self, message: &str) {
        debug!("librdkafka: {message}");
        if let Some(diagnosis) = diagnose(message, self.secure) {
            let mut outage = self.lock();
            outage.cause = Some(format!("{} ({message})", diagnosis.what));
            outage.diagnosis = Some(diagnosis);
            drop(outage);
            self.doubtful.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until no broker can be reached and the newest trouble is one of security. Cancel safe.
    pub(crate) async fn refused(&self) {
        self.refused.notified().await;
    }

    /// There is no token to log in with.
    pub(crate) fn without_token(&self, reason: &str) {
        let mut outage = self.lock();
        outage.cause = Some(reason.to_owned());
        outage.diagnosis = Some(Diagnosis {
            what: "there is no token to log in with",
            help: "See to it that kafka.sasl_token_file is renewed.",
            certain: true,
        });
        drop(outage);
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// A broker acknowledged something.
    pub(crate) fn reached(&self) {
        if !self.doubtful.load(Ordering::Relaxed) || !self.doubtful.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut outage = self.lock();
        let silence_told_at = outage.silence_told_at;
        let before = std::mem::replace(&mut *outage, Outage { silence_told_at, ..Outage::default() });
        drop(outage);
        if before.told_at.is_some() {
            self.metrics.kafka.reachable.set(1);
            info!(brokers = self.bootstrap_servers, "broker reachable again");
        }
    }

    /// A broker did not answer a request in time, though it holds the connection. Another one may go on meanwhile, so
    /// that this is no outage yet; whether deliveries stand still, the pipeline sees.
    pub(crate) fn silent(&self, cause: &str) {
        self.metrics.kafka.connection_errors.inc();
        debug!(cause, "a request timed out");
        let mut outage = self.lock();
        if outage.silence_told_at.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            outage.silence_told_at = Some(Instant::now());
            let brokers = &self.bootstrap_servers;
            warn!(brokers, cause, "a broker does not answer; delivery will go on when it is back");
        }
    }

    /// librdkafka reported an error that is no delivery's.
    pub(crate) fn troubled(&self, error: &KafkaError, reason: &str) {
        let mut outage = self.lock();
        match error.rdkafka_error_code() {
            // Not a trouble, but an event.
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            Some(RDKafkaErrorCode::AllBrokersDown) => outage.all_down = true,
            _ => {
                self.metrics.kafka.connection_errors.inc();
                debug!(%error, reason, "kafka client error");
                outage.diagnosis = diagnose(reason, self.secure);
                outage.cause = Some(match outage.diagnosis {
                    Some(diagnosis) => format!("{} ({reason})", diagnosis.what),
                    None => reason.to_owned(),
                });
            }
        }
        self.judge(outage);
    }

    /// Messages have been waiting for some seconds, and there is no connection to any broker.
    pub(crate) fn cut_off(&self) {
        let mut outage = self.lock();
        outage.all_down = true;
        outage.cause.get_or_insert_with(|| "there is no connection to any broker".to_owned());
        self.judge(outage);
    }

    /// Tells an outage that it is one.
    fn judge(&self, mut outage: MutexGuard<'_, Outage>) {
        self.doubtful.store(true, Ordering::Relaxed);
        if outage.all_down && outage.diagnosis.is_some_and(|diagnosis| diagnosis.certain) {
            self.refused.notify_one();
        }
        if let Outage { all_down: true, cause: Some(cause), told_at, .. } = &mut *outage
            && told_at.is_none_or(|at| at.elapsed() >= WARN_INTERVAL)
        {
            *told_at = Some(Instant::now());
            self.metrics.kafka.reachable.set(0);
            let brokers = &self.bootstrap_servers;
            warn!(brokers, cause, "broker unreachable; delivery will go on when it is back");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outage> {
        // Every holder leaves a whole value, so a panic elsewhere does not spoil it.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_DOWN: KafkaError = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
    const FAILED: KafkaError = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);

    fn reachability() -> (Reachability, Arc<Metrics>) {
        let metrics = Metrics::new();
        (Reachability::new("broker:9092", false, Arc::clone(&metrics)), metrics)
    }

    #[test]
    fn an_idle_connection_that_the_broker_closed_is_no_outage() {
        let (reachability, metrics) = reachability();
        reachability.troubled(&ALL_DOWN, "1/1 brokers are down");
        assert_eq!(metrics.kafka.reachable.get(), 1);
    }

    #[test]
    fn an_outage_begins_with_a_failed_attempt_and_ends_with_a_delivery() {
        let (reachability, metrics) = reachability();
        reachability.troubled(&ALL_DOWN, "1/1 brokers are down");
        reachability.troubled(&FAILED, "broker:9092/1: connection refused");
        assert_eq!(metrics.kafka.reachable.get(), 0);
        assert_eq!(reachability.last_trouble(), "broker:9092/1: connection refused");
        reachability.reached();
        assert_eq!(metrics.kafka.reachable.get(), 1);
        assert_eq!(reachability.last_trouble(), "");
    }

    #[test]
    fn messages_that_wait_without_a_connection_are_an_outage_whatever_was_told_before() {
        let (reachability, metrics) = reachability();
        reachability.troubled(&FAILED, "broker:9092/1: connection refused");
        reachability.cut_off();
        assert_eq!(metrics.kafka.reachable.get(), 0);
        assert_eq!(reachability.last_trouble(), "broker:9092/1: connection refused");
        reachability.reached();
        reachability.cut_off();
        assert_eq!(metrics.kafka.reachable.get(), 0);
        assert_eq!(reachability.last_trouble(), "there is no connection to any broker");
    }

    #[test]
    fn one_broker_of_several_that_fails_is_counted_and_no_outage() {
        let (reachability, metrics) = reachability();
        reachability.troubled(&FAILED, "other:9092/2: connection refused");
        assert_eq!((metrics.kafka.reachable.get(), metrics.kafka.connection_errors.get()), (1, 1));
    }
}
