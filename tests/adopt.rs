//! A connector's slot is taken over where the connector left it: nothing before it comes again, and nothing after it is missing.

use std::collections::BTreeSet;

use demo::state::reader::TableTopics;
use harness::{Launch, PATIENCE, Record, Site, TopicReader, shared, until};

/// The connector's password, which must not be shown.
const PASSWORD: &str = "the connector's own";

/// A connector as a platform team has it.
fn connector(site: &Site) -> String {
    let server = site.server();
    serde_json::json!({
        "name": "orders-outbox",
        "config": {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "plugin.name": "pgoutput",
            "database.hostname": server.host,
            "database.port": server.port.to_string(),
            "database.dbname": site.name(),
            "database.user": site.role(),
            "database.password": PASSWORD,
            "database.sslmode": "disable",
            "topic.prefix": "shop",
            "slot.name": site.name(),
            "publication.name": site.name(),
            "table.include.list": "public\\.outboxevent",
            "heartbeat.interval.ms": "10000",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "transforms": "outbox",
            "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
            "transforms.outbox.route.topic.replacement": format!("{}.outbox.event.${{routedByValue}}", site.name()),
            "transforms.outbox.table.fields.additional.placement": "type:header:eventType",
        }
    })
    .to_string()
}

/// A database as Debezium's users have it, with a slot that was acknowledged between the two halves of its events.
async fn debezium_site() -> Site {
    let site = Site::bare("adopt", &shared().postgres, &shared().kafka.bootstrap).await;
    site.create_topics().await;
    let (role, name) = (site.role(), site.name().to_owned());
    let insert = |phase: &str| {
        format!(
            "insert into outboxevent select gen_random_uuid(), 'order', '{phase}-' || n, 'OrderPlaced', \
             jsonb_build_object('n', n) from generate_series(1, 20) n"
        )
    };
    site.sql(
        "create table outboxevent (
           id uuid primary key,
           aggregatetype varchar(255) not null,
           aggregateid varchar(255) not null,
           type varchar(255) not null,
           payload jsonb
         )",
    )
    .await;
    site.sql(&format!("create role {role} login replication password '{}'", PASSWORD.replace('\'', "''"))).await;
    site.sql(&format!("grant select on outboxevent to {role}")).await;
    site.sql(&format!("create publication {name} for table outboxevent with (publish = 'insert')")).await;
    site.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
    site.sql(&insert("before")).await;
    site.sql(&format!("select pg_replication_slot_advance('{name}', pg_current_wal_lsn())")).await;
    site.sql(&insert("after")).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_taken_over_at_the_connectors_position_and_nothing_is_lost() {
    let site = debezium_site().await;
    let folder = std::env::temp_dir().join(site.name());
    let (file, written) = (folder.join("connector.json"), folder.join("adopted.toml"));
    std::fs::write(&file, connector(&site)).unwrap();
    let adopt = |launch: Launch| {
        launch
            .argument("debezium")
            .argument(file.to_str().unwrap())
            .argument("--bootstrap-servers")
            .argument(site.bootstrap())
    };
    let ended = adopt(site.relay()).argument("--write").argument(written.to_str().unwrap()).complete("adopt");
    ended.expect(
        0,
        &[
            "taken over     slot.name",
            "not needed     heartbeat.interval.ms",
            "postrider check",
            "/connectors/orders-outbox/stop",
        ],
    );
    assert!(!ended.said().contains(PASSWORD), "{}", ended.said());
    assert!(!std::fs::read_to_string(&written).unwrap().contains(PASSWORD));
    // A second time it does not overwrite what may have been edited since.
    adopt(site.relay())
        .argument("--write")
        .argument(written.to_str().unwrap())
        .complete("adopt")
        .expect(1, &["cannot write"]);

    let relay = || {
        Launch::of(written.clone())
            .with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD)
            .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &site.topics().progress())
            .with("POSTRIDER_ADMIN_LISTEN", "127.0.0.1:0")
    };
    let checked = relay().complete("check");
    assert_eq!((checked.code(), checked.said()), (Some(0), ""));

    let reader = site.reader();
    let mut running = relay().start();
    running.ready().await;
    reader.distinct(20).await;
    running.terminate().await.expect(0, &[]);
    assert_eq!(reader.count(), 20, "what Debezium had acknowledged does not come again");
    let keys: BTreeSet<String> = (1..=20).map(|n| format!("after-{n}")).collect();
    for key in &keys {
        reader.record("an event of after", |record| record.key.as_deref() == Some(key.as_bytes())).await;
    }

    // And back: the connector that is printed reads the same slot and routes as before.
    let back = relay().argument("debezium").argument("--back").complete("adopt");
    back.expect(
        0,
        &[
            &format!("\"slot.name\": \"{}\"", site.name()),
            "\"snapshot.mode\": \"no_data\"",
            "confirmed_flush_lsn",
            "eventType",
        ],
    );
    assert!(!back.said().contains(PASSWORD), "{}", back.said());
}

/// A connector of tables, with columns left out and masked.
fn connector_of_tables(site: &Site) -> String {
    let mut connector: serde_json::Value = serde_json::from_str(&connector(site)).unwrap();
    let config = connector["config"].as_object_mut().unwrap();
    config.retain(|name, _| !name.starts_with("transforms"));
    let json = "org.apache.kafka.connect.json.JsonConverter";
    for (name, value) in [
        ("topic.prefix", site.name()),
        ("table.include.list", "public\\.users,public\\.order_.*"),
        ("column.exclude.list", "public\\.users\\.password_hash"),
        ("column.mask.with.3.chars", "public\\.users\\.phone"),
        ("key.converter", json),
        ("key.converter.schemas.enable", "false"),
        ("value.converter", json),
        ("value.converter.schemas.enable", "false"),
    ] {
        config.insert(name.to_owned(), value.into());
    }
    connector.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_tables_is_taken_over_at_its_position_and_publishes_what_it_would() {
    let site = Site::bare("adopttab", &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    let (role, name) = (site.role(), site.name().to_owned());
    site.sql("create table users (id bigint primary key, phone text, password_hash text)").await;
    site.sql("create table order_lines (id bigint primary key, note text)").await;
    site.sql(&format!("create role {role} login replication password '{}'", PASSWORD.replace('\'', "''"))).await;
    site.sql(&format!("grant select on users, order_lines to {role}")).await;
    site.sql(&format!(
        "grant usage on schema postrider to {role}; grant select, insert, update, delete on postrider.parked to {role};
         grant select, insert on postrider.parked_log to {role};
         grant select, insert, update, delete on postrider.snapshots to {role}"
    ))
    .await;
    site.sql(&format!("create publication {name} for table users, order_lines")).await;
    site.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
    site.sql("insert into users values (1, '111', 'secret')").await;
    site.sql(&format!("select pg_replication_slot_advance('{name}', pg_current_wal_lsn())")).await;
    site.sql("insert into users values (2, '222', 'secret'); delete from users where id = 1").await;
    site.sql("insert into order_lines values (7, 'a')").await;

    let folder = std::env::temp_dir().join(site.name());
    let (file, written) = (folder.join("connector.json"), folder.join("adopted.toml"));
    std::fs::write(&file, connector_of_tables(&site)).unwrap();
    let adopt = site.relay().argument("debezium").argument(file.to_str().unwrap());
    let adopt = adopt.argument("--bootstrap-servers").argument(site.bootstrap());
    adopt.argument("--write").argument(written.to_str().unwrap()).complete("adopt").expect(
        0,
        &[
            "taken over     table.include.list: capture.tables",
            "capture.snapshot.mode = \"no_data\"",
            "capture.masks.public.users.phone",
        ],
    );
    let relay = || {
        Launch::of(written.clone())
            .with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD)
            .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &site.topics().progress())
            .with("POSTRIDER_ADMIN_LISTEN", "127.0.0.1:0")
    };
    let checked = relay().complete("check");
    assert_eq!((checked.code(), checked.said()), (Some(0), ""));

    let prefix = format!("{name}.public.");
    let topics = TableTopics::new(site.bootstrap(), &prefix, &["users".to_owned(), "order_lines".to_owned()]);
    topics.create().await.unwrap();
    let mut running = relay().start();
    running.ready().await;
    let end = site.wal_end().await;
    until("the slot is confirmed", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
    running.terminate().await.expect(0, &[]);
    let partitions = ["users", "order_lines"].into_iter().flat_map(|table| (0..3).map(move |at| (table, at)));
    let reader = TopicReader::start(
        site.bootstrap(),
        partitions.map(|(table, at)| (format!("{prefix}{table}"), at)).collect::<Vec<_>>(),
    );
    reader.read_to_the_end().await;
    let shown: BTreeSet<String> = reader.records().iter().map(shown).collect();
    let expected = [
        r#"{"id":2} c null {"id":2,"phone":"***"}"#,
        r#"{"id":1} d {"id":1,"phone":"***"} null"#,
        r#"{"id":1}"#,
        r#"{"id":7} c null {"id":7,"note":"a"}"#,
    ];
    assert_eq!(shown, expected.map(str::to_owned).into(), "what Debezium had acknowledged does not come again");
    topics.delete().await.unwrap();
}

/// A record's key, operation, and row before and after; of a tombstone its key alone.
fn shown(record: &Record) -> String {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    let Some(value) = &record.value else { return key };
    let value: serde_json::Value = serde_json::from_slice(value).unwrap();
    format!("{key} {} {} {}", value["op"].as_str().unwrap(), value["before"], value["after"])
}
