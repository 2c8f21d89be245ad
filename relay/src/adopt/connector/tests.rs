//! Connectors as people have them, and what becomes of each option.

use proptest::prelude::*;

use super::*;

/// As tutorials write it, over Connect's REST interface.
const TUTORIAL: &str = r#"{
  "name": "outbox-connector",
  "config": {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": "1",
    "database.hostname": "order-db",
    "database.port": "5432",
    "database.user": "orderuser",
    "database.password": "hunter2",
    "database.dbname": "orderdb",
    "topic.prefix": "dbserver1",
    "plugin.name": "pgoutput",
    "slot.name": "order_outbox",
    "publication.name": "order_outbox_pub",
    "table.include.list": "inventory.outboxevent",
    "tombstones.on.delete": "false",
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    "transforms": "outbox",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.route.topic.replacement": "${routedByValue}.events",
    "transforms.outbox.table.fields.additional.placement": "type:header:eventType"
  }
}"#;

/// A platform team's: secrets from files, TLS, tuned, several options that do not matter here.
const PLATFORM: &str = r#"{
  "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
  "name": "payments-outbox",
  "database.hostname": "pg-payments.internal", "database.port": 6432, "database.dbname": "payments",
  "database.user": "debezium", "database.password": "${file:/opt/secrets/pg.properties:password}",
  "database.sslmode": "verify-full", "database.sslrootcert": "/etc/ssl/pg-ca.pem",
  "topic.prefix": "payments", "plugin.name": "pgoutput", "slot.name": "dbz_payments",
  "publication.name": "dbz_payments", "publication.autocreate.mode": "filtered",
  "table.include.list": "public\\.outbox", "snapshot.mode": "never", "heartbeat.interval.ms": "10000",
  "heartbeat.action.query": "update heartbeat set ts = now()", "max.batch.size": 4096, "max.queue.size": 16384,
  "poll.interval.ms": 50, "errors.tolerance": "all", "provide.transaction.metadata": false,
  "producer.override.linger.ms": "5", "producer.override.compression.type": "lz4",
  "key.converter": "org.apache.kafka.connect.storage.StringConverter",
  "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
  "transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
  "transforms.outbox.predicate": "isOutbox", "predicates": "isOutbox",
  "predicates.isOutbox.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
  "predicates.isOutbox.pattern": "payments.public.outbox",
  "transforms.outbox.table.field.event.id": "event_id", "transforms.outbox.table.field.event.key": "aggregate_id",
  "transforms.outbox.route.by.field": "aggregate_type", "transforms.outbox.table.expand.json.payload": "true",
  "transforms.outbox.route.tombstone.on.empty.payload": "true"
}"#;

/// Debezium Server's.
const SERVER: &str = "debezium.sink.type=kafka
debezium.sink.kafka.producer.bootstrap.servers=kafka-1:9092,kafka-2:9092
debezium.sink.kafka.producer.key.serializer=org.apache.kafka.common.serialization.StringSerializer
debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.offset.storage.file.filename=data/offsets.dat
debezium.source.database.hostname=localhost
debezium.source.database.user=postgres
debezium.source.database.password=hunter2
debezium.source.database.dbname=shop
debezium.source.topic.prefix=shop
debezium.source.plugin.name=pgoutput
debezium.source.table.include.list=public.Outbox
debezium.transforms=outbox
debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
debezium.transforms.outbox.route.topic.replacement=outbox.event.$${routedByValue}
debezium.format.key=simplestring
debezium.format.value=simplestring
quarkus.log.console.json=false
";

fn adopt(text: &str) -> Adoption {
    debezium(text, &Brokers(Some("kafka:9092".to_owned()))).expect("a connector")
}

fn fate<'a>(adoption: &'a Adoption, option: &str) -> &'a Becomes {
    let fates: Vec<_> = adoption.fates.iter().filter(|fate| fate.option == option).collect();
    assert_eq!(fates.len(), 1, "{option}: {:#?}", adoption.fates);
    &fates[0].becomes
}

fn config(adoption: &Adoption) -> Config {
    assert!(!adoption.is_refused(), "{:#?}", adoption.fates);
    Config::parse("t", &adoption.configuration, [], |_: &Path| Ok("x".to_owned())).expect("it was checked")
}

#[test]
fn the_connector_of_a_tutorial_is_taken_over_option_by_option() {
    let adoption = adopt(TUTORIAL);
    let config = config(&adoption);
    assert_eq!((config.source.slot.as_str(), config.source.publication.as_str()), ("order_outbox", "order_outbox_pub"));
    assert_eq!((config.postgres.database.as_str(), config.postgres.user.as_str()), ("orderdb", "orderuser"));
    let outbox = &config.outboxes[0];
    assert_eq!(outbox.table.as_ref().map(ToString::to_string).as_deref(), Some("inventory.outboxevent"));
    let router = outbox.debezium.as_ref().expect("its form");
    assert_eq!((router.topic_replacement.as_str(), router.placements.len()), ("${routedByValue}.events", 1));
    assert_eq!(*fate(&adoption, "slot.name"), Becomes::Taken("source.slot = \"order_outbox\"".to_owned()));
    assert!(matches!(fate(&adoption, "tombstones.on.delete"), Becomes::Needless(_)));
    assert!(adoption.runbook().contains("/connectors/outbox-connector/stop"), "{}", adoption.runbook());
    // Every option is accounted for.
    let Input { options, .. } = Input::read(TUTORIAL).unwrap();
    for option in options.keys() {
        fate(&adoption, option);
    }
}

#[test]
fn a_platform_teams_connector_keeps_its_tls_its_routing_and_its_tolerance() {
    let adoption = adopt(PLATFORM);
    let config = config(&adoption);
    assert_eq!(config.postgres.tls.mode, crate::config::postgres::TlsMode::VerifyFull);
    assert_eq!(config.outboxes[0].on_refusal, crate::config::outbox::OnRefusal::Park);
    assert_eq!(config.kafka.linger, std::time::Duration::from_millis(5));
    let router = config.outboxes[0].debezium.as_ref().expect("its form");
    assert!(router.expand && router.tombstone_on_empty);
    assert_eq!((router.id.as_str(), router.route_by.as_str()), ("event_id", "aggregate_type"));
}

#[test]
fn debezium_servers_properties_bring_their_brokers_with_them() {
    let adoption = debezium(SERVER, &Brokers(None)).expect("a connector");
    let config = config(&adoption);
    assert_eq!(config.kafka.bootstrap_servers, "kafka-1:9092,kafka-2:9092");
    assert_eq!(config.source.slot, "debezium", "Debezium's default is said");
    assert_eq!(config.outboxes[0].table.as_ref().map(|table| table.name.as_str()), Some("Outbox"));
    assert_eq!(
        config.outboxes[0].debezium.as_ref().map(|router| router.topic_replacement.as_str()),
        Some("outbox.event.${routedByValue}")
    );
}

#[test]
fn no_secret_is_ever_written_or_told() {
    for text in [
        TUTORIAL,
        SERVER,
        PLATFORM,
        &TUTORIAL.replace("\"tasks.max\"", "\"producer.override.sasl.jaas.config\": \"hunter2\", \"tasks.max\""),
    ] {
        let adoption = debezium(text, &Brokers(None)).expect("a connector");
        let told = format!("{}{:?}{}", adoption.configuration, adoption.fates, adoption.runbook());
        assert!(!told.contains("hunter2") && !told.contains("pg.properties"), "{told}");
        assert!(told.contains("postgres.password_file"), "{told}");
    }
}

#[test]
fn what_cannot_be_taken_over_says_what_would_change() {
    for (from, to, option, says) in [
        ("\"pgoutput\"", "\"decoderbufs\"", "plugin.name", "cannot be read"),
        ("inventory.outboxevent", "inventory.outboxevent,inventory.orders", "table.include.list", "several tables"),
        ("inventory.outboxevent", "inventory.*", "table.include.list", "is a pattern"),
        (
            "\"transforms\": \"outbox\"",
            "\"transforms\": \"outbox,mask\"",
            "transforms",
            "without mask events would differ",
        ),
        ("outbox.EventRouter", "ExtractNewRecordState", "transforms", "no outbox event router"),
        ("PostgresConnector", "MySqlConnector", "connector.class", "not Debezium's Postgres connector"),
        ("\"order-db\"", "\"${env:DB_HOST}\"", "database.hostname", "placeholder"),
        (
            "\"tombstones.on.delete\": \"false\"",
            "\"slot.drop.on.stop\": \"true\"",
            "slot.drop.on.stop",
            "would drop the slot",
        ),
        ("\"tombstones.on.delete\"", "\"wal2json.speed\"", "wal2json.speed", "is not known"),
        (
            "\"tombstones.on.delete\": \"false\"",
            "\"provide.transaction.metadata\": \"true\"",
            "provide.transaction.metadata",
            "topic of transactions",
        ),
        ("\"key.converter\"", "\"header.converter\"", "key.converter", "the Connect worker's holds"),
        (
            "route.topic.replacement\": \"${routedByValue}",
            "route.topic.replacement\": \"${other}",
            "the configuration that it makes",
            "does not have",
        ),
    ] {
        let adoption = adopt(&TUTORIAL.replace(from, to));
        let Becomes::Refused(why) = fate(&adoption, option) else {
            panic!("{option} is not refused: {:#?}", adoption.fates)
        };
        assert!(why.contains(says), "{option}: {why}");
    }
    let adoption = debezium(TUTORIAL, &Brokers(None)).expect("a connector");
    assert!(
        matches!(fate(&adoption, "bootstrap.servers"), Becomes::Refused(why) if why.contains("--bootstrap-servers"))
    );
}

#[test]
fn the_way_back_says_the_same_as_the_way_there() {
    for text in [TUTORIAL, PLATFORM] {
        let there = config(&adopt(text));
        let connector = crate::adopt::back(&there).expect("a connector");
        assert!(!connector.json.contains("hunter2"));
        let again = config(&adopt(&connector.json.replace("${file:/path/to/secrets.properties:password}", "x")));
        assert_eq!(again.outboxes[0].debezium, there.outboxes[0].debezium);
        assert_eq!(again.outboxes[0].table, there.outboxes[0].table);
        assert_eq!((again.source, again.postgres.servers), (there.source, there.postgres.servers));
    }
}

#[test]
fn the_relays_own_form_goes_back_with_what_will_differ() {
    let text = "[postgres]\ndatabase = 'shop'\n[kafka]\nbootstrap_servers = 'k:1'\n";
    let config = Config::parse("t", text, [], |_: &Path| Ok(String::new())).unwrap();
    let connector = crate::adopt::back(&config).expect("a connector");
    assert!(
        connector.json.contains("\"transforms.outbox.route.topic.replacement\": \"outbox.event.${routedByValue}\"")
    );
    assert!(connector.remarks.iter().any(|remark| remark.contains("postrider-position")), "{:?}", connector.remarks);
    let several = format!("{text}[outbox]\ntopic = 'a.{{event_type}}'\n");
    let config = Config::parse("t", &several, [], |_: &Path| Ok(String::new())).unwrap();
    assert!(crate::adopt::back(&config).unwrap_err().contains("by one column"));
}

proptest! {
    #[test]
    fn no_value_of_an_option_can_make_it_panic_or_write_what_cannot_be_read(
        option in prop_oneof![Just("slot.name"), Just("table.include.list"), Just("transforms"), Just("database.port"),
            Just("transforms.outbox.route.topic.regex"), Just("transforms.outbox.table.fields.additional.placement")],
        value in any::<String>(),
    ) {
        let mut connector: serde_json::Value = serde_json::from_str(TUTORIAL).unwrap();
        connector["config"][option] = value.into();
        let adoption = adopt(&connector.to_string());
        if !adoption.is_refused() {
            config(&adoption);
        }
    }
}
