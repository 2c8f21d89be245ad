//! `[load]` and `[load.tables.NAME]`: which topics the loader reads, the tables of ClickHouse that they fill, and what becomes of what does not fit.

mod source;

use std::collections::BTreeMap;

use crate::config::{
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

pub use source::{ColumnSource, RecordPart};

/// The table of the sections.
const TABLES: &str = "load.tables";

const GROUP: Key = Key {
    path: "load.group",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Value("postrider-load"),
    meaning: "The consumer group of the loader: processes of one group share the partitions.",
};
const INSERTS_IN_FLIGHT_MAX: Key = Key {
    path: "load.inserts_in_flight_max",
    kind: Kind::Integer { min: 1, max: 64 },
    fallback: Fallback::Value("4"),
    meaning: "Most batches that are inserted at the same time, each of another partition: never two of one.",
};
const IN_FLIGHT_BYTES_MAX: Key = Key {
    path: "load.in_flight_bytes_max",
    kind: Kind::Integer { min: 1_048_576, max: 17_179_869_184 },
    fallback: Fallback::Value("134217728"),
    meaning: "Batches are read only while those that are not durable yet are smaller together than this, in bytes as they are sent.",
};
const REPLAY_SALT: Key = Key {
    path: "load.replay_salt",
    kind: Kind::Text("a string of at most 128 bytes"),
    fallback: Fallback::Value(""),
    meaning: "Goes into every deduplication token. Another salt makes ClickHouse take again what it took before: for loading a topic anew after rows were deleted on purpose.",
};
const TOPIC: Key = Key {
    path: "load.tables.NAME.topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Required,
    meaning: "The topic that fills the table. Several sections may name the same topic, and several the same table.",
};
const TABLE: Key = Key {
    path: "load.tables.NAME.table",
    kind: Kind::Text("the name of a table"),
    fallback: Fallback::Absent("the section's own name"),
    meaning: "The table, in `clickhouse.database`.",
};
const KIND: Key = Key {
    path: "load.tables.NAME.kind",
    kind: Kind::Choice(&["current", "append"]),
    fallback: Fallback::Value("current"),
    meaning: "`current` keeps what the rows of a captured table are now: a row a key, in a ReplacingMergeTree. `append` adds a row for each record.",
};
const COLUMNS: Key = Key {
    path: "load.tables.NAME.columns",
    kind: Kind::List("names of columns"),
    fallback: Fallback::Absent("every column of the table that a record has a field for"),
    meaning: "The columns that are filled; the others keep their defaults.",
};
const FROM: Key = Key {
    path: "load.tables.NAME.from",
    kind: Kind::Properties,
    fallback: Fallback::Absent("each column is filled from the field of its name"),
    meaning: "Columns that are filled from elsewhere: another field's name, `header:NAME`, `record:` with topic, partition, offset, timestamp, key, value or headers, `change:` with op, position or committed, `before:FIELD`, `constant:TEXT`.",
};
const UNKNOWN: Key = Key {
    path: "load.tables.NAME.unknown",
    kind: Kind::Choice(&["ignore", "refuse", "add"]),
    fallback: Fallback::Value("ignore"),
    meaning: "What becomes of a record's field for which the table has no column: it is left out; the record is refused; or the column is added, and widened where a type grows.",
};
const OPERATIONS: Key = Key {
    path: "load.tables.NAME.operations",
    kind: Kind::List("`c`, `u`, `d` and `r`"),
    fallback: Fallback::Absent("all of them"),
    meaning: "For `append` from a captured table: the changes that become a row (created, updated, deleted, read by a snapshot).",
};
const ON_TRUNCATE: Key = Key {
    path: "load.tables.NAME.on_truncate",
    kind: Kind::Choice(&["delete", "refuse", "ignore"]),
    fallback: Fallback::Absent("`delete` for `current`, `ignore` for `append`"),
    meaning: "What a TRUNCATE of the captured table does: it deletes the rows that are older; the record is refused; or nothing.",
};
const CREATE: Key = Key {
    path: "load.tables.NAME.create",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether the table is made, if it is not there, from the first record that carries its schema.",
};
const ORDER_BY: Key = Key {
    path: "load.tables.NAME.order_by",
    kind: Kind::List("names of columns"),
    fallback: Fallback::Absent("the fields of the record's key"),
    meaning: "With `create`: the columns that the table is sorted by. A `current` table must be sorted by the fields of the record's key, in any order.",
};
const CURRENT_VIEW: Key = Key {
    path: "load.tables.NAME.current_view",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "For `current`: whether the view `TABLE__current` is kept, which shows the live rows as they are now.",
};

pub(super) const KEYS: &[Key] = &[GROUP, IN_FLIGHT_BYTES_MAX, INSERTS_IN_FLIGHT_MAX, REPLAY_SALT];
pub(super) const TABLE_KEYS: &[Key] =
    &[TOPIC, TABLE, KIND, COLUMNS, FROM, UNKNOWN, OPERATIONS, ON_TRUNCATE, CREATE, ORDER_BY, CURRENT_VIEW];

/// Longest salt, in bytes.
const SALT_BYTES_MAX: usize = 128;

/// What `postrider load` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The consumer group.
    pub group: String,
    /// Bytes that may be read and not yet durable.
    pub in_flight_bytes_max: usize,
    /// Most batches that are inserted at the same time.
    pub inserts_in_flight_max: usize,
    /// Goes into every deduplication token.
    pub replay_salt: String,
    /// What fills what; never empty.
    pub tables: Vec<Table>,
}

/// One topic that fills one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The section's name.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// What its rows are.
    pub kind: TableKind,
    /// The columns that are filled, if not all.
    pub columns: Option<Vec<String>>,
    /// Columns that are not filled from the field of their name.
    pub from: BTreeMap<String, ColumnSource>,
    /// What becomes of a field without a column.
    pub unknown: Unknown,
    /// The changes that become a row, as Debezium's letters.
    pub operations: Vec<char>,
    /// What a TRUNCATE does.
    pub on_truncate: OnTruncate,
    /// Whether the table is made if it is not there.
    pub create: bool,
    /// What a table that is made is sorted by, if not by the record's key.
    pub order_by: Option<Vec<String>>,
    /// Whether `TABLE__current` is kept.
    pub current_view: bool,
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The rows of a captured table as they are now.
    Current,
    /// One for each record.
    Append,
}

/// What becomes of a field for which there is no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is left out.
    Ignore,
    /// The record is refused.
    Refuse,
    /// The column is added.
    Add,
}

/// What a TRUNCATE of the captured table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTruncate {
    /// Deletes the older rows.
    Delete,
    /// The record is refused.
    Refuse,
    /// Nothing.
    Ignore,
}

impl Load {
    /// The consumer group alone, for who looks at its dead letters.
    pub(super) fn group(settings: &mut Settings) -> String {
        settings.checked(&GROUP, is_topic_name)
    }

    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let names = settings.names(TABLES);
        if names.is_empty() {
            settings.refuse(&TOPIC, "is wanted for at least one table: write a section [load.tables.NAME]");
        }
        let tables =
            names.iter().map(|name| settings.in_section(name, |settings| Table::from_settings(name, settings)));
        Self {
            tables: tables.collect(),
            group: settings.checked(&GROUP, is_topic_name),
            in_flight_bytes_max: number(settings, &IN_FLIGHT_BYTES_MAX),
            inserts_in_flight_max: number(settings, &INSERTS_IN_FLIGHT_MAX),
            replay_salt: settings.checked(&REPLAY_SALT, |salt| salt.len() <= SALT_BYTES_MAX),
        }
    }
}

impl Table {
    fn from_settings(name: &str, settings: &mut Settings) -> Self {
        let kind = if settings.choice(&KIND) == 0 { TableKind::Current } else { TableKind::Append };
        let is_name = |name: &str| !name.is_empty() && !name.contains(['`', '\\', '\0']);
        let names = |text: &str| is_name(text).then(|| text.to_owned());
        let table = match settings.optional_text(&TABLE) {
            Some(_) => settings.checked(&TABLE, is_name),
            None => name.to_owned(),
        };
        Self {
            name: name.to_owned(),
            topic: settings.checked(&TOPIC, is_topic_name),
            table,
            kind,
            columns: settings.list(&COLUMNS, names),
            from: sources(settings),
            unknown: [Unknown::Ignore, Unknown::Refuse, Unknown::Add][settings.choice(&UNKNOWN)],
            operations: operations(settings, kind),
            on_truncate: on_truncate(settings, kind),
            create: settings.boolean(&CREATE),
            order_by: settings.list(&ORDER_BY, names),
            current_view: settings.boolean(&CURRENT_VIEW) && kind == TableKind::Current,
        }
    }
}

fn number(settings: &mut Settings, key: &Key) -> usize {
    usize::try_from(settings.unsigned(key)).unwrap_or(usize::MAX)
}

fn sources(settings: &mut Settings) -> BTreeMap<String, ColumnSource> {
    let mut sources = BTreeMap::new();
    let path = settings.path(&FROM);
    for (column, (text, origin)) in settings.properties(&FROM) {
        match ColumnSource::parse(&text) {
            Ok(source) => drop(sources.insert(column, source)),
            Err(allowed) => settings.refuse_at(origin, format!("`{path}.{column}` must be {allowed}")),
        }
    }
    sources
}

fn operations(settings: &mut Settings, kind: TableKind) -> Vec<char> {
    let letter = |text: &str| match text {
        "c" | "u" | "d" | "r" => text.chars().next(),
        _ => None,
    };
    let all = vec!['c', 'u', 'd', 'r'];
    let Some(chosen) = settings.list(&OPERATIONS, letter) else { return all };
    if kind == TableKind::Current && chosen != all {
        settings.refuse(&OPERATIONS, "is for `append` tables: a `current` table needs every change");
    }
    chosen
}

fn on_truncate(settings: &mut Settings, kind: TableKind) -> OnTruncate {
    if settings.given(&ON_TRUNCATE).is_none() {
        return if kind == TableKind::Current { OnTruncate::Delete } else { OnTruncate::Ignore };
    }
    let chosen = [OnTruncate::Delete, OnTruncate::Refuse, OnTruncate::Ignore][settings.choice(&ON_TRUNCATE)];
    if kind == TableKind::Append && chosen == OnTruncate::Delete {
        settings.refuse(
            &ON_TRUNCATE,
            "cannot be `delete` for an `append` table: its rows say what happened, which stays true",
        );
    }
    chosen
}
