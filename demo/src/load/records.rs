//! Nova's events as the ingest writes them to Kafka, and as a file of JSON lines that says the same.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;

use crate::error::{Doing, Result};
use crate::random::Random;

/// How long the last records may take to be acknowledged.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// How long to wait where the producer's queue is full.
const PAUSE: Duration = Duration::from_millis(5);
/// People, and what they look at.
const USERS: u64 = 100_000;
const POSTS: usize = 50_000;
/// The first event's time, 2025-10-18T00:00:00Z, in milliseconds; the others follow within a day.
const START_MS: u64 = 1_760_745_600_000;
const DAY_MS: u64 = 86_400_000;

/// One event.
struct Event {
    id: String,
    post: String,
    json: String,
}

/// Writes `rows` events to the topic and to the file. Returns the bytes of a record's value, on average.
pub(super) fn write(bootstrap: &str, topic: &str, file: &Path, rows: u64) -> Result<f64> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .create()
        .doing("starting a producer")?;
    let doing = || format!("writing {}", file.display());
    let mut lines = BufWriter::new(File::create(file).doing(doing())?);
    let (mut random, mut bytes) = (Random::new(1), 0);
    for number in 0..rows {
        let event = event(number, rows, &mut random);
        bytes += event.json.len();
        // The file says in a field what the record says in a header.
        let (open, rest) = event.json.split_at(1);
        writeln!(lines, r#"{open}"event_id":"{}",{rest}"#, event.id).doing(doing())?;
        send(&producer, topic, &event)?;
    }
    lines.flush().doing(doing())?;
    producer.flush(FLUSH_MAX).doing("producing the last records")?;
    Ok(bytes as f64 / rows as f64)
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, event: &Event) -> Result<()> {
    loop {
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&event.id) });
        match producer.send(BaseRecord::to(topic).key(&event.post).payload(&event.json).headers(headers)) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(PAUSE),
            Err((error, _)) => return Err(error).doing("producing a record"),
        }
    }
}

fn event(number: u64, rows: u64, random: &mut Random) -> Event {
    let id = Uuid::from_u128((u128::from(random.bits()) << 64) | (0x8000 << 48) | u128::from(number)).to_string();
    let user = Uuid::from_u128(u128::from(random.below(USERS)));
    let post_number = random.skewed(POSTS) as u128;
    let [post, author] = [2 * post_number, 2 * (post_number % 5_000) + 1].map(Uuid::from_u128);
    let action =
        ["view", "view", "view", "view", "impression", "impression", "like", "share"][random.below(8) as usize];
    let time = time(START_MS + DAY_MS * number / rows);
    let (dwell, device) = (random.below(60_000), ["iOS", "Android", "web"][random.below(3) as usize]);
    let json = format!(
        r#"{{"event_time":"{time}","user_id":"{user}","post_id":"{post}","author_id":"{author}","action":"{action}","dwell_ms":{dwell},"device":"{device}","app_ver":"1.2.{}"}}"#,
        random.below(10)
    );
    Event { id, post: post.to_string(), json }
}

/// A moment of that day in ISO 8601 form.
fn time(ms: u64) -> String {
    let day = ms / DAY_MS * DAY_MS;
    let (date, ms) = (if day == START_MS { "2025-10-18" } else { "2025-10-19" }, ms - day);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use crate::load::records::{START_MS, event, time};
    use crate::random::Random;

    #[test]
    fn an_event_has_novas_form() {
        assert_eq!(time(START_MS + 37_845_123), "2025-10-18T10:30:45.123Z");
        let mut random = Random::new(1);
        let (first, second) = (event(0, 2, &mut random), event(1, 2, &mut random));
        assert_ne!(first.id, second.id);
        let json: serde_json::Value = serde_json::from_str(&second.json).expect("JSON");
        assert_eq!(json["event_time"], "2025-10-18T12:00:00.000Z");
        assert_eq!(json["post_id"], second.post.as_str());
    }
}
