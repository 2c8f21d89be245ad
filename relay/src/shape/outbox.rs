//! An event of an outbox becomes a message: topic, key, value, headers.
//!
//! Guarantee: a payload is published as Postgres prints it, byte for byte; `payload_bytes` as the writer gave them.

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use crate::pipeline::message::Span;
use crate::pipeline::{HeaderName, Message, Messages};
use crate::shape::debezium::{Router, RouterOptions};
use crate::shape::filter::Filter;
use crate::shape::headers;
use crate::shape::position::EventPosition;
use crate::shape::row::{Field, OutboxRow, RowTypes, Type};
use crate::shape::template::{Template, TemplateError};
use crate::shape::topic::Topics;
use crate::shape::unfit::{Unshapable, name_of};

/// The usual name of the header that carries the event's id.
pub const ID: &str = "id";
/// The usual name of the header that carries the event's type.
pub const EVENT_TYPE: &str = "event_type";
/// The usual name of the header that carries the event's position, see [`EventPosition`].
pub const POSITION: &str = "postrider-position";
/// What the names of the relay's further headers begin with; a writer's header cannot.
const RESERVED_PREFIX: &str = "postrider-";
/// The header that carries the text of an event's headers when they are not a flat JSON object.
pub const MALFORMED_HEADERS: &str = "postrider-malformed-headers";

/// How the events of one outbox become messages.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// The number of the route, which messages carry.
    pub route: u16,
    /// The names of the further columns that templates and headers read; a [`Field::Further`] is a place in it.
    pub further: Vec<String>,
    /// Which events are published.
    pub filter: Filter,
    /// What a published event looks like.
    pub form: FormOptions,
}

impl OutboxOptions {
    /// Every event to the topic that `topic` names, its aggregate id as the key, with the usual headers; the first route.
    #[must_use]
    pub fn usual(topic: &str) -> Self {
        Self {
            route: 0,
            further: Vec::new(),
            filter: Filter::default(),
            form: FormOptions::Native {
                topic: topic.to_owned(),
                key: "{aggregate_id}".to_owned(),
                headers: Headers::usual(),
            },
        }
    }
}

/// What a published event looks like.
#[derive(Debug, Clone)]
pub enum FormOptions {
    /// Ours.
    Native {
        /// The topic template, see [`Topics`].
        topic: String,
        /// The key template, see [`Template`]; empty for records without key.
        key: String,
        /// The headers that the relay writes.
        headers: Headers,
    },
    /// That of Debezium's outbox event router.
    Debezium(RouterOptions),
}

/// Why events cannot be shaped as the options say.
#[derive(Debug, Error)]
pub enum FormError {
    /// A template that is none.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A regular expression that is none.
    #[error("the routing expression is not one")]
    Expression(#[from] regex::Error),
}

/// The headers that the relay writes, beside the event's own.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The name of the one with the event's id.
    pub id: Option<String>,
    /// The name of the one with the event's type.
    pub event_type: Option<String>,
    /// The name of the one with the event's position.
    pub position: Option<String>,
    /// Name and column of each further one.
    pub from_columns: Vec<(String, Field)>,
}

impl Headers {
    /// The usual ones under their usual names.
    #[must_use]
    pub fn usual() -> Self {
        let name = |name: &str| Some(name.to_owned());
        Self { id: name(ID), event_type: name(EVENT_TYPE), position: name(POSITION), from_columns: Vec::new() }
    }
}

/// Where and when an event was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its position.
    pub position: EventPosition,
    /// When its transaction committed, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shaped {
    /// It is a message.
    Whole,
    /// It is a message, which carries the malformed text in [`MALFORMED_HEADERS`].
    HeadersMalformed,
    /// The filter leaves it out.
    Filtered,
    /// It is among the messages that must not be sent.
    Unfit(Unshapable),
}

/// Shapes the events of one outbox.
#[derive(Debug)]
pub struct Outbox {
    route: u16,
    filter: Filter,
    form: Form,
    no_topic: Arc<str>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each outbox, and the usual form needs no way round")]
enum Form {
    Native(Native),
    Debezium(Box<Router>),
}

/// The form that is ours.
#[derive(Debug)]
struct Native {
    topics: Topics,
    key: Key,
    id: Option<Name>,
    event_type: Option<Name>,
    position: Option<Name>,
    from_columns: Vec<(String, Field)>,
    /// Names that an event's own headers cannot have.
    reserved: Vec<String>,
    further: Vec<String>,
    scratch: Vec<u8>,
}

/// What the key is made of.
#[derive(Debug)]
enum Key {
    None,
    Column(Field),
    Template(Template),
}

/// The name of a header of ours: the usual one costs nothing.
#[derive(Debug)]
enum Name {
    Usual(&'static str),
    Own(String),
}

/// What is known of an event that may turn out unfit.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) topic: Option<Arc<str>>,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    /// The record's time, if it is not that of the commit.
    pub(super) timestamp_ms: Option<i64>,
    /// The partition, if the key does not choose it.
    pub(super) partition: Option<i32>,
}

impl Outbox {
    /// A shaper of what `options` say.
    ///
    /// # Errors
    /// A template or a regular expression that is none.
    pub fn new(options: &OutboxOptions) -> Result<Self, FormError> {
        let form = match &options.form {
            FormOptions::Native { topic, key, headers } => {
                Form::Native(Native::new(topic, key, headers, &options.further)?)
            }
            FormOptions::Debezium(options) => Form::Debezium(Box::new(Router::new(options)?)),
        };
        Ok(Self { route: options.route, filter: options.filter.clone(), form, no_topic: Arc::from("") })
    }

    /// Adds the message of `row`, whose slices lie best in the arena of `messages`: then nothing is copied. `types` tells
    /// what the row's columns are.
    ///
    /// A row without payload becomes a tombstone; one whose key is a column that is null, a record without key. What cannot
    /// become a record is added as unfit, with what is known of it.
    #[inline]
    pub fn shape(
        &mut self,
        row: &OutboxRow<'_>,
        types: &RowTypes,
        committed: Committed,
        messages: &mut Messages,
    ) -> Shaped {
        if !self.filter.passes(row) {
            return Shaped::Filtered;
        }
        let mark = messages.header_mark();
        let mut parts = Parts::default();
        let Committed { position, timestamp_ms } = committed;
        let shaped = match &mut self.form {
            Form::Native(form) => form.shape(row, types, position, &mut parts, messages),
            Form::Debezium(form) => form.shape(row, types, position, &mut parts, messages),
        };
        let message = Message {
            topic: parts.topic.unwrap_or_else(|| Arc::clone(&self.no_topic)),
            key: parts.key,
            value: parts.value,
            headers: mark..messages.header_mark(),
            timestamp_ms: parts.timestamp_ms.unwrap_or(timestamp_ms),
            position: position.as_u128(),
            route: self.route,
        };
        match shaped {
            Ok(shaped) => {
                messages.push(message);
                if let Some(partition) = parts.partition {
                    messages.choose_partition(partition);
                }
                shaped
            }
            Err(why) => {
                messages.push_unfit(message, why.to_string());
                Shaped::Unfit(why)
            }
        }
    }

    /// Adds what could not be read as an event at all, as unfit: its bytes are the value.
    pub fn unreadable(&mut self, raw: &[u8], why: Unshapable, committed: Committed, messages: &mut Messages) -> Shaped {
        let mark = messages.header_mark();
        let value = Some(messages.span_of(raw));
        let Committed { position, timestamp_ms } = committed;
        let message = Message {
            topic: Arc::clone(&self.no_topic),
            key: None,
            value,
            headers: mark..mark,
            timestamp_ms,
            position: position.as_u128(),
            route: self.route,
        };
        messages.push_unfit(message, why.to_string());
        Shaped::Unfit(why)
    }
}

impl Native {
    fn new(topic: &str, key: &str, headers: &Headers, further: &[String]) -> Result<Self, TemplateError> {
        let key = Template::parse(key, further)?;
        let name = |name: &Option<String>, usual| name.as_ref().map(|name| Name::of(name, usual));
        let own = [&headers.id, &headers.event_type, &headers.position].into_iter().flatten();
        Ok(Self {
            topics: Topics::parse(topic, further)?,
            key: match key.as_field() {
                Some(field) => Key::Column(field),
                None if key.is_empty() => Key::None,
                None => Key::Template(key),
            },
            id: name(&headers.id, ID),
            event_type: name(&headers.event_type, EVENT_TYPE),
            position: name(&headers.position, POSITION),
            from_columns: headers.from_columns.clone(),
            reserved: own.chain(headers.from_columns.iter().map(|(name, _)| name)).cloned().collect(),
            further: further.to_vec(),
            scratch: Vec::new(),
        })
    }

    #[inline]
    fn shape(
        &mut self,
        row: &OutboxRow<'_>,
        types: &RowTypes,
        position: EventPosition,
        parts: &mut Parts,
        messages: &mut Messages,
    ) -> Result<Shaped, Unshapable> {
        // First what an unfit event is known by.
        let value = value(row, types, messages);
        parts.value = match &value {
            Ok(value) => *value,
            Err(_) => row.payload.or(row.payload_bytes).map(|raw| messages.span_of(raw)),
        };
        parts.key = self.key(row, messages)?;
        let topic = self.topics.topic(row);
        parts.topic = Some(topic.map_err(|field| Unshapable::NullInTopic(name_of(field, &self.further)))?);
        value?;
        if let Some(name) = &self.id {
            let id = row.id.map(|id| messages.span_of(id));
            name.write(id, messages);
        }
        if let Some(name) = &self.event_type {
            let event_type = row.event_type.map(|event_type| messages.span_of(event_type));
            name.write(event_type, messages);
        }
        if let Some(name) = &self.position {
            let hex = messages.keep(&position.to_hex());
            name.write(Some(hex), messages);
        }
        for (name, field) in &self.from_columns {
            let name = messages.keep(name.as_bytes());
            let value = row.get(*field).map(|value| messages.span_of(value));
            messages.header(HeaderName::Span(name), value);
        }
        Ok(row.headers.map_or(Shaped::Whole, |json| self.own_headers(json, messages)))
    }

    #[inline]
    fn key(&mut self, row: &OutboxRow<'_>, messages: &mut Messages) -> Result<Option<Span>, Unshapable> {
        match &self.key {
            Key::Column(field) => Ok(row.get(*field).map(|key| messages.span_of(key))),
            Key::None => Ok(None),
            Key::Template(template) => {
                self.scratch.clear();
                template
                    .render(row, &mut self.scratch)
                    .map_err(|field| Unshapable::NullInKey(name_of(field, &self.further)))?;
                Ok(Some(messages.keep(&self.scratch)))
            }
        }
    }

    /// Adds the event's own headers. A name that the relay writes itself is left out: a consumer must be able to trust it.
    fn own_headers(&self, json: &[u8], messages: &mut Messages) -> Shaped {
        if json == b"{}" {
            return Shaped::Whole;
        }
        let mark = messages.header_mark();
        let read = headers::read(json, &mut |name, value: Option<Cow<'_, str>>| {
            if !name.starts_with(RESERVED_PREFIX) && !self.reserved.iter().any(|reserved| *reserved == *name) {
                let name = messages.span_of(name.as_bytes());
                let value = value.map(|value| messages.span_of(value.as_bytes()));
                messages.header(HeaderName::Span(name), value);
            }
        });
        if read.is_ok() {
            return Shaped::Whole;
        }
        messages.header_truncate(mark);
        let raw = messages.span_of(json);
        messages.header(HeaderName::Static(MALFORMED_HEADERS), Some(raw));
        Shaped::HeadersMalformed
    }
}

/// The record's value.
#[inline]
fn value(row: &OutboxRow<'_>, types: &RowTypes, messages: &mut Messages) -> Result<Option<Span>, Unshapable> {
    match (row.payload, row.payload_bytes) {
        (Some(text), _) if types.payload.of != Type::Bytes => Ok(Some(messages.span_of(text))),
        (Some(hex), _) | (None, Some(hex)) => {
            let bytes = hex.strip_prefix(b"\\x").and_then(|digits| messages.keep_hex(digits));
            bytes.map(Some).ok_or(Unshapable::NotHex)
        }
        (None, None) => Ok(None),
    }
}

impl Name {
    fn of(name: &str, usual: &'static str) -> Self {
        if name == usual { Self::Usual(usual) } else { Self::Own(name.to_owned()) }
    }

    #[inline]
    fn write(&self, value: Option<Span>, messages: &mut Messages) {
        let name = match self {
            Self::Usual(name) => HeaderName::Static(name),
            Self::Own(name) => HeaderName::Span(messages.keep(name.as_bytes())),
        };
        messages.header(name, value);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
