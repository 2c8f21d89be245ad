//! `[outbox]` and `[outboxes.NAME]`: the tables or message prefixes that services write events to, and what becomes of each event.
//!
//! One outbox is one route. `[outbox]` is the usual one; each further one is a section `[outboxes.NAME]` with the same keys.

mod columns;
mod debezium;
mod filter;
mod headers;
mod table;
mod template;

use crate::config::{
    capture,
    key::{Fallback, Key, Kind},
    outbox::template::Piece,
    settings::Settings,
};

pub use crate::config::outbox::{
    columns::Columns,
    debezium::{Converter, Debezium, Place, Placement},
    filter::{Filter, Patterns},
    headers::Headers,
    table::TableName,
};
pub(super) use crate::config::outbox::{table::take_identifier, template::is_topic_name};

/// Outboxes at most: far more than a database has, and their numbers fit a message's route.
const OUTBOXES_MAX: usize = 256;

/// Longest prefix of messages, in bytes.
const PREFIX_BYTES_MAX: usize = 255;

/// What `[outbox]` itself is called.
const FIRST: &str = "outbox";

const TABLE: Key = Key {
    path: "outbox.table",
    kind: Kind::Text(
        "a schema and a table joined by a dot, with double quotes around a name that is not plain lower case",
    ),
    fallback: Fallback::Value("public.outbox_events"),
    meaning: "The table that events are written to. Where it is partitioned, the table above its partitions. With `message_prefix`, none unless it is given. \"\" in `[outbox]` where tables are captured: there is no outbox.",
};
const MESSAGE_PREFIX: Key = Key {
    path: "outbox.message_prefix",
    kind: Kind::Text("1 to 255 bytes"),
    fallback: Fallback::Absent("events come from the table only"),
    meaning: "The prefix of the logical messages that are events: an outbox without a table, written by `postrider.emit_message`.",
};
const TOPIC: Key = Key {
    path: "outbox.topic",
    kind: Kind::Text(
        "letters, digits, `.`, `_`, `-` and the placeholders {aggregate_type}, {aggregate_id}, {event_type}, {id} and {column:name}",
    ),
    fallback: Fallback::Value("outbox.event.{aggregate_type}"),
    meaning: "The topic an event goes to. A placeholder becomes the value of that column.",
};
const KEY: Key = Key {
    path: "outbox.key",
    kind: Kind::Text(
        "at most 1024 bytes of text and the placeholders {aggregate_type}, {aggregate_id}, {event_type}, {id} and {column:name}",
    ),
    fallback: Fallback::Value("{aggregate_id}"),
    meaning: "The record's key; order is kept for each. \"\" makes records without key, which have no order.",
};
const ON_REFUSAL: Key = Key {
    path: "outbox.on_refusal",
    kind: Kind::Choice(&["park", "block", "dead_letter"]),
    fallback: Fallback::Value("park"),
    meaning: "What becomes of an event that can never be delivered as it is: `park` holds it and its key in `postrider.parked`, `block` stops the stream, `dead_letter` publishes it to `dead_letter_topic`.",
};
const DEAD_LETTER_TOPIC: Key = Key {
    path: "outbox.dead_letter_topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Absent("there is none; `on_refusal = \"dead_letter\"` requires one"),
    meaning: "The topic for events that can never be delivered as they are.",
};
const COMPATIBILITY: Key = Key {
    path: "outbox.compatibility",
    kind: Kind::Choice(&["none", "debezium"]),
    fallback: Fallback::Value("none"),
    meaning: "`debezium` publishes the topics, keys, headers and values that Debezium's outbox event router would: see docs/debezium.md.",
};

/// In the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    TABLE,
    MESSAGE_PREFIX,
    TOPIC,
    KEY,
    headers::FROM,
    ON_REFUSAL,
    DEAD_LETTER_TOPIC,
    COMPATIBILITY,
    debezium::KEY,
    columns::ID,
    columns::AGGREGATE_TYPE,
    columns::AGGREGATE_ID,
    columns::EVENT_TYPE,
    columns::PAYLOAD,
    columns::PAYLOAD_BYTES,
    columns::HEADERS,
    headers::ID,
    headers::EVENT_TYPE,
    headers::POSITION,
    filter::AGGREGATE_TYPES,
    filter::AGGREGATE_TYPES_EXCEPT,
    filter::EVENT_TYPES,
    filter::EVENT_TYPES_EXCEPT,
];

/// One outbox: where its events are written, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// `outbox`, or the NAME of `[outboxes.NAME]`.
    pub name: String,
    /// The table that events are written to; `None` only if there is a prefix.
    pub table: Option<TableName>,
    /// The prefix of the messages that are events.
    pub message_prefix: Option<String>,
    /// Template of the topic's name. Its placeholders are known, and their columns mapped.
    pub topic: String,
    /// Template of the key; empty for none.
    pub key: String,
    /// The names of its columns.
    pub columns: Columns,
    /// The headers that the relay writes.
    pub headers: Headers,
    /// Which events are published.
    pub filter: Filter,
    /// What becomes of an event that can never be delivered as it is.
    pub on_refusal: OnRefusal,
    /// The form of Debezium's event router, which then stands for topic, key and headers.
    pub debezium: Option<Debezium>,
}

/// What becomes of an event that can never be delivered as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is held, with its key.
    Park,
    /// The stream waits.
    Block,
    /// It goes to this topic.
    DeadLetter(String),
}

impl Outbox {
    /// Every outbox that is configured; `[outbox]` is the first unless only others are. None only where `[outbox]` says
    /// so and something else is to be read: tables that are captured.
    pub(super) fn all_from_settings(settings: &mut Settings) -> Vec<Self> {
        let further = settings.further_outboxes();
        let mut outboxes = Vec::new();
        let none = settings.is_empty_text(&TABLE) && settings.is_given(capture::NAME);
        if !none && (further.is_empty() || settings.is_given(FIRST)) {
            outboxes.push(Self::from_settings(settings, FIRST));
        }
        for name in further {
            let outbox = settings.in_outbox(&name, |settings| Self::from_settings(settings, &name));
            if outboxes.len() >= OUTBOXES_MAX {
                settings.in_outbox(&name, |settings| settings.refuse(&TABLE, "is of one outbox too many: at most 256"));
            }
            outboxes.push(outbox);
        }
        for (index, outbox) in outboxes.iter().enumerate() {
            let twice = |own: fn(&Self) -> Option<String>| {
                outboxes[..index].iter().find(|other| own(outbox).is_some() && own(outbox) == own(other))
            };
            let table = twice(|outbox| outbox.table.as_ref().map(ToString::to_string)).map(|other| (&TABLE, other));
            let prefix = twice(|outbox| outbox.message_prefix.clone()).map(|other| (&MESSAGE_PREFIX, other));
            for (key, other) in table.into_iter().chain(prefix) {
                let message = format!("is that of the outbox `{}` too: an event takes one route", other.name);
                settings.in_outbox(&outbox.name, |settings| settings.refuse(key, &message));
            }
        }
        outboxes
    }

    fn from_settings(settings: &mut Settings, name: &str) -> Self {
        let message_prefix = settings.parsed(&MESSAGE_PREFIX, |text| is_message_prefix(text).then(|| text.to_owned()));
        let has_table = message_prefix.is_none() || settings.given(&TABLE).is_some();
        let table = has_table.then(|| settings.parsed(&TABLE, TableName::parse)).flatten();
        let debezium = (settings.choice(&COMPATIBILITY) == 1).then(|| Debezium::from_settings(settings));
        if debezium.is_none() {
            Debezium::refuse_options(settings);
        }
        let columns = match &debezium {
            Some(debezium) => debezium.columns(settings),
            None => Columns::from_settings(settings),
        };
        let filter = Filter::from_settings(settings, columns.aggregate_type.is_some(), columns.event_type.is_some());
        let outbox = Self {
            name: name.to_owned(),
            table,
            message_prefix,
            topic: settings.checked(&TOPIC, template::is_topic),
            key: settings.checked(&KEY, template::is_key),
            headers: Headers::from_settings(settings, debezium.is_some()),
            columns,
            filter,
            on_refusal: OnRefusal::from_settings(settings, &ON_REFUSAL, &DEAD_LETTER_TOPIC),
            debezium,
        };
        outbox.check(settings);
        outbox
    }

    /// Refuses templates that name a column which the table is said not to have, and what the form of Debezium sets itself.
    fn check(&self, settings: &mut Settings) {
        if self.debezium.is_some() {
            let ours =
                [&TOPIC, &KEY, &headers::FROM, &headers::ID, &headers::EVENT_TYPE].into_iter().chain(columns::KEYS);
            for key in ours.filter(|key| settings.is_given(&settings.path(key))).collect::<Vec<_>>() {
                let message =
                    "does not go with `compatibility = \"debezium\"`: the options of [outbox.debezium] say it";
                settings.refuse(key, message);
            }
            if self.table.is_none() {
                let message =
                    "does not go with `compatibility = \"debezium\"` without a table: the event router reads tables";
                settings.refuse(&MESSAGE_PREFIX, message);
            }
            return;
        }
        for (key, text) in [(&TOPIC, &self.topic), (&KEY, &self.key)] {
            let unmapped = template::pieces(text).unwrap_or_default().into_iter().find_map(|piece| match piece {
                Piece::Part(part) if self.columns.of_placeholder(part).is_none() => Some(part),
                _ => None,
            });
            if let Some(part) = unmapped {
                let message = format!("names {{{part}}}, for which [outbox.columns] names no column");
                settings.refuse(key, &message);
            }
        }
    }

    /// The columns that templates and headers read beside the mapped ones, each once.
    #[must_use]
    pub fn further_columns(&self) -> Vec<String> {
        if let Some(debezium) = &self.debezium {
            return debezium.further_columns();
        }
        let templates = [self.topic.as_str(), self.key.as_str()];
        let pieces = templates.into_iter().flat_map(|text| template::pieces(text).unwrap_or_default());
        let named = pieces.filter_map(|piece| match piece {
            Piece::Column(column) => Some(column),
            _ => None,
        });
        let mut columns: Vec<String> = Vec::new();
        for column in named.chain(self.headers.from_columns.iter().map(|(_, column)| column.as_str())) {
            if !columns.iter().any(|known| known == column) {
                columns.push(column.to_owned());
            }
        }
        columns
    }

    /// Every column that the table must have.
    #[must_use]
    pub fn required_columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = self.columns.names().map(str::to_owned).collect();
        let further = match &self.debezium {
            Some(debezium) => debezium.required_columns(),
            None => self.further_columns(),
        };
        for column in further {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    }
}

impl OnRefusal {
    /// `choice` is the key whose choices are the three in this order: park, block, dead letter.
    pub(in crate::config) fn from_settings(settings: &mut Settings, choice: &Key, dead_letter_topic: &Key) -> Self {
        let topic = settings.parsed(dead_letter_topic, |text| is_topic_name(text).then(|| text.to_owned()));
        match (settings.choice(choice), topic) {
            (2, Some(topic)) => Self::DeadLetter(topic),
            (2, None) => {
                let topic = settings.path(dead_letter_topic);
                settings.refuse(choice, &format!("is \"dead_letter\", for which `{topic}` must name a topic"));
                Self::Block
            }
            (1, _) => Self::Block,
            _ => Self::Park,
        }
    }
}

fn is_message_prefix(text: &str) -> bool {
    (1..=PREFIX_BYTES_MAX).contains(&text.len()) && !text.contains('\0')
}

/// Whether an outbox may be called so: a variable's name must tell where this one ends.
pub(super) fn is_outbox_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    letters && (1..=63).contains(&name.len()) && name != FIRST
}

#[cfg(test)]
mod tests;
