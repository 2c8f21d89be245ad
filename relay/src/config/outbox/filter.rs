//! `[outbox.filter]`: which events are published at all.

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const ALLOWED: &str = "names separated by commas, in which `*` stands for any characters";

pub(super) const AGGREGATE_TYPES: Key = key(
    "outbox.filter.aggregate_types",
    "every aggregate type is published",
    "Only events whose aggregate type is one of these are published.",
);
pub(super) const AGGREGATE_TYPES_EXCEPT: Key = key(
    "outbox.filter.aggregate_types_except",
    "no aggregate type is left out",
    "Events whose aggregate type is one of these are left out.",
);
pub(super) const EVENT_TYPES: Key = key(
    "outbox.filter.event_types",
    "every event type is published",
    "Only events whose type is one of these are published.",
);
pub(super) const EVENT_TYPES_EXCEPT: Key = key(
    "outbox.filter.event_types_except",
    "no event type is left out",
    "Events whose type is one of these are left out.",
);

const fn key(path: &'static str, absent: &'static str, meaning: &'static str) -> Key {
    Key { path, kind: Kind::List(ALLOWED), fallback: Fallback::Absent(absent), meaning }
}

/// Patterns of what is published and what is left out; a name fits if it is the pattern, `*` standing for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of aggregate types.
    pub aggregate_types: Patterns,
    /// Of event types.
    pub event_types: Patterns,
}

/// Patterns for one column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    /// What is published; empty for everything.
    pub only: Vec<String>,
    /// What of that is left out.
    pub except: Vec<String>,
}

impl Patterns {
    fn is_open(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }
}

impl Filter {
    /// The keys of what is asked of a column that the table lacks are refused: `has` tells for each whether it is there.
    pub(super) fn from_settings(settings: &mut Settings, aggregate_type: bool, event_type: bool) -> Self {
        let mut list = |key| {
            let names = settings.list(key, parse);
            if names.as_ref().is_some_and(Vec::is_empty) {
                settings.refuse_allowed(key);
            }
            names.unwrap_or_default()
        };
        let filter = Self {
            aggregate_types: Patterns { only: list(&AGGREGATE_TYPES), except: list(&AGGREGATE_TYPES_EXCEPT) },
            event_types: Patterns { only: list(&EVENT_TYPES), except: list(&EVENT_TYPES_EXCEPT) },
        };
        for (patterns, has, keys) in [
            (&filter.aggregate_types, aggregate_type, [&AGGREGATE_TYPES, &AGGREGATE_TYPES_EXCEPT]),
            (&filter.event_types, event_type, [&EVENT_TYPES, &EVENT_TYPES_EXCEPT]),
        ] {
            if !has && !patterns.is_open() {
                for key in keys.into_iter().filter(|key| settings.given(key).is_some()).collect::<Vec<_>>() {
                    settings.refuse(key, "filters by a column that the table is said not to have");
                }
            }
        }
        filter
    }
}

fn parse(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
