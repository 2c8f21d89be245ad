//! A place of a test's own: names that nobody else uses in a Redis, rules over a topic, and what readers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postrider_relay::pipeline::{Durable, HeaderName, Message, Messages, Receipt, Sink};
use postrider_relay::shape::rules::Rules;
use postrider_relay::shape::rules::options::{Does, RuleOptions};
use postrider_relay::sinks::Redis;
use postrider_relay::sinks::redis::{InvalidatorOptions, RedisOptions, keys};
use postrider_relay::telemetry::Metrics;
use redis::aio::MultiplexedConnection;
use xtask::services;

/// Longer than anything here may take: a test that waits for it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where readers keep pages and the invalidator works.
pub(super) struct Place {
    pub(super) options: InvalidatorOptions,
    pub(super) metrics: Arc<Metrics>,
    /// What every name of this test begins with.
    pub(super) prefix: String,
    pub(super) readers: MultiplexedConnection,
}

impl Place {
    /// In the shared Redis.
    pub(super) async fn shared(rules: impl FnOnce(&str) -> Vec<RuleOptions>) -> Self {
        let url = services::current().expect("the services run").redis_url.expect("Redis runs");
        Self::at(&url, rules).await
    }

    /// In the Redis at `url`.
    pub(super) async fn at(url: &str, rules: impl FnOnce(&str) -> Vec<RuleOptions>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let readers = redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await;
        let options = InvalidatorOptions {
            redis: reached(url),
            rules: Arc::new(Rules::compile(&rules(&prefix), false).expect("rules that can be applied")),
            second_pass: Duration::ZERO,
            pending_bytes_max: 64 << 20,
            sweep_keys_per_second: 1_000_000,
            postgres: None,
        };
        Self { options, metrics: Metrics::new(), prefix, readers: readers.expect("Redis answers") }
    }

    pub(super) async fn sink(&self) -> Redis {
        Redis::open(self.options.clone(), Arc::clone(&self.metrics)).await.expect("Redis can be used")
    }

    /// A name of this test.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }

    pub(super) async fn run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.readers).await.expect("the command runs")
    }

    pub(super) async fn exists(&mut self, key: &str) -> bool {
        self.run(&["EXISTS", key]).await
    }

    /// Begins to read a page as a reader does; the state and the token.
    pub(super) async fn open(&mut self, tag: &str, page: &str) -> (String, String) {
        let script = redis::Script::new(include_str!("../../../kits/redis/open.lua"));
        let mut call = script.key(keys::generation(tag));
        call.key(page).arg(60_000).arg("framed");
        let answer: Vec<String> = call.invoke_async(&mut self.readers).await.expect("the page is read");
        (answer[0].clone(), answer[1].clone())
    }

    /// Fills a page as a reader does; whether it was taken.
    pub(super) async fn fill(&mut self, tag: &str, page: &str, token: &str) -> bool {
        let script = redis::Script::new(include_str!("../../../kits/redis/fill.lua"));
        let mut call = script.key(keys::generation(tag));
        call.key(page).arg(token).arg("payload").arg(60_000).arg(0).arg(60_000).arg("framed");
        let stored: i64 = call.invoke_async(&mut self.readers).await.expect("the page is filled");
        stored == 1
    }

    /// Reads a page, and fills it if need be; its state before.
    pub(super) async fn read(&mut self, tag: &str, page: &str) -> String {
        let (state, token) = self.open(tag, page).await;
        if state != "hit" {
            assert!(self.fill(tag, page, &token).await, "nothing came in between");
        }
        state
    }
}

/// How the sink reaches the server at `url`.
pub(crate) fn reached(url: &str) -> RedisOptions {
    let (host, port) = url.trim_start_matches("redis://").trim_end_matches('/').rsplit_once(':').expect("a port");
    let port = port.split('/').next().and_then(|port| port.parse().ok()).expect("a number");
    RedisOptions {
        servers: vec![(host.to_owned(), port)],
        cluster: false,
        database: 0,
        tls: None,
        user: None,
        password: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
    }
}

/// A rule that does nothing yet.
pub(super) fn rule(name: &str, topic: &str, does: Does, targets: &[String]) -> RuleOptions {
    RuleOptions {
        name: name.to_owned(),
        topic: topic.to_owned(),
        when: Vec::new(),
        does,
        targets: targets.to_vec(),
        query: None,
        parameters: Vec::new(),
        kept: None,
        key: None,
        member: None,
        present: Vec::new(),
        weight: 1.0,
        window: Duration::from_secs(3600),
        bucket: Duration::from_secs(60),
        top: 50,
        ttl: Duration::from_secs(3600),
        members_max: 100,
    }
}

/// A change as the relay writes it, with its position.
pub(super) fn change(position: u128, op: &str, before: &str, after: &str) -> (u128, Vec<u8>) {
    let text = format!(
        r#"{{"before":{before},"after":{after},"source":{{"lsn":1,"schema":"public","table":"posts"}},"op":"{op}","ts_ms":1}}"#
    );
    (position, text.into_bytes())
}

/// A batch of changes of one topic.
pub(super) fn batch(topic: &str, changes: &[(u128, Vec<u8>)]) -> Messages {
    let topic: Arc<str> = topic.into();
    let mut messages = Messages::over(Bytes::new());
    for (offset, (position, value)) in changes.iter().enumerate() {
        let mark = messages.header_mark();
        let (name, digits) =
            (messages.keep(b"postrider-position"), messages.keep(format!("{position:032x}").as_bytes()));
        messages.header(HeaderName::Span(name), Some(digits));
        let value = messages.keep(value);
        messages.push(Message {
            topic: Arc::clone(&topic),
            key: None,
            value: Some(value),
            headers: mark..messages.header_mark(),
            timestamp_ms: 1_700_000_000_000,
            position: offset as u128,
            route: 0,
        });
    }
    messages
}

/// Sends a batch and waits for its fate.
pub(super) async fn deliver(sink: &mut Redis, messages: Messages) -> Durable {
    let receipt = sink.send(messages).await.expect("the batch is accepted");
    durable(receipt).await
}

/// Waits for a batch's fate.
pub(super) async fn durable(receipt: Receipt) -> Durable {
    tokio::time::timeout(PATIENCE, receipt).await.expect("the receipt resolves").expect("the batch is durable")
}
