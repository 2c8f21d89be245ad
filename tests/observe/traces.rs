//! An event's own trace goes through the relay: its header untouched to Kafka, and a span of the hop to the collector.

use harness::{PATIENCE, Site, newest, until};

use crate::observe::collector::Collector;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn emit(site: &Site, key: &str, headers: &str) {
    let emit = "select postrider.emit('order', $1, 'Changed', '{\"n\": 1}', $2::text::jsonb)";
    site.db().execute(emit, &[&key, &headers]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traced_event_gets_a_span_of_its_hop_and_its_batch_links_to_it() {
    let site = Site::on("traced", &newest()).await;
    let (reader, collector) = (site.reader(), Collector::start().await);
    let secret = std::env::temp_dir().join(format!("{}-headers", site.name()));
    std::fs::write(&secret, "authorization=Bearer for-the-collector\n").unwrap();
    let mut relay = site
        .relay()
        .with("POSTRIDER_TRACING_OTLP_ENDPOINT", &collector.url)
        .with("POSTRIDER_TRACING_SERVICE_NAME", "shop-relay")
        .with("POSTRIDER_TRACING_HEADERS_FILE", &secret.display().to_string())
        .start();
    relay.ready().await;
    std::fs::remove_file(&secret).unwrap();

    let parent = format!("00-{TRACE}-{SPAN}-01");
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    emit(&site, "silent", &format!(r#"{{"traceparent": "{unsampled}"}}"#)).await;
    emit(&site, "traced", &format!(r#"{{"traceparent": "{parent}", "tracestate": "vendor=7"}}"#)).await;

    // What its writer wrote is what consumers get, sampled or not.
    let record = reader.record("the traced event", |record| record.key.as_deref() == Some(b"traced")).await;
    assert_eq!((record.header("traceparent"), record.header("tracestate")), (Some(parent.as_str()), Some("vendor=7")));
    let record = reader.record("the other event", |record| record.key.as_deref() == Some(b"silent")).await;
    assert_eq!(record.header("traceparent"), Some(unsampled.as_str()));

    let hop = collector.span(&format!("send {}", record.topic)).await;
    assert_eq!((hex(&hop.trace_id), hex(&hop.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!(hop.trace_state, "vendor=7");
    assert!(hop.start_time_unix_nano <= hop.end_time_unix_nano);
    let batch = collector.span("outbox batch").await;
    assert_eq!(batch.links.iter().map(|link| hex(&link.span_id)).collect::<Vec<_>>(), [SPAN]);
    assert_eq!(hex(&hop.links[0].span_id), hex(&batch.span_id), "and back");
    let moments: Vec<&str> = batch.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(moments, ["read", "shaped", "accepted"]);
    let told: Vec<&str> = batch.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert!(told.contains(&"postrider.slot") && told.contains(&"postrider.position"), "{told:?}");

    // Nothing else was traced, and nothing of a payload or key is in a span.
    relay.terminate().await.expect(0, &[]);
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert!(!format!("{spans:?}").contains("traced\""), "{spans:#?}");
    let (services, authorizations) = collector.senders();
    assert!(services.iter().all(|service| service.contains("shop-relay")), "{services:?}");
    assert_eq!(authorizations[0], "Bearer for-the-collector");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let site = Site::on("untraced", &newest()).await;
    let reader = site.reader();
    // Bound and let go: nobody answers there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut relay = site
        .relay()
        .with("POSTRIDER_TRACING_OTLP_ENDPOINT", &format!("http://{nowhere}"))
        .with("POSTRIDER_TRACING_SAMPLE_RATIO", "1")
        .start();
    relay.ready().await;
    for key in 0..20 {
        emit(&site, &key.to_string(), "{}").await;
    }
    site.assert_all_arrived(&reader).await;
    let dropped = async || (relay.metric("postrider_spans_dropped_total").await > 0.0).then_some(());
    until("the spans are given up", PATIENCE, dropped).await;
    // The second failure is not told again.
    let before = relay.metric("postrider_spans_dropped_total").await;
    emit(&site, "late", "{}").await;
    let more = async || (relay.metric("postrider_spans_dropped_total").await > before).then_some(());
    until("more spans are given up", PATIENCE, more).await;
    assert_eq!(relay.metric("postrider_spans_exported_total").await, 0.0);
    let log = relay.log();
    assert_eq!(log.matches("the collector does not take spans").count(), 1, "{log}");
    relay.terminate().await.expect(0, &[]);
}
