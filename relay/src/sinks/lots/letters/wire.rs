//! How a letter is written as a record, and read back to the byte. Pure.
//!
//! A letter is the record as it was read (key, value, headers) with more headers behind its own: those of [Kafka Connect's
//! dead-letter queue], which tools know, and ours. All of them are UTF-8 text.
//!
//! [Kafka Connect's dead-letter queue]: https://docs.confluent.io/platform/current/connect/concepts.html#dead-letter-queues

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::calendar::iso8601;
use crate::pipeline::AWAITED;
use crate::pipeline::dead_letters::{Identity, Letter, Noted, Place, WAITING};
use crate::pipeline::message::{HeaderName, Message, Messages};
use crate::pipeline::parking::KeyHash;

/// Kafka Connect's headers: where the record was read.
const TOPIC: &str = "__connect.errors.topic";
const PARTITION: &str = "__connect.errors.partition";
const OFFSET: &str = "__connect.errors.offset";
/// Kafka Connect's headers: who failed, at what, and why.
const CONNECTOR: &str = "__connect.errors.connector.name";
const TASK: &str = "__connect.errors.task.id";
const STAGE: &str = "__connect.errors.stage";
const CLASS: &str = "__connect.errors.class.name";
const EXCEPTION: &str = "__connect.errors.exception.class.name";
const MESSAGE: &str = "__connect.errors.exception.message";

/// Ours: how often it was tried, by whom, and when it failed first, in milliseconds since 1970.
const ATTEMPTS: &str = "x-dlq-attempts";
const JOB: &str = "x-dlq-job";
const FIRST_FAILURE: &str = "x-dlq-first-failure-ts";
/// The class of the reason, and what a person can do.
const CODE: &str = "x-dlq-error-code";
const HELP: &str = "x-dlq-help";
/// `key` if later records of its key wait for it, else `none`.
const ORDER: &str = "x-dlq-order";
/// The record's own time, in milliseconds since 1970: the letter has the time of its writing, from which it is kept.
const TIMESTAMP: &str = "x-dlq-original-timestamp";
/// In which form the value is.
const SHAPE: &str = "x-dlq-shape";
/// How many headers are the record's own: the first ones.
const OWN: &str = "x-dlq-original-headers";

/// What a letter that waits gives as its reason.
const WAITS: &str = "it waits behind an earlier record of its key that is a dead letter";

/// The stage at which a sink's task fails, as Kafka Connect calls it.
const STAGE_PUT: &str = "TASK_PUT";

/// The form of a letter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The record's own bytes.
    #[default]
    Original,
    /// `{original_event, error, failed_at, retry_count}`, with the value in it as it is if that is JSON.
    Event,
}

/// How the value lies in a letter: a word of [`SHAPE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Original,
    /// As JSON in the event's shape, with no byte changed.
    Json,
    /// As text in a JSON string.
    Text,
    /// As hexadecimal digits in a JSON string.
    Hex,
    /// There was none.
    Null,
}

const FORMS: [(Form, &str); 5] = [
    (Form::Original, "original"),
    (Form::Json, "event-json"),
    (Form::Text, "event-text"),
    (Form::Hex, "event-hex"),
    (Form::Null, "event-null"),
];

impl Form {
    fn word(self) -> &'static str {
        FORMS.iter().find(|(form, _)| *form == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Self {
        FORMS.iter().find(|(_, known)| *known == word).map_or(Self::Original, |(form, _)| *form)
    }
}

/// What the event's shape holds.
#[derive(Serialize)]
struct Event<'a> {
    original_event: &'a RawValue,
    error: &'a str,
    failed_at: String,
    retry_count: u32,
}

/// What is read back of it.
#[derive(Deserialize)]
struct Original<'a> {
    #[serde(borrow)]
    original_event: &'a RawValue,
}

/// Everything that a letter says of itself, except its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// What a worker knows of it by heart.
    pub noted: Noted,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// The class of the reason.
    pub code: String,
    /// Why it was given up.
    pub reason: String,
    /// What a person can do about it.
    pub help: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Who gave it up.
    pub job: String,
    /// When it failed first, in milliseconds since 1970.
    pub failed_at_ms: i64,
    /// When it became a letter, in milliseconds since 1970.
    pub written_at_ms: i64,
    /// The record's own time, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// A record as a consumer reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Adds `letter` to `messages`, addressed to `topic` at the time `now_ms`.
pub(super) fn write(
    messages: &mut Messages,
    letter: &Letter<'_>,
    (topic, job): (&Arc<str>, &str),
    shape: Shape,
    now_ms: i64,
) {
    let refused = letter.refused.as_ref();
    let reason = refused.map_or(WAITS, |refused| &*refused.reason);
    let code = refused.map_or(WAITING, |refused| refused.code);
    let mark = messages.header_mark();
    for (name, value) in letter.message.headers() {
        let name = messages.keep(name.as_bytes());
        let value = value.map(|value| messages.keep(value));
        messages.header(HeaderName::Span(name), value);
    }
    let own = messages.header_mark() - mark;
    let (value, form) = value_of(letter, reason, shape);
    let identity = &letter.identity;
    let mut add = |name, value: &str| {
        let value = messages.keep(value.as_bytes());
        messages.header(HeaderName::Static(name), Some(value));
    };
    add(TOPIC, &identity.topic);
    add(PARTITION, &identity.partition.to_string());
    add(OFFSET, &identity.offset.to_string());
    add(CONNECTOR, job);
    add(TASK, "0");
    add(STAGE, STAGE_PUT);
    add(CLASS, "postrider");
    add(EXCEPTION, &format!("postrider.{code}"));
    add(MESSAGE, reason);
    add(ATTEMPTS, &letter.attempts.to_string());
    add(JOB, job);
    add(FIRST_FAILURE, &letter.failed_at_ms.to_string());
    add(CODE, code);
    if let Some(help) = refused.and_then(|refused| refused.help.as_deref()) {
        add(HELP, help);
    }
    add(ORDER, if letter.ordered { "key" } else { "none" });
    add(TIMESTAMP, &letter.message.timestamp_ms().to_string());
    add(SHAPE, form.word());
    add(OWN, &own.to_string());
    let headers = mark..messages.header_mark();
    let key = letter.message.key().map(|key| messages.keep(key));
    let value = value.map(|value| messages.keep(&value));
    let topic = Arc::clone(topic);
    // Its time is that of its writing, or it would be removed as early as the record.
    messages.push(Message { topic, key, value, headers, timestamp_ms: now_ms, position: 0, route: 0 });
}

/// The value of a letter in the shape that is wanted, and the form in which that is.
fn value_of(letter: &Letter<'_>, reason: &str, shape: Shape) -> (Option<Vec<u8>>, Form) {
    let value = letter.message.value();
    if shape == Shape::Original {
        return (value.map(<[u8]>::to_vec), Form::Original);
    }
    let text = value.map(|value| (value, std::str::from_utf8(value)));
    let string = |text: &str| serde_json::value::to_raw_value(text).ok();
    let (original, form) = match text {
        None => (None, Form::Null),
        Some((_, Ok(text))) => match serde_json::from_str::<&RawValue>(text) {
            // Blanks around it would be lost, and it must come back to the byte.
            Ok(raw) if raw.get().len() == text.len() => (Some(raw.to_owned()), Form::Json),
            _ => (string(text), Form::Text),
        },
        Some((bytes, Err(_))) => (string(&hex(bytes)), Form::Hex),
    };
    let event = Event {
        original_event: original.as_deref().unwrap_or(RawValue::NULL),
        error: reason,
        failed_at: iso8601(letter.failed_at_ms),
        retry_count: letter.attempts,
    };
    (serde_json::to_vec(&event).ok(), form)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let pair = |[high, low]: &[u8; 2]| Some(((*high as char).to_digit(16)? << 4 | (*low as char).to_digit(16)?) as u8);
    if rest.is_empty() { pairs.iter().map(pair).collect() } else { None }
}

impl Read {
    /// The text of the last header of that name: ours stand behind the record's own.
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(known, _)| known == name)?;
        std::str::from_utf8(found.1.as_deref()?).ok()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.header(name)?.parse().ok()
    }

    /// What it says of itself; `None` if it is no letter of ours.
    pub(super) fn details(&self) -> Option<Details> {
        let topic: Arc<str> = Arc::from(self.header(TOPIC)?);
        let identity = Identity { topic, partition: self.number(PARTITION)?, offset: self.number(OFFSET)? };
        let is_ordered = self.header(ORDER) == Some("key");
        let code = self.header(CODE).unwrap_or_default().to_owned();
        let held_key = self.key.as_deref().filter(|_| is_ordered).map(|key| KeyHash::of(&identity.topic, key));
        let bytes = self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len);
        let place = Place { partition: self.partition, offset: self.offset };
        let noted =
            Noted { identity, place, held_key, waiting: code == WAITING || code == AWAITED, bytes: bytes as u64 };
        Some(Details {
            noted,
            key: self.key.clone(),
            code,
            reason: self.header(MESSAGE).unwrap_or_default().to_owned(),
            help: self.header(HELP).map(str::to_owned),
            attempts: self.number(ATTEMPTS).unwrap_or_default(),
            job: self.header(JOB).unwrap_or_default().to_owned(),
            failed_at_ms: self.number(FIRST_FAILURE).unwrap_or_default(),
            written_at_ms: self.timestamp_ms,
            timestamp_ms: self.number(TIMESTAMP).unwrap_or_default(),
        })
    }

    /// The value as it was before it became a letter; `None` inside if there was none.
    pub(super) fn original_value(&self) -> Option<Option<Vec<u8>>> {
        let form = self.header(SHAPE).map_or(Form::Original, Form::of);
        let value = match (form, self.value.as_deref()) {
            (Form::Original, value) => return Some(value.map(<[u8]>::to_vec)),
            (Form::Null, _) => return Some(None),
            (_, value) => value?,
        };
        let original: Original<'_> = serde_json::from_slice(value).ok()?;
        let raw = original.original_event.get();
        Some(Some(match form {
            Form::Json => raw.as_bytes().to_vec(),
            Form::Hex => unhex(&serde_json::from_str::<String>(raw).ok()?)?,
            Form::Text | Form::Original | Form::Null => serde_json::from_str::<String>(raw).ok()?.into_bytes(),
        }))
    }

    /// The headers that were the record's own.
    pub(super) fn original_headers(&self) -> &[(String, Option<Vec<u8>>)] {
        let own: usize = self.number(OWN).unwrap_or_default();
        &self.headers[..own.min(self.headers.len())]
    }

    /// Adds the record as it was to `messages`; false if it cannot be read back.
    pub(super) fn restore(&self, messages: &mut Messages) -> bool {
        let (Some(details), Some(value)) = (self.details(), self.original_value()) else { return false };
        let Ok(position) = u128::try_from(details.noted.identity.offset) else { return false };
        let mark = messages.header_mark();
        for (name, value) in self.original_headers() {
            let name = messages.keep(name.as_bytes());
            let value = value.as_deref().map(|value| messages.keep(value));
            messages.header(HeaderName::Span(name), value);
        }
        let headers = mark..messages.header_mark();
        let key = self.key.as_deref().map(|key| messages.keep(key));
        let value = value.map(|value| messages.keep(&value));
        let (topic, timestamp_ms) = (details.noted.identity.topic, details.timestamp_ms);
        messages.push(Message { topic, key, value, headers, timestamp_ms, position, route: 0 });
        true
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
