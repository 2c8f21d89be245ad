//! The keys of `[capture]` itself: what each may hold, its default and its meaning.

use crate::config::{
    capture::{mask, pattern},
    key::{Fallback, Key, Kind},
};

pub(super) const TABLES: Key = Key {
    path: "capture.tables",
    kind: Kind::List(pattern::TABLES),
    fallback: Fallback::Absent("no table is captured"),
    meaning: "The tables whose changes are published. Those of an outbox and those of the schema `postrider` are never among them. Where one is partitioned, the table above its partitions.",
};
pub(super) const TABLES_EXCEPT: Key = Key {
    path: "capture.tables_except",
    kind: Kind::List(pattern::TABLES),
    fallback: Fallback::Absent("none of `tables` is left out"),
    meaning: "Of those tables, the ones that are left out.",
};
pub(super) const PUBLICATION: Key = Key {
    path: "capture.publication",
    kind: Kind::Text("the name of a publication, at most 63 bytes, other than `source.publication`"),
    fallback: Fallback::Value("postrider_capture"),
    meaning: "The publication that lists the captured tables. `postrider init` creates it, and adds tables that are new.",
};
pub(super) const PUBLISH_VIA_PARTITION_ROOT: Key = Key {
    path: "capture.publish_via_partition_root",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "Whether the changes of a partition are published as those of the table above it. If not, each partition is a table of its own, with its own topic.",
};
pub(super) const TOPIC: Key = Key {
    path: "capture.topic",
    kind: Kind::Text("letters, digits, `.`, `_`, `-` and the placeholders {schema}, {table}, {database} and {prefix}"),
    fallback: Fallback::Value("cdc.{table}"),
    meaning: "The topic of a table's changes. With `compatibility = \"debezium\"` it is `{prefix}.{schema}.{table}`.",
};
pub(super) const TOPIC_PREFIX: Key = Key {
    path: "capture.topic_prefix",
    kind: Kind::Text("letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Absent("`source.slot`; `compatibility = \"debezium\"` requires one"),
    meaning: "The logical name of the database, as consumers see it in `source.name`. Debezium's `topic.prefix`.",
};
pub(super) const COMPATIBILITY: Key = Key {
    path: "capture.compatibility",
    kind: Kind::Choice(&["none", "debezium"]),
    fallback: Fallback::Value("none"),
    meaning: "`debezium` publishes the topics, headers and record times that Debezium would; keys and values are Debezium's in any case: see docs/change-data-capture.md.",
};
pub(super) const HEADER_CONVERTER: Key = Key {
    path: "capture.header_converter",
    kind: Kind::Choice(&["simple", "json"]),
    fallback: Fallback::Value("simple"),
    meaning: "With `compatibility = \"debezium\"`: how headers are written, as SimpleHeaderConverter or as JsonConverter does it. Kafka Connect's `header.converter`.",
};
pub(super) const CONTEXT_HEADERS: Key = Key {
    path: "capture.context_headers",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "With `compatibility = \"debezium\"`: whether each record has the headers `__debezium.context.…`. Debezium's `extended.headers.enabled`.",
};
pub(super) const SCHEMAS: Key = Key {
    path: "capture.schemas",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether each key and value carries its schema, as JsonConverter's `schemas.enable` does. It makes records several times as large.",
};
pub(super) const TOMBSTONES: Key = Key {
    path: "capture.tombstones",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "Whether a delete is followed by a record of the same key without value, by which a compacted topic forgets the key.",
};
pub(super) const UNAVAILABLE_VALUE: Key = Key {
    path: "capture.unavailable_value",
    kind: Kind::Text("1 to 1024 bytes"),
    fallback: Fallback::Value("__debezium_unavailable_value"),
    meaning: "What stands for a large value that an update left as it was: Postgres does not send it, unless the table has REPLICA IDENTITY FULL. Debezium's `unavailable.value.placeholder`.",
};
pub(super) const RESELECT: Key = Key {
    path: "capture.reselect",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether such a value is read from the table instead. It may then be newer than the change.",
};
pub(super) const SKIPPED_OPERATIONS: Key = Key {
    path: "capture.skipped_operations",
    kind: Kind::List("c (create), u (update), d (delete), t (truncate), or several of them"),
    fallback: Fallback::Absent("none; with `compatibility = \"debezium\"` t"),
    meaning: "Operations that are not published. \"\" skips none.",
};
pub(super) const SKIP_UNCHANGED: Key = Key {
    path: "capture.skip_unchanged",
    kind: Kind::Boolean,
    fallback: Fallback::Value("false"),
    meaning: "Whether an update is left out that changes no published column. Postgres sends what was before only under REPLICA IDENTITY FULL.",
};
pub(super) const COLUMNS: Key = Key {
    path: "capture.columns",
    kind: Kind::List(pattern::COLUMNS),
    fallback: Fallback::Absent("every column is published"),
    meaning: "The only columns that are published, of whatever table; those of a key are in any case. Not together with `columns_except`.",
};
pub(super) const COLUMNS_EXCEPT: Key = Key {
    path: "capture.columns_except",
    kind: Kind::List(pattern::COLUMNS),
    fallback: Fallback::Absent("no column is left out"),
    meaning: "Columns that are not published. One of the key is left out of the value only.",
};
pub(super) const KEY_COLUMNS: Key = Key {
    path: "capture.key_columns",
    kind: Kind::Properties,
    fallback: Fallback::Absent("the primary key; without one, the columns of the index that is the replica identity"),
    meaning: "The key of a table's records, as a table of \"schema.table\" = \"column, column\". Columns that are not in its replica identity need REPLICA IDENTITY FULL. In the variable: table=columns, separated by `;` or line breaks.",
};
pub(super) const REPLICA_IDENTITIES: Key = Key {
    path: "capture.replica_identities",
    kind: Kind::Properties,
    fallback: Fallback::Absent("every table keeps the one it has; one without any is refused"),
    meaning: "By what the log tells the rows of a table apart, as a table of \"schema.table\" = \"full\", \"default\" (the primary key) or \"index NAME\": `postrider slot apply` sets it, `postrider init` never does. In the variable: table=identity, separated by `;` or line breaks.",
};
pub(super) const TRANSACTION_TOPIC: Key = Key {
    path: "capture.transaction_topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Absent("transactions are not published"),
    meaning: "The topic of a record at the begin and at the end of each transaction; changes then carry their place in it. Debezium's `provide.transaction.metadata`.",
};
pub(super) const MESSAGE_PREFIXES: Key = Key {
    path: "capture.message_prefixes",
    kind: Kind::List("prefixes of 1 to 255 bytes, in which `*` stands for any characters"),
    fallback: Fallback::Absent("no message is published"),
    meaning: "The prefixes of the logical messages (`pg_logical_emit_message`) that are published, as operation `m`. Those of an outbox, and those that begin with `postrider`, are never among them.",
};
pub(super) const MESSAGE_TOPIC: Key = Key {
    path: "capture.message_topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Absent("`message` after the prefix and a dot"),
    meaning: "The topic of those messages.",
};
pub(super) const SIGNAL_TABLE: Key = Key {
    path: "capture.signal_table",
    kind: Kind::Text("schema.table, with double quotes around a name that is not plain lower case"),
    fallback: Fallback::Absent("signals are given by `postrider snapshot` only"),
    meaning: "A table like Debezium's signal table (`id`, `type`, `data`), whose inserted rows start and stop snapshots. Debezium's `signal.data.collection`.",
};
pub(super) const ON_REWRITE: Key = Key {
    path: "capture.on_rewrite",
    kind: Kind::Choice(&["snapshot", "ignore"]),
    fallback: Fallback::Value("snapshot"),
    meaning: "What becomes of a table to which a column with a default is added, or of which a column gets another type: its rows are others then, and no change tells. `snapshot` reads it again beside the stream, as `postrider snapshot start` does.",
};
pub(super) const ON_REFUSAL: Key = Key {
    path: "capture.on_refusal",
    kind: Kind::Choice(&["park", "block", "dead_letter"]),
    fallback: Fallback::Value("park"),
    meaning: "What becomes of a change that can never be delivered as it is: `park` holds it and its key in `postrider.parked`, `block` stops the stream, `dead_letter` publishes it to `dead_letter_topic`.",
};
pub(super) const DEAD_LETTER_TOPIC: Key = Key {
    path: "capture.dead_letter_topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Absent("there is none; `on_refusal = \"dead_letter\"` requires one"),
    meaning: "The topic for changes that can never be delivered as they are.",
};

/// In the order of the documentation.
pub(in crate::config) const KEYS: &[Key] = &[
    TABLES,
    TABLES_EXCEPT,
    PUBLICATION,
    PUBLISH_VIA_PARTITION_ROOT,
    TOPIC,
    TOPIC_PREFIX,
    COMPATIBILITY,
    HEADER_CONVERTER,
    CONTEXT_HEADERS,
    SCHEMAS,
    TOMBSTONES,
    UNAVAILABLE_VALUE,
    RESELECT,
    SKIPPED_OPERATIONS,
    SKIP_UNCHANGED,
    COLUMNS,
    COLUMNS_EXCEPT,
    mask::KEY,
    KEY_COLUMNS,
    REPLICA_IDENTITIES,
    TRANSACTION_TOPIC,
    MESSAGE_PREFIXES,
    MESSAGE_TOPIC,
    SIGNAL_TABLE,
    ON_REWRITE,
    ON_REFUSAL,
    DEAD_LETTER_TOPIC,
];
