//! The way back: from our configuration to a Debezium connector that goes on where the relay stopped.

mod capture;

use std::collections::BTreeMap;

use serde_json::json;

use crate::config::Config;
use crate::config::capture::Capture;
use crate::config::outbox::{Converter, Debezium, Outbox, Place};
use crate::config::postgres::{Host, TlsMode};

/// A connector and what is to be known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// The body of a `POST /connectors`, without any secret.
    pub json: String,
    /// What would differ from what the relay publishes, and how to start it.
    pub remarks: Vec<String>,
}

/// The connector that stands for `config`.
///
/// # Errors
/// Why there is none: as a fragment.
pub fn back(config: &Config) -> Result<Connector, String> {
    match (&config.capture, config.outboxes.as_slice()) {
        (Some(captured), []) => Ok(of_tables(config, captured)),
        (Some(_), _) => {
            Err("a connector publishes an outbox by the event router, or tables, and both are configured".to_owned())
        }
        (None, [outbox]) => of_outbox(config, outbox),
        (None, _) => Err("a connector routes one outbox table, and several are configured".to_owned()),
    }
}

fn of_tables(config: &Config, captured: &Capture) -> Connector {
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(options.insert(name.to_owned(), value.to_owned()));
    reader(config, &mut set);
    let mut remarks = capture::options(captured, &mut set);
    remarks.extend(position(config));
    connector(config, &options, remarks)
}

fn of_outbox(config: &Config, outbox: &Outbox) -> Result<Connector, String> {
    let Some(table) = &outbox.table else {
        return Err("a connector routes a table, and this outbox is one of messages without a table".to_owned());
    };
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(options.insert(name.to_owned(), value.to_owned()));
    reader(config, &mut set);
    set("publication.name", &config.source.publication);
    set("tombstones.on.delete", "false");
    set("table.include.list", &format!("{}\\.{}", pattern(&table.schema), pattern(&table.name)));
    set("transforms", "outbox");
    set("transforms.outbox.type", "io.debezium.transforms.outbox.EventRouter");
    let mut remarks = match &outbox.debezium {
        Some(router) => as_given(router, &mut set),
        None => as_near_as_possible(outbox, &mut set)?,
    };
    remarks.extend(position(config));
    Ok(connector(config, &options, remarks))
}

/// What every connector has: where it reads, and that it goes on there.
fn reader(config: &Config, set: &mut impl FnMut(&str, &str)) {
    set("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
    set("plugin.name", "pgoutput");
    set("tasks.max", "1");
    connection(config, set);
    set("slot.name", &config.source.slot);
    set("slot.drop.on.stop", "false");
    set("publication.autocreate.mode", "disabled");
    set("snapshot.mode", "no_data");
}

fn connector(config: &Config, options: &BTreeMap<String, String>, remarks: Vec<String>) -> Connector {
    // A name that Connect knows already would come with the offsets of the time before.
    let name = format!("{}-after-postrider", config.source.slot);
    let json = serde_json::to_string_pretty(&json!({ "name": name, "config": options }));
    Connector { json: json.expect("strings always have a JSON form"), remarks }
}

fn connection(config: &Config, set: &mut impl FnMut(&str, &str)) {
    let postgres = &config.postgres;
    let server = postgres.servers.iter().find_map(|server| match &server.host {
        Host::Tcp(name) => Some((name.as_str(), server.port)),
        Host::Socket(_) => None,
    });
    // Java reaches no Unix socket.
    let (host, port) = server.unwrap_or(("localhost", postgres.servers.first().map_or(5432, |server| server.port)));
    set("database.hostname", host);
    set("database.port", &port.to_string());
    set("database.dbname", &postgres.database);
    set("database.user", &postgres.user);
    set("database.password", "${file:/path/to/secrets.properties:password}");
    let mode = match postgres.tls.mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    };
    set("database.sslmode", mode);
    if let Some(file) = &postgres.tls.ca_file {
        set("database.sslrootcert", &file.display().to_string());
    }
}

/// The options of `outbox.debezium` under their own names.
fn as_given(router: &Debezium, set: &mut impl FnMut(&str, &str)) -> Vec<String> {
    let mut option = |name: &str, value: &str| set(&format!("transforms.outbox.{name}"), value);
    option("table.field.event.id", &router.id);
    option("table.field.event.key", &router.key);
    option("table.field.event.type", &router.event_type);
    option("table.field.event.payload", &router.payload);
    if let Some(column) = &router.timestamp {
        option("table.field.event.timestamp", column);
    }
    if let Some(column) = &router.schema_version {
        option("table.field.event.schema.version", column);
    }
    option("route.by.field", &router.route_by);
    option("route.topic.regex", &router.topic_regex);
    // Our form escapes the sign by itself, Java's by a backslash.
    option("route.topic.replacement", &router.topic_replacement.replace("$$", "\\$"));
    let placed: Vec<String> = router
        .placements
        .iter()
        .map(|placement| {
            let place = match placement.place {
                Place::Header => "header",
                Place::Envelope => "envelope",
                Place::Partition => "partition",
            };
            format!("{}:{place}:{}", placement.column, placement.alias)
        })
        .collect();
    if !placed.is_empty() {
        option("table.fields.additional.placement", &placed.join(","));
    }
    for (name, value) in [
        ("table.field.additional.missing", if router.missing_ignored { "ignore" } else { "error" }),
        ("table.expand.json.payload", if router.expand { "true" } else { "false" }),
        ("table.json.payload.null.behavior", if router.keep_nulls { "optional_bytes" } else { "ignore" }),
        ("route.tombstone.on.empty.payload", if router.tombstone_on_empty { "true" } else { "false" }),
    ] {
        option(name, value);
    }
    set("topic.prefix", if router.prefix.is_empty() { "postrider" } else { &router.prefix });
    for (name, kind) in [
        ("key.converter", router.key_converter),
        ("value.converter", router.value_converter),
        ("header.converter", router.header_converter),
    ] {
        converter(name, kind, set);
    }
    Vec::new()
}

fn converter(name: &str, kind: Converter, set: &mut impl FnMut(&str, &str)) {
    let class = match kind {
        Converter::Text => "org.apache.kafka.connect.storage.StringConverter",
        Converter::Simple => "org.apache.kafka.connect.storage.SimpleHeaderConverter",
        Converter::Binary => "io.debezium.converters.BinaryDataConverter",
        Converter::Json { schemas } => {
            set(&format!("{name}.schemas.enable"), if schemas { "true" } else { "false" });
            "org.apache.kafka.connect.json.JsonConverter"
        }
    };
    set(name, class);
}

/// The event router that comes nearest to the relay's own form.
fn as_near_as_possible(outbox: &Outbox, set: &mut impl FnMut(&str, &str)) -> Result<Vec<String>, String> {
    let columns = &outbox.columns;
    let by = columns.aggregate_type.as_ref().ok_or("the event router needs a column that chooses the topic")?;
    let topic = outbox.topic.replace("{aggregate_type}", "${routedByValue}");
    if topic.replace("${routedByValue}", "").contains('{') {
        return Err("the event router names topics by one column, and outbox.topic by others too".to_owned());
    }
    if outbox.key != "{aggregate_id}" {
        return Err("the event router takes a column as the key, and outbox.key is not {aggregate_id}".to_owned());
    }
    let key = columns.aggregate_id.as_ref().ok_or("the event router needs a column for the key")?;
    let payload = columns.payload.as_ref().ok_or("the event router needs a column for the payload")?;
    let mut option = |name: &str, value: &str| set(&format!("transforms.outbox.{name}"), value);
    option("table.field.event.id", &columns.id);
    option("table.field.event.key", key);
    option("table.field.event.payload", payload);
    option("route.by.field", by);
    option("route.topic.replacement", &topic);
    let placed = columns.event_type.as_ref().zip(outbox.headers.event_type.as_ref());
    if let Some((column, header)) = placed {
        option("table.field.event.type", column);
        option("table.fields.additional.placement", &format!("{column}:header:{header}"));
    }
    set("topic.prefix", "postrider");
    for name in ["key.converter", "value.converter"] {
        set(name, "org.apache.kafka.connect.storage.StringConverter");
    }
    let mut differs = vec![
        "records lack the header `postrider-position`, by which consumers could tell which of two events is newer"
            .to_owned(),
        "records have the connector's time instead of the commit's".to_owned(),
    ];
    if columns.headers.is_some() {
        differs.push("headers in the column of headers are not published".to_owned());
    }
    if columns.payload_bytes.is_some() {
        differs.push("payloads in the column of bytes are published as records without value".to_owned());
    }
    Ok(differs)
}

fn position(config: &Config) -> Vec<String> {
    let slot = &config.source.slot;
    vec![
        "put the password where Connect's configuration provider finds it: it is not printed".to_owned(),
        "stop the relay before the connector is created: one program reads a slot".to_owned(),
        format!(
            "without offsets of its own the connector begins at the slot's position: `select confirmed_flush_lsn from \
             pg_replication_slots where slot_name = '{slot}'`; what the relay delivered and had not confirmed yet (100 ms, or what \
             was in flight at a crash) comes once more"
        ),
        "create it under the name that is printed: under its old one Connect has offsets of the time before the relay"
            .to_owned(),
        format!(
            "if the relay shall take over once more, it finds the slot ahead of its record: `postrider run --accept-gap` once, when you know that {slot} was read by the connector alone"
        ),
    ]
}

/// A name as a regular expression.
fn pattern(name: &str) -> String {
    regex::escape(name)
}
