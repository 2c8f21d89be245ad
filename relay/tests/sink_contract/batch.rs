//! Batches as a source would cut them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use postrider_relay::pipeline::{HeaderName, Message, Messages};

/// When every message of these tests was committed.
pub(super) const COMMITTED_AT_MS: i64 = 1_700_000_000_123;

/// A message to send.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    pub(super) key: Option<Cow<'static, str>>,
    pub(super) value: Option<Cow<'static, str>>,
    pub(super) headers: Vec<(&'static str, Option<&'static str>)>,
}

/// A message of one of many keys whose value is a number.
pub(super) fn keyed(key: u64, number: u64) -> Text {
    Text { key: Some(format!("key-{key}").into()), value: Some(number.to_string().into()), headers: Vec::new() }
}

/// A batch of these messages for one topic, with positions that nobody else has.
pub(super) fn batch(topic: &str, texts: &[Text]) -> Messages {
    static POSITION: AtomicU64 = AtomicU64::new(1);
    let first = POSITION.fetch_add(texts.len() as u64, Ordering::Relaxed);
    batch_at(u128::from(first), COMMITTED_AT_MS, topic, texts)
}

/// A batch of these messages for one topic, whose positions begin at `first`, committed at this time.
pub(super) fn batch_at(first: u128, timestamp_ms: i64, topic: &str, texts: &[Text]) -> Messages {
    let topic: Arc<str> = Arc::from(topic);
    let mut messages = Messages::over(Bytes::new());
    for (position, text) in (first..).zip(texts) {
        let key = text.key.as_ref().map(|key| messages.keep(key.as_bytes()));
        let value = text.value.as_ref().map(|value| messages.keep(value.as_bytes()));
        let mark = messages.header_mark();
        for (name, value) in &text.headers {
            let name = messages.keep(name.as_bytes());
            let value = value.map(|value| messages.keep(value.as_bytes()));
            messages.header(HeaderName::Span(name), value);
        }
        let headers = mark..messages.header_mark();
        messages.push(Message { topic: Arc::clone(&topic), key, value, headers, timestamp_ms, position, route: 0 });
    }
    messages
}
