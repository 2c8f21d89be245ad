//! Stages and status of a relay at work, as metrics, as `postrider status` and as `postrider top --once`.

use std::time::Duration;

use harness::{Load, PATIENCE, Site, newest, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_timed_and_status_and_top_show_a_relay_at_work() {
    let site = Site::on("observe", &newest()).await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    let load = Load::start(&site, 2, Duration::from_millis(5)).await;
    reader.distinct(50).await;

    // The first picture compares two samples while events flow.
    let url = format!("http://{}", relay.admin().expect("a ready relay answers"));
    let top =
        site.relay().argument("--url").argument(&url).argument("--once").argument("--interval-ms").argument("500");
    let top = top.complete("top");
    top.expect(0, &["streaming for", "commit to durable", "deliver"]);
    load.stop().await;
    site.assert_all_arrived(&reader).await;
    assert!(top.said().contains(site.name()), "{}", top.said());

    for stage in ["read", "handover", "shape", "accept", "deliver", "record", "confirm"] {
        let series = format!("postrider_stage_seconds_count{{stage=\"{stage}\"}}");
        let counted = async || (relay.metric(&series).await > 0.0).then_some(());
        until(&format!("stage {stage} is timed"), PATIENCE, counted).await;
    }
    for name in ["postrider_received_bytes_total", "postrider_status_updates_total", "postrider_streams_total"] {
        assert!(relay.metric(name).await > 0.0, "{name}");
    }
    let nothing_waits = async || (relay.metric("postrider_lag_seconds").await == 0.0).then_some(());
    until("nothing waits any more", PATIENCE, nothing_waits).await;

    let status = site.relay().argument("--url").argument(&url);
    status.complete("status").expect(0, &["state        streaming", "position     commit ", "  deliver    p50"]);
    let json = status.argument("--output").argument("json").complete("status");
    let json: serde_json::Value = serde_json::from_str(json.said().trim()).unwrap();
    assert_eq!((json["slot"].as_str(), json["ready"].as_bool()), (Some(site.name()), Some(true)), "{json}");
    assert!(json["delivery"]["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{json}");
    assert!(json["delivered_messages"].as_u64().is_some_and(|count| count >= 50), "{json}");
    relay.terminate().await.expect(0, &[]);
}
