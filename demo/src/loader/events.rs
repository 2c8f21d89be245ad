//! The events of such a run: numbered, so that each can be found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;

use crate::error::{Doing, Error, Result};

/// How long the last records may take to be acknowledged.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// How long to wait where the producer's queue is full.
const PAUSE: Duration = Duration::from_millis(20);

/// Counts what was not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Failures(AtomicU64);

impl rdkafka::ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Produces events.
#[derive(Clone)]
pub(super) struct Events {
    producer: Arc<ThreadedProducer<Failures>>,
    topic: String,
}

/// The event with this number.
pub(super) fn id(number: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

/// An event that the table takes.
pub(super) fn good(number: u64) -> String {
    let (id, user) = (id(number), Uuid::from_u128(u128::from(number % 5_000)));
    let (ms, dwell) = (number % 1_000, number * 37 % 60_000);
    let device = if number.is_multiple_of(2) { "iOS" } else { "Android" };
    format!(
        r#"{{"event_id":"{id}","event_time":"2026-10-18T10:30:45.{ms:03}Z","user_id":"{user}","dwell_ms":{dwell},"device":"{device}","country":"CH"}}"#
    )
}

impl Events {
    pub(super) fn new(bootstrap: &str, topic: &str) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .set("message.timeout.ms", "0")
            .create_with_context(Failures::default())
            .doing("starting a producer")?;
        Ok(Self { producer: Arc::new(producer), topic: topic.to_owned() })
    }

    /// Hands a record to the producer, when that has room.
    pub(super) async fn send(&self, number: u64, value: &[u8]) -> Result<()> {
        let (id, key) = (id(number).to_string(), number.to_string());
        loop {
            let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&id) });
            match self.producer.send(BaseRecord::to(&self.topic).key(&key).payload(value).headers(headers)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err((error, _)) => return Err(error).doing("producing a record"),
            }
        }
    }

    /// Waits until all of them have been acknowledged.
    pub(super) async fn flush(&self) -> Result<()> {
        let producer = Arc::clone(&self.producer);
        crate::chain::blocking(move || {
            producer.flush(FLUSH_MAX).doing("producing the last records")?;
            match producer.context().0.load(Ordering::Relaxed) {
                0 => Ok(()),
                failed => Err(Error::Relay(format!("{failed} records could not be produced"))),
            }
        })
        .await
    }
}
