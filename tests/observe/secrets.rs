//! No secret reaches the log: not a payload, a key, a header's value or a password, at the most talkative level and whatever
//! goes wrong.

use std::time::Duration;

use harness::{PATIENCE, Site, shared, until};
use xtask::services::PrivateKafka;

/// Planted in every place that holds a value.
const SECRET: &str = "planted-s3cr3t";

/// Planted where a password is.
const PASSWORD: &str = "planted-passw0rd";

async fn emit(site: &Site, aggregate_type: &str, key: &str, payload: &str) {
    let emit = "select postrider.emit($1, $2, 'Changed', $3::text::jsonb, $4::text::jsonb)";
    let headers = format!(r#"{{"note": "{SECRET}-header"}}"#);
    site.db().execute(emit, &[&aggregate_type, &key, &payload, &headers]).await.unwrap();
}

fn assert_silent(log: &str) {
    for line in log.lines() {
        assert!(!line.contains(SECRET) && !line.contains(PASSWORD), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_writer_wrote_and_no_password_is_logged_through_many_faults() {
    let mut kafka = PrivateKafka::start(&[]).expect("a broker of our own");
    let site = Site::between("secrets", &shared().postgres, &kafka.bootstrap()).await;
    site.create_topics().await;
    let reader = site.reader();
    let headers = std::env::temp_dir().join(format!("{}-headers", site.name()));
    std::fs::write(&headers, format!("authorization=Bearer {PASSWORD}\n")).unwrap();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let launch = site
        .relay()
        .with("POSTRIDER_LOG_LEVEL", "trace")
        .with("POSTRIDER_TRACING_OTLP_ENDPOINT", &format!("http://{nowhere}"))
        .with("POSTRIDER_TRACING_SAMPLE_RATIO", "1")
        .with("POSTRIDER_TRACING_HEADERS_FILE", &headers.display().to_string());

    // A wrong password, told by a server and by us.
    let wrong =
        launch.clone().with("POSTRIDER_POSTGRES_HOST", "127.0.0.1").with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD);
    let ended = wrong.start().ended().await;
    ended.expect(1, &["refused user"]);
    assert_silent(ended.said());

    let mut relay = launch.start();
    relay.ready().await;
    let payload = format!(r#"{{"n": 1, "card": "{SECRET}-payload"}}"#);
    emit(&site, "order", &format!("{SECRET}-key"), &payload).await;
    reader.distinct(1).await;

    // Headers that are no object, a record that no broker takes, and one behind it.
    site.sql("alter table outbox_events drop constraint if exists outbox_events_headers").await;
    let odd = format!(
        "insert into outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) \
                       values ('order', '{SECRET}-odd', 'Odd', '{payload}', '[\"{SECRET}\"]')"
    );
    site.sql(&odd).await;
    site.sql("alter table outbox_events drop constraint outbox_events_payload_size").await;
    let large = "insert into outbox_events (aggregate_type, aggregate_id, event_type, payload) \
                 values ('order', $1, 'Large', jsonb_build_object('n', 2, 'card', $2::text))";
    let card = format!("{SECRET}{}", "x".repeat(3_000_000));
    site.db().execute(large, &[&format!("{SECRET}-large"), &card]).await.unwrap();
    emit(&site, "order", &format!("{SECRET}-large"), &payload).await;
    relay.logs(&["headers are not a JSON object"]).await;
    relay.logs(&["parked"]).await;

    // The server ends the session, and the broker goes away.
    if let Some((pid, _)) = site.walsender().await {
        site.db().execute("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
    }
    emit(&site, "order", &format!("{SECRET}-after"), &payload).await;
    reader
        .record("the event after the session's end", |record| {
            record.key.as_deref() == Some(format!("{SECRET}-after").as_bytes())
        })
        .await;
    kafka.stop();
    emit(&site, "order", &format!("{SECRET}-waiting"), &payload).await;
    let noticed = async || (relay.metric("postrider_kafka_reachable").await < 0.5).then_some(());
    until("the relay notices", PATIENCE, noticed).await;
    kafka.start_again().expect("the broker comes back");
    reader
        .record("the event that waited", |record| record.key.as_deref() == Some(format!("{SECRET}-waiting").as_bytes()))
        .await;

    // What the endpoint shows is no better place for a secret.
    for path in ["/status", "/metrics", "/ready"] {
        assert_silent(&relay.get(path).await.expect("it answers").1);
    }
    tokio::time::timeout(Duration::from_secs(60), async {
        let ended = relay.terminate().await;
        ended.expect(0, &["batch durable", "key_hash", "broker unreachable"]);
        assert_silent(ended.said());
    })
    .await
    .unwrap();
    std::fs::remove_file(&headers).unwrap();
}
