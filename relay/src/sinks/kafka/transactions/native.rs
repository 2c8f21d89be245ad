//! librdkafka's calls for transactions, which block: each returns when its outcome is known, or when it cannot be.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::pipeline::{End, Error, Kind};
use crate::sinks::kafka::client::ProducerEvents;
use crate::sinks::kafka::transactions::{Broken, TransactionOptions};

/// How long one call blocks before it is looked whether anybody waits. Called again, librdkafka goes on where it was.
const CALL: Duration = Duration::from_secs(1);

/// How long to wait for the last delivery's report to be put away.
const LOOK: Duration = Duration::from_micros(50);

/// What became of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// It is as was asked for.
    Done,
    /// It is not committed, and never will be.
    Spoilt(String),
    /// Nobody knows, and the producer is beyond use.
    Broken(Broken),
    /// Nobody waits any more.
    GivenUp,
}

/// Takes the transactional id over from whoever has it: its unfinished transaction is aborted, and what it sends from now on
/// is refused. Blocks, at most until `deadline`.
pub(crate) fn init(
    native: &BaseProducer<ProducerEvents>,
    options: &TransactionOptions,
    deadline: Instant,
) -> Result<(), Error> {
    loop {
        match native.init_transactions(CALL.min(deadline.saturating_duration_since(Instant::now()))) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
            Err(error) => return Err(not_taken_over(&options.id, options.timeout, &error)),
        }
    }
}

/// Begins a transaction, of which the brokers hear with its first record.
pub(crate) fn begin(native: &BaseProducer<ProducerEvents>) -> Result<(), Broken> {
    native.begin_transaction().map_err(|error| Broken { fenced: is_fenced(&error), reason: said(&error) })
}

/// Commits the transaction, all of which is delivered. Blocks until the outcome is known, or nobody waits for it.
pub(crate) fn commit(native: &BaseProducer<ProducerEvents>, is_gone: impl Fn() -> bool) -> Ended {
    // librdkafka would wait for reports that the poll thread has in its hands already.
    let patience = Instant::now() + CALL;
    while native.in_flight_count() > 0 && Instant::now() < patience {
        std::thread::sleep(LOOK);
    }
    until_known(|| native.commit_transaction(CALL), is_gone)
}

/// Aborts the transaction. Blocks until the brokers have said so, or nobody waits for it.
pub(crate) fn abort(native: &BaseProducer<ProducerEvents>, is_gone: impl Fn() -> bool) -> Ended {
    until_known(|| native.abort_transaction(CALL), is_gone)
}

fn until_known(call: impl Fn() -> Result<(), KafkaError>, is_gone: impl Fn() -> bool) -> Ended {
    loop {
        let error = match call() {
            Ok(()) => return Ended::Done,
            Err(error) => error,
        };
        match &error {
            KafkaError::Flush(_) => {}
            KafkaError::Transaction(ours) if ours.is_retriable() => {}
            KafkaError::Transaction(ours) if ours.txn_requires_abort() && !is_fenced(&error) => {
                return Ended::Spoilt(said(&error));
            }
            _ => return Ended::Broken(Broken { fenced: is_fenced(&error), reason: said(&error) }),
        }
        if is_gone() {
            return Ended::GivenUp;
        }
    }
}

/// Whether the brokers know a newer producer of the id, or gave up a transaction of this one.
fn is_fenced(error: &KafkaError) -> bool {
    let KafkaError::Transaction(error) = error else { return false };
    matches!(error.code(), Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        error => error.to_string(),
    }
}

/// Why the transactional id could not be taken over.
fn not_taken_over(id: &str, timeout: Duration, error: &KafkaError) -> Error {
    let code = match error {
        KafkaError::Transaction(error) => error.code(),
        _ => Code::Unknown,
    };
    let (kind, help) = match code {
        Code::TransactionalIdAuthorizationFailed | Code::ClusterAuthorizationFailed => (
            Kind::Setup,
            Some(format!(
                "Grant it: kafka-acls.sh --bootstrap-server … --add --allow-principal User:… --operation Write --operation \
                 Describe --transactional-id {id}"
            )),
        ),
        Code::InvalidTransactionTimeout => (
            Kind::Setup,
            Some(format!(
                "kafka.transaction_timeout_ms is {}: more than transaction.max.timeout.ms of the brokers allows.",
                timeout.as_millis()
            )),
        ),
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            (Kind::Setup, Some("Let kafka.delivery be at-least-once: these brokers have no transactions.".to_owned()))
        }
        _ => (Kind::Unavailable, None),
    };
    let context = format!("the transactional id {id:?} cannot be taken over");
    let error = Error::new(End::Sink, kind, context).because(said(error));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
