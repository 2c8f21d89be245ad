//! The connector that publishes what `[capture]` does.

use crate::config::capture::{
    Binary, Capture, ColumnPattern, Decimal, HashAlgorithm, HeaderConverter, Hstore, Interval, MaskWith, Operation,
    TablePattern, Time,
};

/// Sets the options of tables, and returns what would differ.
pub(super) fn options(capture: &Capture, set: &mut impl FnMut(&str, &str)) -> Vec<String> {
    let flag = |value: bool| if value { "true" } else { "false" };
    let mut remarks = Vec::new();
    set("publication.name", &capture.publication);
    set("publish.via.partition.root", flag(capture.publish_via_partition_root));
    set("topic.prefix", &capture.topic_prefix);
    set("table.include.list", &list(&capture.tables, table));
    // The relay's own tables are in nobody's list of tables unless it takes in every schema.
    set("table.exclude.list", &list(&capture.tables_except, table));
    for (name, columns) in [("column.include.list", &capture.columns), ("column.exclude.list", &capture.columns_except)]
    {
        if !columns.is_empty() {
            set(name, &list(columns, column));
        }
    }
    remarks.extend(masks(capture, set));
    if !capture.key_columns.is_empty() {
        let key = |key: &crate::config::capture::KeyColumns| {
            let pattern = TablePattern { schema: key.table.schema.clone(), table: key.table.name.clone() };
            format!("{}:{}", table(&pattern), key.columns.join(","))
        };
        set("message.key.columns", &capture.key_columns.iter().map(key).collect::<Vec<_>>().join(";"));
    }
    types(capture, set);
    set("unavailable.value.placeholder", &capture.unavailable_value);
    set("tombstones.on.delete", flag(capture.tombstones));
    set("skipped.operations", &operations(&capture.skipped_operations));
    set("skip.messages.without.change", flag(capture.skip_unchanged));
    set("provide.transaction.metadata", flag(capture.transaction_topic.is_some()));
    if let Some(topic) = &capture.transaction_topic {
        match topic.strip_prefix(&format!("{}.", capture.topic_prefix)) {
            Some(name) => set("topic.transaction", name),
            None => {
                remarks.push(format!("transactions would go to {}.transaction, not to {topic}", capture.topic_prefix));
            }
        }
    }
    if let Some(signals) = &capture.signal_table {
        set("signal.data.collection", &signals.to_string());
    }
    set("incremental.snapshot.chunk.size", &capture.snapshot.chunk_rows.to_string());
    let prefixes: Vec<String> = capture.message_prefixes.iter().map(|prefix| expression(prefix)).collect();
    match prefixes.is_empty() {
        true => set("message.prefix.exclude.list", ".*"),
        false => set("message.prefix.include.list", &prefixes.join(",")),
    }
    for name in ["key.converter", "value.converter"] {
        set(name, "org.apache.kafka.connect.json.JsonConverter");
        set(&format!("{name}.schemas.enable"), flag(capture.schemas));
    }
    match capture.header_converter {
        HeaderConverter::Simple => set("header.converter", "org.apache.kafka.connect.storage.SimpleHeaderConverter"),
        HeaderConverter::Json => {
            set("header.converter", "org.apache.kafka.connect.json.JsonConverter");
            set("header.converter.schemas.enable", flag(capture.schemas));
        }
    }
    set("extended.headers.enabled", flag(capture.context_headers));
    remarks.extend(differs(capture));
    remarks
}

fn types(capture: &Capture, set: &mut impl FnMut(&str, &str)) {
    let types = &capture.types;
    for (name, value) in [
        (
            "decimal.handling.mode",
            match types.decimal {
                Decimal::Precise => "precise",
                Decimal::Double => "double",
                Decimal::Text => "string",
            },
        ),
        (
            "time.precision.mode",
            match types.time {
                Time::Adaptive => "adaptive",
                Time::AdaptiveTimeMicroseconds => "adaptive_time_microseconds",
                Time::Connect => "connect",
                Time::IsoString => "isostring",
                Time::Microseconds => "microseconds",
                Time::Nanoseconds => "nanoseconds",
            },
        ),
        (
            "interval.handling.mode",
            match types.interval {
                Interval::Numeric => "numeric",
                Interval::IsoString => "string",
            },
        ),
        (
            "binary.handling.mode",
            match types.binary {
                Binary::Bytes => "bytes",
                Binary::Base64 => "base64",
                Binary::Base64UrlSafe => "base64-url-safe",
                Binary::Hex => "hex",
            },
        ),
        (
            "hstore.handling.mode",
            match types.hstore {
                Hstore::Json => "json",
                Hstore::Map => "map",
            },
        ),
    ] {
        set(name, value);
    }
    set("money.fraction.digits", &types.money_fraction_digits.to_string());
}

/// Masks of one kind are one option; a salt is a secret, and stands in an option's name.
fn masks(capture: &Capture, set: &mut impl FnMut(&str, &str)) -> Option<String> {
    let mut options: std::collections::BTreeMap<String, Vec<&ColumnPattern>> = std::collections::BTreeMap::new();
    let mut salted = false;
    for mask in &capture.masks {
        let option = match &mask.with {
            MaskWith::Truncate(characters) => format!("column.truncate.to.{characters}.chars"),
            MaskWith::Asterisks(characters) => format!("column.mask.with.{characters}.chars"),
            MaskWith::Hash { algorithm, .. } => {
                salted = true;
                let algorithm = match algorithm {
                    HashAlgorithm::Sha224 => "SHA-224",
                    HashAlgorithm::Sha256 => "SHA-256",
                    HashAlgorithm::Sha384 => "SHA-384",
                    HashAlgorithm::Sha512 => "SHA-512",
                };
                format!("column.mask.hash.v2.{algorithm}.with.salt.SALT")
            }
        };
        options.entry(option).or_default().push(&mask.columns);
    }
    for (option, columns) in options {
        set(&option, &columns.into_iter().map(column).collect::<Vec<_>>().join(","));
    }
    salted.then(|| {
        "write the salt in place of SALT in the names of the options column.mask.hash: it is not printed".to_owned()
    })
}

/// What the relay publishes and the connector would not, or otherwise.
fn differs(capture: &Capture) -> Vec<String> {
    let mut differs = Vec::new();
    if !capture.debezium {
        differs.push(format!(
            "topics would be called {}.SCHEMA.TABLE, not {:?}, and records would have the connector's time instead of the commit's, \
             and no header `postrider-position`",
            capture.topic_prefix, capture.topic
        ));
    }
    if capture.reselect {
        differs.push(
            "values that were not sent would not be read anew: see Debezium's reselect post processor".to_owned(),
        );
    }
    differs
}

fn operations(skipped: &[Operation]) -> String {
    let letter = |operation: &Operation| match operation {
        Operation::Create => "c",
        Operation::Update => "u",
        Operation::Delete => "d",
        Operation::Truncate => "t",
    };
    let letters: Vec<&str> = skipped.iter().map(letter).collect();
    if letters.is_empty() { "none".to_owned() } else { letters.join(",") }
}

fn list<P>(patterns: &[P], write: impl Fn(&P) -> String) -> String {
    patterns.iter().map(write).collect::<Vec<_>>().join(",")
}

fn table(pattern: &TablePattern) -> String {
    format!("{}\\.{}", expression(&pattern.schema), expression(&pattern.table))
}

fn column(pattern: &ColumnPattern) -> String {
    format!("{}\\.{}", table(&pattern.table), expression(&pattern.column))
}

/// A name in which `*` stands for any characters, as a regular expression.
fn expression(name: &str) -> String {
    name.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")
}
