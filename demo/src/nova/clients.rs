//! What Nova's users do in their apps: they look at posts and pass them on. Their clients report it to the topic `events`, in the shape
//! that Nova's HTTP ingest gives it; a client that is not sure reports the same event again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Doing, Error, Result};
use crate::nova::crowd::Stage;
use crate::nova::pools::Kind;
use crate::pace::Pace;
use crate::random::Random;
use crate::watcher::now_us;

/// Of a thousand events, how many are reported once more.
const REPEATED_PER_MILLE: u64 = 15;
/// Of a thousand events, how many have the field that the second version of the schema adds.
const SECOND_VERSION_PER_MILLE: u64 = 300;
/// How long to wait where the producer's queue is full, or nobody has posted yet.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the last events may take to be acknowledged.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
/// What is reported, and how often, of a hundred. A like and a comment are heard of by their tables, and are recorded here only.
const ACTIONS: [(&str, u64); 5] = [("view", 70), ("impression", 18), ("share", 6), ("like", 4), ("comment", 2)];

/// What was reported: each event once, however often it was sent.
#[derive(Debug, Default, Clone)]
pub struct Reported {
    /// Different events.
    pub events: u64,
    /// Records in the topic.
    pub records: u64,
    /// How many events of an action a post had in an hour (hours since 1970).
    pub hourly: HashMap<(i64, Uuid, &'static str), u64>,
}

/// Where the clients report to, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kafka's address.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// Events a second, of all of them together.
    pub events_per_s: f64,
}

/// Counts what was acknowledged and what was not.
#[derive(Debug, Default)]
struct Acknowledged {
    failed: AtomicU64,
}

impl rdkafka::ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reports until the stage is closed; then says what was reported, when all of it has been acknowledged.
pub(super) async fn run(options: Options, mut random: Random, stage: Arc<Stage>) -> Result<Reported> {
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", &options.bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        // What is reported is counted; so it is sent until it arrives, whatever happens to the broker.
        .set("message.timeout.ms", "0")
        .create_with_context(Acknowledged::default())
        .doing("starting the clients' producer")?;
    let (pace, mut reported) = (Pace::new(options.events_per_s), Reported::default());
    while !stage.closed() {
        pace.wait_for(1).await;
        let Some(event) = Event::choose(&stage, &mut random) else {
            stage.closing(PAUSE).await;
            continue;
        };
        reported.events += 1;
        *reported.hourly.entry((event.at_ms.div_euclid(HOUR_MS), event.post, event.action)).or_default() += 1;
        let value = event.json(&mut random);
        for _ in 0..1 + u64::from(random.chance(REPEATED_PER_MILLE)) {
            reported.records += 1;
            event.send(&producer, &options.topic, &value).await?;
        }
    }
    let flushed = tokio::task::spawn_blocking(move || {
        let flushed = producer.flush(FLUSH_MAX);
        flushed.map(|()| producer.context().failed.load(Ordering::Relaxed))
    });
    match flushed.await.map_err(|error| Error::Relay(format!("the clients' producer panicked: {error}")))? {
        Ok(0) => Ok(reported),
        Ok(failed) => Err(Error::Relay(format!("{failed} events of Nova's clients could not be produced"))),
        Err(error) => Err(error).doing("producing the last events of Nova's clients"),
    }
}

struct Event {
    id: Uuid,
    at_ms: i64,
    user: Uuid,
    post: Uuid,
    action: &'static str,
    correlation_id: String,
}

impl Event {
    /// Something that somebody does with a post; none while there is neither.
    fn choose(stage: &Stage, random: &mut Random) -> Option<Self> {
        let user = stage.pools.pick(Kind::User, random)?;
        let post = stage.pools.pick(Kind::Post, random)?;
        let mut left = random.below(100);
        let action = ACTIONS.iter().find(|(_, weight)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })?;
        let correlation_id = format!("{:016x}", random.bits());
        Some(Self { id: Uuid::now_v7(), at_ms: now_us() / 1000, user, post, action: action.0, correlation_id })
    }

    /// The value: of the first version of its schema or of the second.
    fn json(&self, random: &mut Random) -> String {
        let mut value = json!({
            "event_time": instant(self.at_ms),
            "user_id": self.user,
            "post_id": self.post,
            "author_id": Value::Null,
            "action": self.action,
            "dwell_ms": (self.action == "view").then(|| random.below(60_000)),
            "device": if random.chance(500) { "iOS" } else { "Android" },
            "app_ver": "1.2.0",
        });
        if random.chance(SECOND_VERSION_PER_MILLE) {
            value["device_id"] = json!(format!("{:012x}", random.below(1 << 48)));
        }
        value.to_string()
    }

    /// Hands it to the producer, when that has room.
    async fn send(&self, producer: &ThreadedProducer<Acknowledged>, topic: &str, value: &str) -> Result<()> {
        let (id, key) = (self.id.to_string(), self.post.to_string());
        loop {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "id", value: Some(&id) })
                .insert(Header { key: "correlation-id", value: Some(&self.correlation_id) });
            let record = BaseRecord::to(topic).key(&key).payload(value).headers(headers).timestamp(self.at_ms);
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err((error, _)) => return Err(error).doing("producing an event of Nova's clients"),
            }
        }
    }
}

/// A moment as Nova writes it: `2025-10-18T10:30:45.123Z`.
fn instant(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (s, ms) = (of_day / 1000, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s / 60 % 60, s % 60)
}

/// The date of a day counted from 1970-01-01 in the Gregorian calendar.
fn date(mut days: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let long = 365 + i64::from(leap(year));
        match days {
            _ if days < 0 => {
                year -= 1;
                days += 365 + i64::from(leap(year));
            }
            _ if days >= long => {
                days -= long;
                year += 1;
            }
            _ => break,
        }
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use crate::nova::clients::instant;

    #[test]
    fn moments_are_written_as_the_ingest_writes_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_760_783_445_123, "2025-10-18T10:30:45.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(instant(ms), text);
        }
    }
}
