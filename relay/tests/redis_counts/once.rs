//! Idempotency keys: an event that is here already as another record is left out.

use std::sync::Arc;
use std::time::Duration;

use postrider_relay::shape::rules::options::Does;
use postrider_relay::sinks::redis::{Once, OnceOptions, Redis};
use postrider_relay::telemetry::Metrics;
use redis::AsyncCommands;
use xtask::services::PrivateRedis;

use super::scene::{Event, TOPIC, batch, connect, deliver, now_ms, open, rule, server, shared, unique};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn once(key: &str, url: &str, metrics: &Arc<Metrics>) -> Once<Redis> {
    let options = OnceOptions { redis: server(url), topics: vec![TOPIC.into()], remember: DAY };
    Once::new(open(&[rule("count", Does::Score, key)], metrics).await, options, Arc::clone(metrics))
}

fn event(id: &str, time_ms: i64) -> Event {
    Event { id: Some(id.replace(':', "-")), time_ms, ..Event::now("like", 1) }
}

async fn points(key: &str) -> f64 {
    connect().await.zscore(key, "p1").await.unwrap()
}

#[tokio::test]
async fn an_event_that_was_sent_twice_counts_once_and_is_remembered_for_a_day() {
    let (key, id, metrics) = (unique("twice"), unique("id"), Metrics::new());
    let mut sink = once(&key, &shared(), &metrics).await;
    let (time, other) = (now_ms(), unique("other"));
    // Twice in one batch, again in another, and another event beside it.
    deliver(&mut sink, batch(0, &[event(&id, time), event(&id, time)])).await;
    deliver(&mut sink, batch(2, &[event(&id, time), event(&other, time)])).await;
    assert_eq!(points(&key).await, 2.0);
    assert_eq!((metrics.deduplication.hits.get(), metrics.deduplication.unasked.get()), (2, 0));
    let name = format!("event_idempotency:{}:{time}", id.replace(':', "-"));
    let life: i64 = connect().await.ttl(name).await.unwrap();
    assert!((DAY.as_secs() as i64 - 60..=DAY.as_secs() as i64).contains(&life), "{life}");
}

#[tokio::test]
async fn a_record_that_is_delivered_again_is_no_repetition() {
    let (key, id, metrics) = (unique("again"), unique("id"), Metrics::new());
    let mut sink = once(&key, &shared(), &metrics).await;
    let events = [event(&id, now_ms())];
    for _ in 0..3 {
        deliver(&mut sink, batch(0, &events)).await;
    }
    assert_eq!((points(&key).await, metrics.deduplication.hits.get()), (1.0, 0));
}

#[tokio::test]
async fn an_event_that_another_claimed_and_never_finished_is_not_left_out() {
    let (key, id, metrics) = (unique("claimed"), unique("id"), Metrics::new());
    let time = now_ms();
    let name = format!("event_idempotency:{}:{time}", id.replace(':', "-"));
    connect().await.set::<_, _, ()>(name, "cevents/3@17").await.unwrap();
    let mut sink = once(&key, &shared(), &metrics).await;
    deliver(&mut sink, batch(0, &[event(&id, time)])).await;
    assert_eq!((points(&key).await, metrics.deduplication.hits.get()), (1.0, 0));
}

#[tokio::test]
async fn while_redis_is_away_every_event_is_passed_on() {
    let (key, metrics) = (unique("away"), Metrics::new());
    let mut private = tokio::task::spawn_blocking(|| PrivateRedis::start(&[]).unwrap()).await.unwrap();
    let mut sink = once(&key, &private.url(), &metrics).await;
    let time = now_ms();
    deliver(&mut sink, batch(0, &[event("a", time)])).await;
    private.pause();
    deliver(&mut sink, batch(1, &[event("a", time)])).await;
    private.resume();
    private.kill();
    deliver(&mut sink, batch(2, &[event("a", time)])).await;
    assert_eq!(points(&key).await, 3.0);
    assert!(metrics.deduplication.unasked.get() >= 2);
}
