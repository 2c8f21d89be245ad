//! A connector without the outbox event router: its tables become `[capture]`.

use std::collections::BTreeMap;

use crate::adopt::Becomes;
use crate::adopt::options::Treatment::{self, Elsewhere, Flag, Key, Names, Needless, Refused, Usual};
use crate::adopt::options::find;
use crate::adopt::pattern::{names, patterns, quoted};
use crate::adopt::written::Written;

/// Where a file with a salt is proposed to be.
const SALT_FILE: &str = "/run/secrets/postrider-salt";

/// What Debezium's options of columns end with.
const CHARACTERS: &str = ".chars";

/// Options that mean something else for tables than for an outbox; all others are treated alike. The first that fits holds.
const TABLE: &[(&str, Treatment)] = &[
    ("publication.name", Elsewhere),
    ("publish.via.partition.root", Flag("capture.publish_via_partition_root")),
    ("topic.prefix", Key("capture.topic_prefix")),
    ("table.include.list", Names("capture.tables", 2)),
    ("table.whitelist", Names("capture.tables", 2)),
    ("table.exclude.list", Names("capture.tables_except", 2)),
    ("schema.include.list", Elsewhere),
    ("schema.exclude.list", Elsewhere),
    ("column.include.list", Names("capture.columns", 3)),
    ("column.exclude.list", Names("capture.columns_except", 3)),
    ("column.truncate.to.*", Elsewhere),
    ("column.mask.*", Elsewhere),
    ("column.propagate.source.type", Usual(&[""], "schemas here have no parameters of the column's type")),
    ("datatype.propagate.source.type", Usual(&[""], "schemas here have no parameters of the column's type")),
    ("message.key.columns", Elsewhere),
    ("decimal.handling.mode", Key("capture.types.decimal")),
    ("time.precision.mode", Key("capture.types.time")),
    ("interval.handling.mode", Key("capture.types.interval")),
    ("binary.handling.mode", Key("capture.types.binary")),
    ("hstore.handling.mode", Key("capture.types.hstore")),
    ("money.fraction.digits", Key("capture.types.money_fraction_digits")),
    ("unavailable.value.placeholder", Elsewhere),
    ("tombstones.on.delete", Flag("capture.tombstones")),
    ("skipped.operations", Elsewhere),
    ("skip.messages.without.change", Flag("capture.skip_unchanged")),
    ("provide.transaction.metadata", Elsewhere),
    ("topic.transaction", Needless("it is the end of the topic that `provide.transaction.metadata` names")),
    ("transaction.*", Refused("it changes what transactions are told by")),
    ("message.prefix.include.list", Elsewhere),
    (
        "message.prefix.exclude.list",
        Refused("name the prefixes that shall be published, by message.prefix.include.list"),
    ),
    ("snapshot.mode", Elsewhere),
    ("snapshot.include.collection.list", Names("capture.snapshot.tables", 2)),
    ("snapshot.max.threads", Key("capture.snapshot.workers")),
    (
        "snapshot.select.statement.overrides*",
        Refused("a snapshot reads whole tables; `postrider snapshot start --where` reads a part of one"),
    ),
    ("snapshot.mode.*", Refused("it decides over the snapshot in a way of its own")),
    ("snapshot.*", Needless("how rows are read is said under [capture.snapshot]")),
    ("incremental.snapshot.chunk.size", Key("capture.snapshot.chunk_rows")),
    (
        "incremental.snapshot.*",
        Needless("a chunk's own snapshot is its watermark: nothing is written into the signal table"),
    ),
    ("signal.data.collection", Names("capture.signal_table", 2)),
    ("signal.enabled.channels", Usual(&["source", ""], "signals are rows of a table, or `postrider snapshot`")),
    ("signal.*", Needless("a signal is read from the log when it comes")),
    (
        "notification.enabled.channels",
        Usual(
            &["", "log", "jmx", "log,jmx"],
            "the relay tells of snapshots by its metrics, its log and /status, and on no topic",
        ),
    ),
    ("heartbeat.action.query", Needless("the slot follows the server's keepalives: nothing need be written for it")),
    ("heartbeat.*", Needless("the slot follows the server's keepalives: there is no topic of heartbeats")),
    (
        "topic.naming.strategy",
        Usual(
            &["io.debezium.schema.DefaultTopicNamingStrategy", "io.debezium.schema.SchemaTopicNamingStrategy"],
            "it is a Java class of another strategy",
        ),
    ),
    ("topic.delimiter", Usual(&["."], "topics would have other names")),
    ("key.converter*", Elsewhere),
    ("value.converter*", Elsewhere),
    ("header.converter*", Elsewhere),
    ("extended.headers.enabled", Flag("capture.context_headers")),
    ("field.name.adjustment.mode", Usual(&["none"], "fields would have other names")),
    ("schema.name.adjustment.mode", Usual(&["none"], "schemas would have other names")),
    ("xmin.fetch.interval.ms", Usual(&["0"], "`source.xmin` is always null here")),
    (
        "include.unknown.datatypes",
        Usual(&["false"], "a type that Debezium does not know is published here by its text, not by its bytes"),
    ),
    (
        "sourceinfo.struct.maker",
        Usual(
            &["io.debezium.connector.postgresql.PostgresSourceInfoStructMaker"],
            "it is a Java class that writes another source block",
        ),
    ),
    (
        "replica.identity.autoset.values",
        Needless("the tables have their replica identity by now, and the relay never changes one"),
    ),
    ("errors.tolerance", Elsewhere),
    ("transforms*", Elsewhere),
    ("predicates*", Needless("they belong to transforms")),
];

/// Options that a connector of tables always has, by default if not given.
pub(super) const DEFAULTS: [(&str, &str); 4] = [
    ("publish.via.partition.root", "false"),
    ("message.prefix.include.list", ".*"),
    ("snapshot.mode", "initial"),
    ("key.converter.schemas.enable", "true"),
];

/// What becomes of the option `name` of a connector of tables, where it differs.
pub(super) fn treatment(name: &str) -> Option<Treatment> {
    find(TABLE, name)
}

/// What an option is called: that of a hash has its salt in its name, which is a secret.
pub(super) fn shown(name: &str) -> String {
    match name.split_once(".with.salt.") {
        Some((before, _)) => format!("{before}.with.salt.…"),
        None => name.to_owned(),
    }
}

/// Options that have a rule of their own.
pub(super) fn elsewhere(written: &mut Written, options: &BTreeMap<String, String>, name: &str, value: &str) -> Becomes {
    let taken = |line: String| Becomes::Taken(line);
    match name {
        "publication.name" => {
            if value == "postrider" {
                // The outbox's publication has this name by default; there is none.
                written.text("source.publication", "postrider_outbox");
            }
            taken(written.text("capture.publication", value))
        }
        "schema.include.list" => schemas(written, "capture.tables", value, has_tables(options)),
        "schema.exclude.list" => {
            schemas(written, "capture.tables_except", value, options.contains_key("table.exclude.list"))
        }
        "message.key.columns" => key_columns(written, value),
        "unavailable.value.placeholder" if value.starts_with("hex:") => {
            Becomes::Refused("a placeholder of bytes has no counterpart: write a text".to_owned())
        }
        "unavailable.value.placeholder" => taken(written.text("capture.unavailable_value", value)),
        "skipped.operations" => {
            let skipped: Vec<String> = value
                .split(',')
                .map(|one| one.trim().to_owned())
                .filter(|one| !one.is_empty() && one != "none")
                .collect();
            taken(written.list("capture.skipped_operations", &skipped))
        }
        "provide.transaction.metadata" if value.eq_ignore_ascii_case("true") => {
            let option = |name: &str, usual: &str| options.get(name).cloned().unwrap_or_else(|| usual.to_owned());
            let topic = format!("{}.{}", option("topic.prefix", ""), option("topic.transaction", "transaction"));
            taken(written.text("capture.transaction_topic", &topic))
        }
        "provide.transaction.metadata" => Becomes::Needless("without it there is no topic of transactions".to_owned()),
        "message.prefix.include.list" => match patterns(value) {
            Ok(prefixes) => taken(written.list("capture.message_prefixes", &prefixes)),
            Err(why) => Becomes::Refused(why),
        },
        "snapshot.mode" => snapshot_mode(written, value),
        "errors.tolerance" => match value {
            "all" => Becomes::Taken(format!(
                "{}: what Connect would have dropped is held, with its key",
                written.text("capture.on_refusal", "park")
            )),
            _ => taken(written.text("capture.on_refusal", "block")),
        },
        "transforms" if value.trim().is_empty() => Becomes::Needless("there is none".to_owned()),
        "transforms" => Becomes::Refused(format!(
            "there is no outbox event router (io.debezium.transforms.outbox.EventRouter) among them, and the relay transforms \
             nothing else: without {value} records would differ"
        )),
        _ if name.starts_with("transforms") => {
            Becomes::Needless("it belongs to a transform that is named above".to_owned())
        }
        _ if name.starts_with("column.") => mask(written, name, value),
        _ => converter(written, options, name, value),
    }
}

/// What is captured where no list of tables says it.
pub(super) fn every_table(written: &mut Written, options: &BTreeMap<String, String>) -> Option<String> {
    if has_tables(options) || options.contains_key("schema.include.list") {
        return None;
    }
    Some(written.list("capture.tables", &["*.*".to_owned()]))
}

fn has_tables(options: &BTreeMap<String, String>) -> bool {
    ["table.include.list", "table.whitelist"]
        .iter()
        .any(|name| options.get(*name).is_some_and(|list| !list.trim().is_empty()))
}

/// Schemas as patterns of all their tables.
fn schemas(written: &mut Written, path: &str, value: &str, is_said: bool) -> Becomes {
    if is_said {
        return Becomes::Needless("the tables are named with their schemas".to_owned());
    }
    match names(value, 1) {
        Ok(schemas) => {
            let tables: Vec<String> = schemas.iter().map(|schema| format!("{schema}.*")).collect();
            Becomes::Taken(written.list(path, &tables))
        }
        Err(why) => Becomes::Refused(why),
    }
}

/// `schema.table:column,column;…`
fn key_columns(written: &mut Written, value: &str) -> Becomes {
    let mut lines = Vec::new();
    for entry in value.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((tables, columns)) = entry.split_once(':') else {
            return Becomes::Refused(format!("{entry:?} is not table:column,column"));
        };
        match names(tables, 2).as_deref() {
            Ok([table]) if !table.contains('*') => {
                let columns: Vec<String> = columns.split(',').map(|column| quoted(column.trim())).collect();
                lines.push(written.text(&format!("capture.key_columns.{table}"), &columns.join(", ")));
            }
            Ok(_) => return Becomes::Refused(format!("{tables:?} means several tables: name each")),
            Err(why) => return Becomes::Refused(why.clone()),
        }
    }
    match lines.is_empty() {
        true => Becomes::Needless("it names no table".to_owned()),
        false => Becomes::Taken(lines.join("; ")),
    }
}

/// `column.truncate.to.N.chars`, `column.mask.with.N.chars`, `column.mask.hash.v2.ALGORITHM.with.salt.SALT`.
fn mask(written: &mut Written, name: &str, value: &str) -> Becomes {
    let characters = |beginning: &str| name.strip_prefix(beginning).and_then(|rest| rest.strip_suffix(CHARACTERS));
    let with = if let Some(count) = characters("column.truncate.to.") {
        format!("truncate:{count}")
    } else if let Some(count) = characters("column.mask.with.") {
        format!("mask:{count}")
    } else if let Some((algorithm, _)) =
        name.strip_prefix("column.mask.hash.v2.").and_then(|rest| rest.split_once(".with.salt."))
    {
        format!("hash:{algorithm}:{SALT_FILE}")
    } else {
        return Becomes::Refused(
            "the first version of hashes is one of Java's own form of a value: set column.mask.hash.v2 and let consumers \
             know, or see that they need none"
                .to_owned(),
        );
    };
    match names(value, 3) {
        Ok(columns) => {
            let lines: Vec<String> =
                columns.iter().map(|column| written.text(&format!("capture.masks.{column}"), &with)).collect();
            Becomes::Taken(lines.join("; "))
        }
        Err(why) => Becomes::Refused(why),
    }
}

/// What was there is published already: the slot goes on where the connector left it.
fn snapshot_mode(written: &mut Written, value: &str) -> Becomes {
    match value {
        "initial" | "initial_only" | "no_data" | "never" | "schema_only" | "when_needed" => Becomes::Taken(format!(
            "{}: the connector has published what was there; `postrider snapshot start` reads a table anew",
            written.text("capture.snapshot.mode", "no_data")
        )),
        "always" => Becomes::Refused("every start would publish every row again: set it to initial".to_owned()),
        _ => Becomes::Refused("it decides over the snapshot in a way of its own".to_owned()),
    }
}

fn converter(written: &mut Written, options: &BTreeMap<String, String>, name: &str, value: &str) -> Becomes {
    let class = value.rsplit('.').next().unwrap_or_default();
    let schemas = |of: &str| {
        options.get(&format!("{of}.converter.schemas.enable")).is_none_or(|value| !value.eq_ignore_ascii_case("false"))
    };
    match (name, class) {
        ("key.converter" | "value.converter", "JsonConverter" | "json") => {
            Becomes::Needless("keys and values are JSON, as JsonConverter writes it".to_owned())
        }
        ("key.converter" | "value.converter", _) => Becomes::Refused(
            "keys and values are JSON, as JsonConverter writes it, and in no other form yet".to_owned(),
        ),
        ("key.converter.schemas.enable", _) if schemas("key") != schemas("value") => {
            Becomes::Refused("keys and values have their schemas both or not at all".to_owned())
        }
        ("key.converter.schemas.enable", _) => Becomes::Taken(written.flag("capture.schemas", schemas("key"))),
        ("value.converter.schemas.enable", _) => {
            Becomes::Needless("key.converter.schemas.enable stands for both".to_owned())
        }
        ("header.converter", "SimpleHeaderConverter") => {
            Becomes::Taken(written.text("capture.header_converter", "simple"))
        }
        ("header.converter", "JsonConverter") => Becomes::Taken(written.text("capture.header_converter", "json")),
        ("header.converter.schemas.enable", _) if schemas("header") == schemas("key") => {
            Becomes::Needless("headers have schemas where keys have them".to_owned())
        }
        ("header.converter.schemas.enable", _) => {
            Becomes::Refused("headers have schemas where keys have them, and nowhere else".to_owned())
        }
        _ => Becomes::Refused("it is not known: leave it out if it does not matter, and see what it did".to_owned()),
    }
}

#[cfg(test)]
mod tests;
