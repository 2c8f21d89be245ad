//! `[outbox.columns]`: which column holds which part of an event.

use crate::config::{
    key::{Fallback, Key, Kind},
    postgres::is_name,
    settings::Settings,
};

pub(super) const ID: Key =
    column("outbox.columns.id", COLUMN, "id", "Column with the event's id (uuid or text); it becomes the header `id`.");
pub(super) const AGGREGATE_TYPE: Key = column(
    "outbox.columns.aggregate_type",
    OPTIONAL_COLUMN,
    "aggregate_type",
    "Column with the kind of thing the event is about; by default it chooses the topic.",
);
pub(super) const AGGREGATE_ID: Key = column(
    "outbox.columns.aggregate_id",
    OPTIONAL_COLUMN,
    "aggregate_id",
    "Column with the thing the event is about; by default it becomes the key, and order is kept for each key.",
);
pub(super) const EVENT_TYPE: Key = column(
    "outbox.columns.event_type",
    OPTIONAL_COLUMN,
    "event_type",
    "Column with what happened; it becomes the header `event_type`.",
);
pub(super) const PAYLOAD: Key = column(
    "outbox.columns.payload",
    OPTIONAL_COLUMN,
    "payload",
    "Column with the event's content as json, jsonb, text or bytea; it becomes the value.",
);
pub(super) const PAYLOAD_BYTES: Key = column(
    "outbox.columns.payload_bytes",
    OPTIONAL_COLUMN,
    "payload_bytes",
    "Column with the content as bytea, for content that is not JSON. It holds where `payload` is null.",
);
pub(super) const HEADERS: Key = column(
    "outbox.columns.headers",
    OPTIONAL_COLUMN,
    "headers",
    "Column with further headers as a json object of strings.",
);

const COLUMN: &str = "the name of a column as in the catalog, at most 63 bytes";
const OPTIONAL_COLUMN: &str = "the name of a column as in the catalog, at most 63 bytes, or \"\" for none";

const fn column(path: &'static str, allowed: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind: Kind::Text(allowed), fallback: Fallback::Value(default), meaning }
}

/// All of them.
pub(super) const KEYS: &[Key] = &[ID, AGGREGATE_TYPE, AGGREGATE_ID, EVENT_TYPE, PAYLOAD, PAYLOAD_BYTES, HEADERS];

/// Column names as the catalog spells them; no two are alike. Of a table-less outbox: the members of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The event's id.
    pub id: String,
    /// The kind of thing the event is about.
    pub aggregate_type: Option<String>,
    /// The thing the event is about.
    pub aggregate_id: Option<String>,
    /// What happened.
    pub event_type: Option<String>,
    /// The content as json, jsonb, text or bytea.
    pub payload: Option<String>,
    /// The content as bytea, where the table has such a column.
    pub payload_bytes: Option<String>,
    /// Further headers as a json object, where the table has such a column.
    pub headers: Option<String>,
}

impl Columns {
    /// The names of those that the table has.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let optional = [
            &self.aggregate_type,
            &self.aggregate_id,
            &self.event_type,
            &self.payload,
            &self.payload_bytes,
            &self.headers,
        ];
        std::iter::once(self.id.as_str()).chain(optional.into_iter().flatten().map(String::as_str))
    }

    /// The column that the placeholder `part` stands for; `None` if the table has none.
    pub(super) fn of_placeholder(&self, part: &str) -> Option<&str> {
        match part {
            "id" => Some(&self.id),
            "aggregate_type" => self.aggregate_type.as_deref(),
            "aggregate_id" => self.aggregate_id.as_deref(),
            "event_type" => self.event_type.as_deref(),
            _ => None,
        }
    }

    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let columns = Self {
            id: settings.checked(&ID, is_name),
            aggregate_type: optional(settings, &AGGREGATE_TYPE),
            aggregate_id: optional(settings, &AGGREGATE_ID),
            event_type: optional(settings, &EVENT_TYPE),
            payload: optional(settings, &PAYLOAD),
            payload_bytes: optional(settings, &PAYLOAD_BYTES),
            headers: optional(settings, &HEADERS),
        };
        let named = [
            (&ID, Some(&columns.id)),
            (&AGGREGATE_TYPE, columns.aggregate_type.as_ref()),
            (&AGGREGATE_ID, columns.aggregate_id.as_ref()),
            (&EVENT_TYPE, columns.event_type.as_ref()),
            (&PAYLOAD, columns.payload.as_ref()),
            (&PAYLOAD_BYTES, columns.payload_bytes.as_ref()),
            (&HEADERS, columns.headers.as_ref()),
        ];
        for (index, (key, name)) in named.iter().enumerate() {
            let earlier =
                named[..index].iter().find(|(_, other)| name.is_some_and(|name| !name.is_empty()) && other == name);
            if let Some((other, _)) = earlier {
                let other = settings.path(other);
                settings.refuse(key, &format!("names the same column as `{other}`: each needs its own"));
            }
        }
        if columns.payload.is_none() && columns.payload_bytes.is_none() {
            let other = settings.path(&PAYLOAD_BYTES);
            settings.refuse(&PAYLOAD, &format!("is \"\", and so is `{other}`: one of them must name a column"));
        }
        columns
    }
}

fn optional(settings: &mut Settings, key: &Key) -> Option<String> {
    Some(settings.checked(key, |name| name.is_empty() || is_name(name))).filter(|name| !name.is_empty())
}
