//! Connectors of tables as people have them, and what becomes of each option.

use std::path::Path;

use super::*;
use crate::adopt::{Adoption, Brokers, debezium};
use crate::config::Config;
use crate::config::capture::{Capture, Decimal, HashAlgorithm, MaskWith, Operation, SnapshotMode};

/// As the documentation's example has it: little is said.
const TUTORIAL: &str = r#"{
  "name": "inventory-connector",
  "config": {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "postgres", "database.port": "5432", "database.user": "postgres",
    "database.password": "hunter2", "database.dbname": "shop", "topic.prefix": "fulfillment",
    "table.include.list": "public.inventory", "plugin.name": "pgoutput",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter"
  }
}"#;

/// As a platform team has it: nearly everything is said.
const PLATFORM: &str = r#"{
  "name": "cdc", "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
  "database.hostname": "pg", "database.user": "cdc", "database.password": "hunter2", "database.dbname": "shop",
  "plugin.name": "pgoutput", "slot.name": "cdc", "publication.name": "cdc_pub", "publication.autocreate.mode": "filtered",
  "publish.via.partition.root": "true", "topic.prefix": "app",
  "table.include.list": "public\\.users,billing\\.invoice_.*,sales\\.(orders|Lines)",
  "table.exclude.list": "billing\\.invoice_tmp", "column.exclude.list": "public\\.users\\.password_hash",
  "column.mask.with.4.chars": "public\\.users\\.phone", "column.truncate.to.20.chars": ".*\\..*\\.note",
  "column.mask.hash.v2.SHA-256.with.salt.hunter2": "public\\.users\\.email",
  "message.key.columns": "sales.orders:tenant,number;public.users:id",
  "decimal.handling.mode": "string", "time.precision.mode": "microseconds", "interval.handling.mode": "string",
  "binary.handling.mode": "hex", "hstore.handling.mode": "map", "money.fraction.digits": "3",
  "unavailable.value.placeholder": "n/a", "tombstones.on.delete": "false", "skipped.operations": "none",
  "skip.messages.without.change": "true", "provide.transaction.metadata": "true",
  "signal.data.collection": "public.debezium_signal", "incremental.snapshot.chunk.size": "4096",
  "snapshot.mode": "initial", "snapshot.max.threads": "2", "snapshot.fetch.size": "1000",
  "message.prefix.include.list": "audit.*", "heartbeat.interval.ms": "5000", "heartbeat.action.query": "select 1",
  "key.converter": "org.apache.kafka.connect.json.JsonConverter", "key.converter.schemas.enable": "false",
  "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
  "header.converter": "org.apache.kafka.connect.json.JsonConverter", "header.converter.schemas.enable": "false",
  "extended.headers.enabled": "false", "errors.tolerance": "all", "max.batch.size": "4096", "transforms": ""
}"#;

fn adopt(text: &str) -> Adoption {
    debezium(text, &Brokers(Some("kafka:9092".to_owned()))).expect("a connector")
}

fn config(adoption: &Adoption) -> Config {
    assert!(!adoption.is_refused(), "{:#?}", adoption.fates);
    Config::parse("t", &adoption.configuration, [], |_: &Path| Ok("x".to_owned())).expect("it was checked")
}

fn capture(adoption: &Adoption) -> Capture {
    config(adoption).capture.expect("tables")
}

#[test]
fn the_connector_of_a_tutorial_is_taken_over_with_debeziums_defaults() {
    let adoption = adopt(TUTORIAL);
    let config = config(&adoption);
    assert!(config.outboxes.is_empty());
    assert_eq!(config.source.slot, "debezium");
    let capture = capture(&adoption);
    assert!(capture.debezium && capture.schemas && capture.tombstones && !capture.publish_via_partition_root);
    assert!(capture.captures("public", "inventory") && !capture.captures("public", "users"));
    assert_eq!((capture.publication.as_str(), capture.topic_prefix.as_str()), ("dbz_publication", "fulfillment"));
    assert_eq!(
        (capture.skipped_operations, capture.message_prefixes),
        (vec![Operation::Truncate], vec!["*".to_owned()])
    );
    assert_eq!(capture.snapshot.mode, SnapshotMode::NoData, "what was there is published already");
    assert_eq!(capture.on_refusal, crate::config::outbox::OnRefusal::Block);
}

#[test]
fn a_platform_teams_connector_keeps_its_tables_columns_masks_keys_and_types() {
    let adoption = adopt(PLATFORM);
    let capture = capture(&adoption);
    for (schema, table, captured) in [
        ("public", "users", true),
        ("billing", "invoice_2024", true),
        ("billing", "invoice_tmp", false),
        ("sales", "Lines", true),
        ("sales", "lines", false),
    ] {
        assert_eq!(capture.captures(schema, table), captured, "{schema}.{table}");
    }
    assert_eq!(capture.masks.len(), 3);
    let hash = capture.masks.iter().find_map(|mask| match mask.with {
        MaskWith::Hash { algorithm, .. } => Some(algorithm),
        _ => None,
    });
    assert_eq!(hash, Some(HashAlgorithm::Sha256));
    assert_eq!(capture.key_columns.len(), 2);
    assert_eq!((capture.types.decimal, capture.types.money_fraction_digits), (Decimal::Text, 3));
    assert_eq!(capture.transaction_topic.as_deref(), Some("app.transaction"));
    assert_eq!((capture.skipped_operations.len(), capture.skip_unchanged, capture.tombstones), (0, true, false));
    assert_eq!((capture.snapshot.workers, capture.snapshot.chunk_rows), (2, 4096));
    assert_eq!(capture.signal_table.map(|table| table.to_string()).as_deref(), Some("public.debezium_signal"));
    assert!(!capture.schemas && !capture.context_headers && capture.publish_via_partition_root);
    let told = format!("{}{:?}{}", adoption.configuration, adoption.fates, adoption.runbook());
    assert!(!told.contains("hunter2") && told.contains(SALT_FILE), "{told}");
}

#[test]
fn whole_schemas_and_whole_databases_are_taken_over() {
    let schema =
        TUTORIAL.replace("\"table.include.list\": \"public.inventory\"", "\"schema.include.list\": \"public,sales\"");
    let captured = capture(&adopt(&schema));
    assert!(captured.captures("sales", "orders") && !captured.captures("hr", "people"));
    let all = TUTORIAL.replace("\"table.include.list\": \"public.inventory\"", "\"schema.exclude.list\": \"hr\"");
    let captured = capture(&adopt(&all));
    assert!(captured.captures("sales", "orders") && !captured.captures("hr", "people"));
}

#[test]
fn what_cannot_be_taken_over_says_what_would_change() {
    for (option, value, says) in [
        ("table.include.list", "public\\\\.user[s]", "the sign `[`"),
        ("table.include.list", "users", "2 names joined by dots"),
        ("transforms", "unwrap", "the relay transforms nothing else"),
        ("value.converter", "io.confluent.connect.avro.AvroConverter", "in no other form yet"),
        ("value.converter.schemas.enable", "false", "both or not at all"),
        ("column.mask.hash.SHA-256.with.salt.s", "public.inventory.a", "Java's own form"),
        ("message.key.columns", "public.inv.*:id", "several tables"),
        ("message.key.columns", "public.inventory", "is not table:column"),
        ("snapshot.mode", "always", "publish every row again"),
        ("snapshot.select.statement.overrides", "public.inventory", "--where"),
        ("topic.delimiter", "_", "other names"),
        ("unavailable.value.placeholder", "hex:00", "write a text"),
        ("include.unknown.datatypes", "true", "by its text"),
        ("converters", "isbn", "Java classes"),
        ("post.processors", "reselector", "Java classes"),
        ("message.prefix.exclude.list", "x", "message.prefix.include.list"),
        ("tombstones.on.delete", "yes", "neither true nor false"),
    ] {
        let mut connector: serde_json::Value = serde_json::from_str(TUTORIAL).unwrap();
        connector["config"][option] = value.replace("\\\\", "\\").into();
        let adoption = adopt(&connector.to_string());
        let told: Vec<_> = adoption.fates.iter().filter(|fate| matches!(fate.becomes, Becomes::Refused(_))).collect();
        assert!(told.len() == 1 && told[0].to_string().contains(says), "{option}: {told:#?}");
    }
    let mut connector: serde_json::Value = serde_json::from_str(TUTORIAL).unwrap();
    connector["config"].as_object_mut().unwrap().remove("key.converter");
    assert!(adopt(&connector.to_string()).is_refused(), "the worker's converter is not known");
}

#[test]
fn the_way_back_says_the_same_as_the_way_there() {
    for text in [TUTORIAL, PLATFORM] {
        let there = config(&adopt(text));
        let connector = crate::adopt::back(&there).expect("a connector");
        assert!(!connector.json.contains("hunter2"), "{}", connector.json);
        let json = connector.json.replace("${file:/path/to/secrets.properties:password}", "x");
        let again = config(&adopt(&json));
        let (again, there) = (again.capture.expect("tables"), there.capture.expect("tables"));
        assert_eq!((again.masks, again.key_columns, again.types), (there.masks, there.key_columns, there.types));
        assert_eq!((again.publication, again.tables), (there.publication, there.tables));
        assert_eq!(
            (again.skipped_operations, again.message_prefixes),
            (there.skipped_operations, there.message_prefixes)
        );
        assert_eq!((again.schemas, again.transaction_topic), (there.schemas, there.transaction_topic));
    }
}

#[test]
fn the_relays_own_form_goes_back_with_what_will_differ() {
    let text =
        "[postgres]\ndatabase = 'shop'\n[kafka]\nbootstrap_servers = 'k:1'\n[capture]\ntables = 'public.users'\n";
    let both = Config::parse("t", text, [], |_: &Path| Ok(String::new())).unwrap();
    assert!(crate::adopt::back(&both).unwrap_err().contains("both are configured"));
    let alone = Config::parse("t", &format!("{text}[outbox]\ntable = ''\n"), [], |_: &Path| Ok(String::new())).unwrap();
    let connector = crate::adopt::back(&alone).expect("a connector");
    assert!(connector.json.contains(r#""table.include.list": "public\\.users""#), "{}", connector.json);
    assert!(
        connector.remarks.iter().any(|remark| remark.contains("postrider.SCHEMA.TABLE")),
        "{:?}",
        connector.remarks
    );
}
