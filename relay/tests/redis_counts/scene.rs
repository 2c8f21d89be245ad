//! An invalidator with rules that count, and records of a topic as a consumer gets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use postrider_relay::pipeline::{Cut, HeaderName, Message, Messages, Part, Sink};
use postrider_relay::shape::rules::Rules;
use postrider_relay::shape::rules::options::{Does, RuleOptions};
use postrider_relay::sinks::redis::{InvalidatorOptions, Redis, RedisOptions};
use postrider_relay::telemetry::Metrics;
use redis::aio::MultiplexedConnection;
use xtask::services;

pub(super) const TOPIC: &str = "events";

/// A name that no other test and no other run uses.
pub(super) fn unique(test: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("test:{test}:{nanos}:{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// The Redis that all tests share.
pub(super) fn shared() -> String {
    services::current().expect("the services run").redis_url.expect("Redis runs")
}

pub(super) async fn connect() -> MultiplexedConnection {
    redis::Client::open(shared()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(super) fn server(url: &str) -> RedisOptions {
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').unwrap();
    RedisOptions {
        servers: vec![(host.to_owned(), port.split('/').next().unwrap().parse().unwrap())],
        cluster: false,
        database: 0,
        tls: None,
        user: None,
        password: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
    }
}

/// A rule as `[invalidate.rules.NAME]` would say it, for events of [`TOPIC`].
pub(super) fn rule(name: &str, does: Does, key: &str) -> RuleOptions {
    RuleOptions {
        name: name.to_owned(),
        topic: TOPIC.to_owned(),
        when: Vec::new(),
        does,
        targets: Vec::new(),
        query: None,
        parameters: Vec::new(),
        kept: None,
        key: Some(key.to_owned()),
        member: Some("{post_id}".to_owned()),
        present: Vec::new(),
        weight: 1.0,
        window: Duration::from_secs(3600),
        bucket: Duration::from_secs(60),
        top: 50,
        ttl: Duration::from_secs(90),
        members_max: 1000,
    }
}

/// A sink with these rules.
pub(super) async fn open(rules: &[RuleOptions], metrics: &Arc<Metrics>) -> Redis {
    let options = InvalidatorOptions {
        redis: server(&shared()),
        rules: Arc::new(Rules::compile(rules, false).unwrap()),
        second_pass: Duration::ZERO,
        pending_bytes_max: 1 << 20,
        sweep_keys_per_second: 100_000,
        postgres: None,
    };
    Redis::open(options, Arc::clone(metrics)).await.unwrap()
}

/// An event of Nova.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) action: &'static str,
    pub(super) user: u32,
    pub(super) post: u32,
    pub(super) time_ms: i64,
    /// Its header `id`.
    pub(super) id: Option<String>,
}

impl Event {
    pub(super) fn now(action: &'static str, post: u32) -> Self {
        Self { action, user: 1, post, time_ms: now_ms(), id: None }
    }
}

/// The events of partition 0 from offset `first` on, as a source cuts them.
pub(super) fn batch(first: usize, events: &[Event]) -> Messages {
    let topic: Arc<str> = Arc::from(TOPIC);
    let mut messages = Messages::over(Bytes::new());
    for (offset, event) in (first..).zip(events) {
        let Event { action, user, post, time_ms, id } = event;
        let json = format!(r#"{{"user_id":"u{user}","post_id":"p{post}","action":"{action}"}}"#);
        let value = Some(messages.keep(json.as_bytes()));
        let mark = messages.header_mark();
        if let Some(id) = id {
            let id = messages.keep(id.as_bytes());
            messages.header(HeaderName::Static("id"), Some(id));
        }
        let headers = mark..messages.header_mark();
        messages.push(Message {
            topic: Arc::clone(&topic),
            key: None,
            value,
            headers,
            timestamp_ms: *time_ms,
            position: offset as u128,
            route: 0,
        });
    }
    let last = (first + events.len()) as i64 - 1;
    messages.set_cut(Cut { topic, partition: 0, first: first as i64, last, part: Part::default() });
    messages
}

/// Hands a batch over and waits until it is durable, and nothing of it was refused.
pub(super) async fn deliver(sink: &mut impl Sink, messages: Messages) {
    let durable = sink.send(messages).await.unwrap().await.unwrap();
    assert_eq!(durable.refused, []);
}
