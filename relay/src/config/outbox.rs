//! `[outbox]`: the table that services write events to, the names of its columns, and the topic each event goes to.

use std::fmt;

use crate::config::{
    key::{Fallback, Key, Kind},
    postgres::is_name,
    settings::Settings,
};

/// Longest name of a topic that Kafka takes, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

/// What a topic template may name between braces.
pub const TOPIC_PLACEHOLDERS: &[&str] = &["aggregate_type"];

const TABLE: Key = Key {
    path: "outbox.table",
    kind: Kind::Text(
        "a schema and a table joined by a dot, with double quotes around a name that is not plain lower case",
    ),
    fallback: Fallback::Value("public.outbox_events"),
    meaning: "The table that events are written to. Where it is partitioned, the table above its partitions.",
};
const TOPIC: Key = Key {
    path: "outbox.topic",
    kind: Kind::Text("letters, digits, `.`, `_`, `-` and the placeholder {aggregate_type}"),
    fallback: Fallback::Value("outbox.event.{aggregate_type}"),
    meaning: "The topic an event goes to. The placeholder becomes the event's aggregate type.",
};
const ID: Key =
    column("outbox.columns.id", "id", "Column with the event's id (uuid or text); it becomes the header `id`.");
const AGGREGATE_TYPE: Key = column(
    "outbox.columns.aggregate_type",
    "aggregate_type",
    "Column with the kind of thing the event is about; it chooses the topic.",
);
const AGGREGATE_ID: Key = column(
    "outbox.columns.aggregate_id",
    "aggregate_id",
    "Column with the thing the event is about; it becomes the key, and order is kept for each key.",
);
const EVENT_TYPE: Key =
    column("outbox.columns.event_type", "event_type", "Column with what happened; it becomes the header `event_type`.");
const PAYLOAD: Key = column(
    "outbox.columns.payload",
    "payload",
    "Column with the event's content as json, jsonb or text; it becomes the value.",
);
const PAYLOAD_BYTES: Key = Key {
    path: "outbox.columns.payload_bytes",
    kind: Kind::Text(OPTIONAL_COLUMN),
    fallback: Fallback::Value("payload_bytes"),
    meaning: "Column with the content as bytea, for content that is not JSON. It holds where `payload` is null. \"\" if the table has none.",
};
const HEADERS: Key = Key {
    path: "outbox.columns.headers",
    kind: Kind::Text(OPTIONAL_COLUMN),
    fallback: Fallback::Value("headers"),
    meaning: "Column with further headers as a json object of strings. \"\" if the table has none.",
};

const COLUMN: &str = "the name of a column as in the catalog, at most 63 bytes";
const OPTIONAL_COLUMN: &str = "the name of a column as in the catalog, at most 63 bytes, or \"\" for none";

const fn column(path: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind: Kind::Text(COLUMN), fallback: Fallback::Value(default), meaning }
}

pub(super) const KEYS: &[Key] =
    &[TABLE, TOPIC, ID, AGGREGATE_TYPE, AGGREGATE_ID, EVENT_TYPE, PAYLOAD, PAYLOAD_BYTES, HEADERS];

/// The outbox table and what becomes of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// The table that events are written to.
    pub table: TableName,
    /// Template of the topic's name; holds no placeholder but those of [`TOPIC_PLACEHOLDERS`].
    pub topic: String,
    /// The names of its columns.
    pub columns: Columns,
}

/// A table with its schema, each as the catalog spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Column names as the catalog spells them; no two are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The event's id.
    pub id: String,
    /// The kind of thing the event is about.
    pub aggregate_type: String,
    /// The thing the event is about.
    pub aggregate_id: String,
    /// What happened.
    pub event_type: String,
    /// The content as json, jsonb or text.
    pub payload: String,
    /// The content as bytea, where the table has such a column.
    pub payload_bytes: Option<String>,
    /// Further headers as a json object, where the table has such a column.
    pub headers: Option<String>,
}

impl Outbox {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let table = settings.parsed(&TABLE, TableName::parse);
        Self {
            table: table.unwrap_or_else(|| TableName { schema: String::new(), name: String::new() }),
            topic: settings.checked(&TOPIC, is_topic_template),
            columns: Columns::from_settings(settings),
        }
    }
}

impl TableName {
    /// Reads `schema.table`. A plain name is lower case, as SQL folds it; any other stands in double quotes.
    fn parse(text: &str) -> Option<Self> {
        let (schema, rest) = take_identifier(text)?;
        let (name, rest) = take_identifier(rest.strip_prefix('.')?)?;
        (rest.is_empty() && is_name(&schema) && is_name(&name)).then_some(Self { schema, name })
    }
}

/// The identifier at the start of `text`, and what follows it.
fn take_identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let plain = |(index, byte): (usize, u8)| {
            byte.is_ascii_lowercase() || byte == b'_' || (index > 0 && (byte.is_ascii_digit() || byte == b'$'))
        };
        return (!name.is_empty() && name.bytes().enumerate().all(plain)).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            // Two quotes within quotes are one quote of the name.
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

impl Columns {
    /// The names of those that the table has.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let required = [&self.id, &self.aggregate_type, &self.aggregate_id, &self.event_type, &self.payload];
        required.into_iter().chain(&self.payload_bytes).chain(&self.headers).map(String::as_str)
    }

    fn from_settings(settings: &mut Settings) -> Self {
        let columns = Self {
            id: settings.checked(&ID, is_name),
            aggregate_type: settings.checked(&AGGREGATE_TYPE, is_name),
            aggregate_id: settings.checked(&AGGREGATE_ID, is_name),
            event_type: settings.checked(&EVENT_TYPE, is_name),
            payload: settings.checked(&PAYLOAD, is_name),
            payload_bytes: optional_column(settings, &PAYLOAD_BYTES),
            headers: optional_column(settings, &HEADERS),
        };
        let named = [
            (&ID, Some(&columns.id)),
            (&AGGREGATE_TYPE, Some(&columns.aggregate_type)),
            (&AGGREGATE_ID, Some(&columns.aggregate_id)),
            (&EVENT_TYPE, Some(&columns.event_type)),
            (&PAYLOAD, Some(&columns.payload)),
            (&PAYLOAD_BYTES, columns.payload_bytes.as_ref()),
            (&HEADERS, columns.headers.as_ref()),
        ];
        for (index, (key, name)) in named.iter().enumerate() {
            let earlier =
                named[..index].iter().find(|(_, other)| name.is_some_and(|name| !name.is_empty()) && other == name);
            if let Some((other, _)) = earlier {
                settings.refuse(key, &format!("names the same column as `{}`: each needs its own", other.path));
            }
        }
        columns
    }
}

fn optional_column(settings: &mut Settings, key: &Key) -> Option<String> {
    Some(settings.checked(key, |name| name.is_empty() || is_name(name))).filter(|name| !name.is_empty())
}

/// Whether every placeholder is known and every other character may stand in a topic's name.
fn is_topic_template(template: &str) -> bool {
    let mut literal_bytes = 0;
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((placeholder, after)) = after.split_once('}') else { return false };
        if !TOPIC_PLACEHOLDERS.contains(&placeholder) || !is_topic_text(literal) {
            return false;
        }
        literal_bytes += literal.len();
        rest = after;
    }
    let only_dots = matches!(template, "" | "." | "..");
    is_topic_text(rest) && !only_dots && literal_bytes + rest.len() <= TOPIC_BYTES_MAX
}

/// Kafka's own rule for the characters of a topic's name.
fn is_topic_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether Kafka takes `name` as a topic's name.
pub(super) fn is_topic_name(name: &str) -> bool {
    is_topic_text(name) && is_topic_template(name)
}
