//! `[load]` and `[load.tables.NAME]`: which topics the loader reads, and the ClickHouse tables that they fill.

use crate::config::{
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

/// The table of the sections.
const TABLES: &str = "load.tables";

const GROUP: Key = Key {
    path: "load.group",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Value("postrider-load"),
    meaning: "The consumer group of the loader: processes of one group share the partitions.",
};
const TOPIC: Key = Key {
    path: "load.tables.NAME.topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Required,
    meaning: "The topic whose records fill the table. One topic may fill several tables.",
};
const KIND: Key = Key {
    path: "load.tables.NAME.kind",
    kind: Kind::Choice(&["current", "append"]),
    fallback: Fallback::Value("current"),
    meaning: "`current` keeps the newest state of each row of a captured table; `append` keeps each event.",
};

pub(super) const KEYS: &[Key] = &[GROUP];
pub(super) const TABLE_KEYS: &[Key] = &[TOPIC, KIND];

/// What the loader reads, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The consumer group.
    pub group: String,
    /// The tables, in the order of their names; at least one.
    pub tables: Vec<Table>,
}

/// A table that is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The name of its section, which is the table's.
    pub name: String,
    /// The topic that fills it.
    pub topic: String,
    /// What it keeps.
    pub kind: TableKind,
}

/// What a table keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The newest state of each row.
    Current,
    /// Each event.
    Append,
}

impl Load {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let names = settings.names(TABLES);
        if names.is_empty() {
            settings.refuse(&TOPIC, "is wanted for at least one table: write a section [load.tables.NAME]");
        }
        let group = settings.checked(&GROUP, is_topic_name);
        let tables =
            names.iter().map(|name| settings.in_section(name, |settings| Table::from_settings(name, settings)));
        Self { group, tables: tables.collect() }
    }
}

impl Table {
    fn from_settings(name: &str, settings: &mut Settings) -> Self {
        Self {
            name: name.to_owned(),
            topic: settings.checked(&TOPIC, is_topic_name),
            kind: if settings.choice(&KIND) == 0 { TableKind::Current } else { TableKind::Append },
        }
    }
}
