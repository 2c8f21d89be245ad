//! `[capture]`: the ordinary tables whose changes are published, and what becomes of each change.
//!
//! Nothing is captured unless `tables` names something: then [`crate::config::Config`] has no [`Capture`] at all.

mod keys;
mod mask;
mod pattern;
mod snapshot;
mod types;

use std::{io, path::Path};

use crate::config::{
    capture::keys::{
        COLUMNS, COLUMNS_EXCEPT, COMPATIBILITY, CONTEXT_HEADERS, DEAD_LETTER_TOPIC, HEADER_CONVERTER, KEY_COLUMNS,
        MESSAGE_PREFIXES, MESSAGE_TOPIC, ON_REFUSAL, ON_REWRITE, PUBLICATION, PUBLISH_VIA_PARTITION_ROOT,
        REPLICA_IDENTITIES, RESELECT, SCHEMAS, SIGNAL_TABLE, SKIP_UNCHANGED, SKIPPED_OPERATIONS, TABLES, TABLES_EXCEPT,
        TOMBSTONES, TOPIC, TOPIC_PREFIX, TRANSACTION_TOPIC, UNAVAILABLE_VALUE,
    },
    error::Origin,
    identity::{ReplicaIdentity, identities},
    outbox::{OnRefusal, Outbox, TableName, is_topic_name},
    postgres::is_name,
    settings::Settings,
    source::Source,
};

pub(super) use crate::config::capture::pattern::TABLES as TABLES_ALLOWED;
pub(super) use crate::config::capture::{keys::KEYS, snapshot::KEYS as SNAPSHOT_KEYS, types::KEYS as TYPES_KEYS};
pub use crate::config::capture::{
    mask::{HashAlgorithm, Mask, MaskWith},
    pattern::{ColumnPattern, TablePattern},
    snapshot::{Snapshot, SnapshotMode},
    types::{Binary, Decimal, Hstore, Interval, Time, Types},
};

/// What the section is called, in the file and as the route of its events.
pub const NAME: &str = "capture";

/// The schema of the relay's own tables: to capture those would publish what the relay does about what it publishes.
const OWN_SCHEMA: &str = "postrider";

/// Longest text in the place of a value that was not sent, in bytes.
const PLACEHOLDER_BYTES_MAX: usize = 1024;

/// Longest prefix of messages, in bytes.
const PREFIX_BYTES_MAX: usize = 255;

/// The ordinary tables whose changes are published, and what becomes of each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The tables; at least one pattern.
    pub tables: Vec<TablePattern>,
    /// Those of them that are left out: what is configured, the tables of the outboxes, and the relay's own.
    pub tables_except: Vec<TablePattern>,
    /// The publication that lists them.
    pub publication: String,
    /// Whether the changes of a partition are published as those of the table above it.
    pub publish_via_partition_root: bool,
    /// The template of a topic's name, with the placeholders `{schema}`, `{table}`, `{database}` and `{prefix}`.
    pub topic: String,
    /// The logical name of the database.
    pub topic_prefix: String,
    /// Whether topics, headers and record times are Debezium's.
    pub debezium: bool,
    /// In Debezium's form, how headers are written.
    pub header_converter: HeaderConverter,
    /// In Debezium's form, whether each record says who made it.
    pub context_headers: bool,
    /// Whether keys and values carry their schemas.
    pub schemas: bool,
    /// Whether a delete is followed by a tombstone.
    pub tombstones: bool,
    /// How values are written that JSON has no form of its own for.
    pub types: Types,
    /// What stands for a value that was not sent.
    pub unavailable_value: String,
    /// Whether such a value is read from the table instead.
    pub reselect: bool,
    /// Operations that are not published, each once.
    pub skipped_operations: Vec<Operation>,
    /// Whether an update is left out that changes no published column.
    pub skip_unchanged: bool,
    /// The only columns that are published; empty for all.
    pub columns: Vec<ColumnPattern>,
    /// The columns that are not published; empty if `columns` is not.
    pub columns_except: Vec<ColumnPattern>,
    /// The columns whose values are not published as they are; the first that matches a column holds.
    pub masks: Vec<Mask>,
    /// The key of the tables that are not keyed by their primary key.
    pub key_columns: Vec<KeyColumns>,
    /// The topic of the begin and the end of transactions.
    pub transaction_topic: Option<String>,
    /// The prefixes of the logical messages that are published, in which `*` stands for any characters; empty for none.
    pub message_prefixes: Vec<String>,
    /// The topic of those messages.
    pub message_topic: String,
    /// The replica identities that tables shall have.
    pub replica_identities: Vec<ReplicaIdentity>,
    /// The table whose inserted rows are signals.
    pub signal_table: Option<TableName>,
    /// How the rows that are there already are read.
    pub snapshot: Snapshot,
    /// Whether a table is read again beside the stream whose rows a change of its columns made others.
    pub rereads_rewritten: bool,
    /// What becomes of a change that can never be delivered as it is.
    pub on_refusal: OnRefusal,
}

/// How the values of headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderConverter {
    /// As `SimpleHeaderConverter` does it.
    Simple,
    /// As `JsonConverter` does it.
    Json,
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A row is inserted.
    Create,
    /// A row is updated.
    Update,
    /// A row is deleted.
    Delete,
    /// A table is emptied.
    Truncate,
}

/// The key of a table's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumns {
    /// The table.
    pub table: TableName,
    /// Its columns in the order of the key; at least one, none twice.
    pub columns: Vec<String>,
}

impl Capture {
    /// Whether changes of this table are published.
    #[must_use]
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(schema, table));
        any(&self.tables) && !any(&self.tables_except)
    }

    /// `None` where no table is named. What belongs to captured tables is then refused, unless `tables` says
    /// outright that there are none.
    pub(super) fn from_settings(
        settings: &mut Settings,
        source: &Source,
        outboxes: &[Outbox],
        read: &impl Fn(&Path) -> io::Result<String>,
    ) -> Option<Self> {
        let tables = settings.list(&TABLES, TablePattern::parse).unwrap_or_default();
        if settings.given(&TABLES).is_none() && settings.is_given(NAME) {
            settings.refuse_at(
                Origin::Nowhere,
                format!("[{NAME}] captures nothing: name tables in `{}`, or \"\" for none", TABLES.path),
            );
        }
        let debezium = settings.choice(&COMPATIBILITY) == 1;
        let topic_prefix = topic_prefix(settings, source, debezium);
        let masks = mask::from_settings(settings, read);
        let capture = Self {
            tables,
            tables_except: tables_except(settings, outboxes),
            publication: settings.checked(&PUBLICATION, |name| is_name(name) && name != source.publication),
            publish_via_partition_root: settings.boolean(&PUBLISH_VIA_PARTITION_ROOT),
            topic: topic(settings, debezium),
            debezium,
            header_converter: [HeaderConverter::Simple, HeaderConverter::Json][settings.choice(&HEADER_CONVERTER)],
            context_headers: settings.boolean(&CONTEXT_HEADERS),
            schemas: settings.boolean(&SCHEMAS),
            tombstones: settings.boolean(&TOMBSTONES),
            types: Types::from_settings(settings),
            unavailable_value: settings
                .checked(&UNAVAILABLE_VALUE, |text| (1..=PLACEHOLDER_BYTES_MAX).contains(&text.len())),
            reselect: settings.boolean(&RESELECT),
            skipped_operations: skipped_operations(settings, debezium),
            skip_unchanged: settings.boolean(&SKIP_UNCHANGED),
            columns: settings.list(&COLUMNS, ColumnPattern::parse).unwrap_or_default(),
            columns_except: settings.list(&COLUMNS_EXCEPT, ColumnPattern::parse).unwrap_or_default(),
            masks: masks.iter().map(|(mask, _)| mask.clone()).collect(),
            key_columns: Vec::new(),
            transaction_topic: settings.parsed(&TRANSACTION_TOPIC, topic_name),
            message_prefixes: settings.list(&MESSAGE_PREFIXES, message_prefix).unwrap_or_default(),
            message_topic: settings
                .parsed(&MESSAGE_TOPIC, topic_name)
                .unwrap_or_else(|| format!("{topic_prefix}.message")),
            topic_prefix,
            replica_identities: identities(settings, &REPLICA_IDENTITIES),
            signal_table: settings.parsed(&SIGNAL_TABLE, TableName::parse),
            snapshot: Snapshot::from_settings(settings),
            rereads_rewritten: settings.choice(&ON_REWRITE) == 0,
            on_refusal: OnRefusal::from_settings(settings, &ON_REFUSAL, &DEAD_LETTER_TOPIC),
        };
        let capture = Self { key_columns: capture.key_columns(settings, &masks), ..capture };
        capture.check(settings, outboxes, &masks);
        (!capture.tables.is_empty()).then_some(capture)
    }

    /// The keys that are not the primary ones; what they contradict is refused.
    fn key_columns(&self, settings: &mut Settings, masks: &[(Mask, Origin)]) -> Vec<KeyColumns> {
        let mut keys = Vec::new();
        for (name, (text, origin)) in settings.properties(&KEY_COLUMNS) {
            let path = format!("{}.{name}", KEY_COLUMNS.path);
            let Some(table) = TableName::parse(&name) else {
                let message =
                    "must be schema.table, in single quotes as a whole where a part of it needs double quotes";
                settings.refuse_at(origin, format!("`{path}` {message}"));
                continue;
            };
            let Some(columns) = pattern::columns(&text) else {
                settings
                    .refuse_at(origin, format!("`{path}` must be names of columns separated by commas, none twice"));
                continue;
            };
            if let Some(message) = self.contradicts_key(&table, &columns, masks) {
                settings.refuse_at(origin, format!("`{path}` {message}"));
            }
            keys.push(KeyColumns { table, columns });
        }
        keys
    }

    /// Why these columns cannot be the key of the table.
    fn contradicts_key(&self, table: &TableName, columns: &[String], masks: &[(Mask, Origin)]) -> Option<String> {
        if !self.tables.is_empty() && !self.captures(&table.schema, &table.name) {
            return Some(format!("is of a table that is not captured: `{}` does not name it", TABLES.path));
        }
        columns.iter().find_map(|column| {
            let matches = |pattern: &ColumnPattern| pattern.matches(&table.schema, &table.name, column);
            let masked = masks.iter().any(|(mask, _)| matches(&mask.columns));
            masked.then(|| {
                format!(
                    "has the column {column}, which `{}` masks: rows that differ would share a key, so leave it out of one of the two",
                    mask::KEY.path
                )
            })
        })
    }

    /// Refuses what names a table that is never captured.
    fn check(&self, settings: &mut Settings, outboxes: &[Outbox], masks: &[(Mask, Origin)]) {
        let of_outbox = outboxes.iter().find_map(|outbox| {
            let table = TablePattern::from(outbox.table.as_ref()?);
            self.tables.contains(&table).then(|| (outbox.name.clone(), table))
        });
        if let Some((name, table)) = of_outbox {
            settings.refuse(
                &TABLES,
                &format!("names {table}, the table of the outbox `{name}`: it takes one of the two ways"),
            );
        }
        if self.tables.iter().any(|pattern| pattern.schema == OWN_SCHEMA) {
            settings.refuse(
                &TABLES,
                &format!("names a table of the schema {OWN_SCHEMA}, which holds what the relay itself writes"),
            );
        }
        if !self.columns.is_empty() && !self.columns_except.is_empty() {
            let message = format!("does not go with `{}`: name what is published or what is not", COLUMNS.path);
            settings.refuse(&COLUMNS_EXCEPT, &message);
        }
        if self.tables.is_empty() {
            if outboxes.is_empty() && settings.given(&TABLES).is_some() {
                settings.refuse(&TABLES, "names no table, and there is no outbox either: nothing would be published");
            }
            return;
        }
        if let Some(other) = self.replica_identities.iter().find(|of| !self.captures(&of.table.schema, &of.table.name))
        {
            let message = format!("names {}, which is not captured", other.table);
            settings.refuse(&REPLICA_IDENTITIES, &message);
        }
        for (mask, origin) in masks {
            let table = &mask.columns.table;
            if table.is_exact() && !self.captures(&table.schema, &table.table) {
                let message = format!(
                    "`{}.{}` is of a table that is not captured: `{}` does not name it",
                    mask::KEY.path,
                    mask.columns,
                    TABLES.path
                );
                settings.refuse_at(origin.clone(), message);
            }
        }
    }
}

/// What is left out: what is configured, the tables of the outboxes, and the relay's own.
fn tables_except(settings: &mut Settings, outboxes: &[Outbox]) -> Vec<TablePattern> {
    let mut except = settings.list(&TABLES_EXCEPT, TablePattern::parse).unwrap_or_default();
    except.extend(outboxes.iter().filter_map(|outbox| outbox.table.as_ref()).map(TablePattern::from));
    except.push(TablePattern { schema: OWN_SCHEMA.to_owned(), table: "*".to_owned() });
    except
}

fn topic_prefix(settings: &mut Settings, source: &Source, debezium: bool) -> String {
    match settings.parsed(&TOPIC_PREFIX, topic_name) {
        Some(prefix) => prefix,
        None if debezium && settings.given(&TOPIC_PREFIX).is_none() => {
            let message = format!(
                "is \"debezium\", for which `{}` must be what the connector has as `topic.prefix`",
                TOPIC_PREFIX.path
            );
            settings.refuse(&COMPATIBILITY, &message);
            String::new()
        }
        None => source.slot.clone(),
    }
}

fn topic(settings: &mut Settings, debezium: bool) -> String {
    if !debezium {
        return settings.checked(&TOPIC, is_topic);
    }
    if settings.given(&TOPIC).is_some() {
        let message = format!(
            "does not go with `compatibility = \"debezium\"`: set `{}`, which begins every topic",
            TOPIC_PREFIX.path
        );
        settings.refuse(&TOPIC, &message);
    }
    "{prefix}.{schema}.{table}".to_owned()
}

fn skipped_operations(settings: &mut Settings, debezium: bool) -> Vec<Operation> {
    let operation = |text: &str| {
        Some(match text {
            "c" => Operation::Create,
            "u" => Operation::Update,
            "d" => Operation::Delete,
            "t" => Operation::Truncate,
            _ => return None,
        })
    };
    let usual = if debezium { vec![Operation::Truncate] } else { Vec::new() };
    let mut skipped = settings.list(&SKIPPED_OPERATIONS, operation).unwrap_or(usual);
    skipped.sort_unstable();
    skipped.dedup();
    skipped
}

/// Whether the template can name topics: a name stands for each placeholder.
fn is_topic(template: &str) -> bool {
    let named = ["{schema}", "{table}", "{database}", "{prefix}"]
        .iter()
        .fold(template.to_owned(), |text, placeholder| text.replace(placeholder, "x"));
    is_topic_name(&named)
}

fn topic_name(text: &str) -> Option<String> {
    is_topic_name(text).then(|| text.to_owned())
}

fn message_prefix(text: &str) -> Option<String> {
    let allowed = (1..=PREFIX_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
    allowed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
