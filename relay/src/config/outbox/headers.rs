//! `[outbox.header_names]` and `outbox.headers_from`: which headers the relay writes, and under which names.

use std::collections::BTreeSet;

use crate::config::{
    key::{Fallback, Key, Kind},
    postgres::is_name,
    settings::Settings,
};

/// Longest name of a header, in bytes: as the outbox's own limit.
const NAME_BYTES_MAX: usize = 255;

/// Columns that become headers at most.
const FROM_COLUMNS_MAX: usize = 32;

/// What the names of the relay's further headers begin with.
const RESERVED_PREFIX: &str = "postrider-";

const ALLOWED: &str = "the name of a header, at most 255 bytes, or \"\" for none";

pub(super) const ID: Key =
    name("outbox.header_names.id", "id", "The header that carries the event's id, by which consumers deduplicate.");
pub(super) const EVENT_TYPE: Key =
    name("outbox.header_names.event_type", "event_type", "The header that carries the event's type.");
pub(super) const POSITION: Key = name(
    "outbox.header_names.position",
    "postrider-position",
    "The header that carries where the event stands in the log: epoch, commit and ordinal in hexadecimal digits that sort in order.",
);
/// It stands in `[outbox]` itself.
pub(super) const FROM: Key = Key {
    path: "outbox.headers_from",
    kind: Kind::Properties,
    fallback: Fallback::Absent("only the headers above and those of the event are written"),
    meaning: "Further headers from columns, as a table of header = \"column\". A null becomes a header without value. In the variable: header=column, separated by `;` or line breaks.",
};

const fn name(path: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind: Kind::Text(ALLOWED), fallback: Fallback::Value(default), meaning }
}

/// The headers that the relay writes; no two have one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// The name of the one with the event's id.
    pub id: Option<String>,
    /// The name of the one with the event's type.
    pub event_type: Option<String>,
    /// The name of the one with the event's position.
    pub position: Option<String>,
    /// Name and column of each further one.
    pub from_columns: Vec<(String, String)>,
}

impl Headers {
    /// The event router's form has an `id`, and the position only if it is asked for.
    pub(super) fn from_settings(settings: &mut Settings, debezium: bool) -> Self {
        if debezium {
            let position = settings.given(&POSITION).is_some();
            let position = position.then(|| settings.checked(&POSITION, |name| name.len() <= NAME_BYTES_MAX));
            return Self { position: position.filter(|name| !name.is_empty()), ..Self::default() };
        }
        let mut optional =
            |key| Some(settings.checked(key, |name| name.len() <= NAME_BYTES_MAX)).filter(|name| !name.is_empty());
        let (id, event_type, position) = (optional(&ID), optional(&EVENT_TYPE), optional(&POSITION));
        let mut headers = Self { id, event_type, position, from_columns: Vec::new() };
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for (key, name) in [(&ID, &headers.id), (&EVENT_TYPE, &headers.event_type), (&POSITION, &headers.position)] {
            if name.as_ref().is_some_and(|name| !taken.insert(name.clone())) {
                settings.refuse(key, "is the name of two headers: each needs its own");
            }
        }
        for (name, (column, origin)) in settings.properties(&FROM) {
            let path = settings.path(&FROM);
            let wrong = if !is_name(&column) {
                Some("must name a column as in the catalog, at most 63 bytes")
            } else if name.is_empty() || name.len() > NAME_BYTES_MAX {
                Some("must have a header's name of 1 to 255 bytes")
            } else if name.starts_with(RESERVED_PREFIX) || !taken.insert(name.clone()) {
                Some("has the name of a header that the relay writes itself")
            } else if headers.from_columns.len() >= FROM_COLUMNS_MAX {
                Some("is one header too many: at most 32 columns become headers")
            } else {
                None
            };
            match wrong {
                Some(wrong) => settings.refuse_at(origin, format!("`{path}.{name}` {wrong}")),
                None => headers.from_columns.push((name, column)),
            }
        }
        headers
    }
}
