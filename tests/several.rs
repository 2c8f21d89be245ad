//! Several relays in one process: each delivers its own, none is stopped by another's trouble, and all are stopped together.

use std::time::Duration;

use harness::{Launch, Load, PATIENCE, Relay, Site, until};

/// A few events while the test looks.
const WRITERS: (u64, Duration) = (1, Duration::from_millis(5));

/// One process for the relays of these two sites, `eu` and `us`.
fn both(eu: &Site, us: &Site) -> Launch {
    let of_relay = |name: &str, site: &Site| {
        let own = site.toml();
        let (own, of_process) = own.split_once("[admin]").expect("its endpoint is told last");
        (own.replace('[', &format!("[relays.{name}.")), format!("[admin]{of_process}"))
    };
    let ((of_eu, of_process), (of_us, _)) = (of_relay("eu", eu), of_relay("us", us));
    eu.worker("both", &format!("{of_process}{of_eu}{of_us}"))
}

/// Waits until events of a site arrive that were written after the call.
async fn goes_on(reader: &harness::TopicReader) {
    let before = reader.count();
    until("events arrive", PATIENCE, async || (reader.count() > before + 20).then_some(())).await;
}

/// Drops the slot, although a relay takes it again as soon as it can.
async fn drop_slot(site: &Site) {
    let name = site.name();
    site.sql(&format!(
        "do $$ begin loop begin \
             perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{name}'; \
             perform pg_drop_replication_slot('{name}'); exit; \
         exception when object_in_use then null; end; end loop; end $$"
    ))
    .await;
}

async fn status(relay: &Relay, path: &str) -> serde_json::Value {
    let (_, text) = relay.get(path).await.expect("it answers");
    serde_json::from_str(&text).expect("it is JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_databases_in_one_process_are_delivered_each_to_its_own_topics_and_drained_together() {
    let (eu, us) = tokio::join!(Site::new("several_eu"), Site::new("several_us"));
    let (of_eu, of_us) = (eu.reader(), us.reader());
    let loads = (Load::start(&eu, WRITERS.0, WRITERS.1).await, Load::start(&us, WRITERS.0, WRITERS.1).await);
    let launch = both(&eu, &us);
    let mut relay = launch.start();
    relay.ready().await;
    goes_on(&of_eu).await;
    goes_on(&of_us).await;

    let (_, metrics) = relay.get("/metrics").await.expect("it answers");
    for series in ["postrider_up{relay=\"eu\"} 1", "postrider_up{relay=\"us\"} 1"] {
        assert!(metrics.contains(series), "{series} in\n{metrics}");
    }
    let all = status(&relay, "/status").await;
    assert_eq!(all["relays"]["eu"]["slot"], eu.name());
    let only = status(&relay, "/relays/us/status").await;
    assert_eq!((&only["slot"], &only["state"]), (&us.name().into(), &"streaming".into()));
    // What a person asks, in the same words.
    let url = format!("http://{}", relay.admin().expect("it listens"));
    let asking = launch.clone().argument("--url").argument(&url);
    asking.complete("status").expect(0, &["relay        eu", "relay        us", eu.name(), us.name()]);

    loads.0.stop().await;
    loads.1.stop().await;
    let ended = relay.terminate().await;
    ended.expect(0, &["relay=\"eu\"", "relay=\"us\"", "stopped"]);
    for (site, reader) in [(&eu, &of_eu), (&us, &of_us)] {
        let findings = site.assert_all_arrived(reader).await;
        assert_eq!(findings.duplicated, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_one_stops_it_alone_and_the_process_says_whose_it_was() {
    let (eu, us) = tokio::join!(Site::new("gap_eu"), Site::new("gap_us"));
    let reader = us.reader();
    let of_eu = eu.reader();
    let load = Load::start(&us, WRITERS.0, WRITERS.1).await;
    eu.sql("select postrider.emit('order', 'k', 'Placed', '{}') from generate_series(1, 30)").await;
    let mut relay = both(&eu, &us).start();
    relay.ready().await;
    until("the events of eu arrive", PATIENCE, async || (of_eu.count() >= 30).then_some(())).await;

    drop_slot(&eu).await;
    let why = relay.unready(&["eu: stopped by an error"]).await;
    assert!(!why.contains("us:"), "{why}");
    relay.logs(&["ended by an error", "relay=\"eu\""]).await;
    assert!(relay.metric("postrider_ended_by_error").await >= 1.0);
    let all = status(&relay, "/status").await;
    assert_eq!(
        (&all["relays"]["eu"]["state"], &all["relays"]["us"]["state"]),
        (&"stopped".into(), &"streaming".into())
    );
    goes_on(&reader).await;

    load.stop().await;
    let ended = relay.terminate().await;
    ended.expect(1, &["1 of 2 relays ended by an error: eu: "]);
    us.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_one_is_waited_for_by_it_alone() {
    let (eu, us) = tokio::join!(Site::new("away_eu"), Site::new("away_us"));
    let reader = us.reader();
    let load = Load::start(&us, WRITERS.0, WRITERS.1).await;
    // Nobody listens there; and what all may hold is little.
    let launch = both(&eu, &us)
        .with("POSTRIDER_RELAYS_EU_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .with("POSTRIDER_PROCESS_IN_FLIGHT_BYTES_MAX", "1048576");
    let mut relay = launch.start();
    let why = relay.unready(&["not ready: eu: "]).await;
    goes_on(&reader).await;
    assert!(!relay.unready(&["eu: "]).await.contains("us: "), "{why}");
    load.stop().await;
    relay.terminate().await.expect(0, &[]);
    us.assert_all_arrived(&reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_runs() {
    let site = Site::new("rivals").await;
    both(&site, &site).complete("run").expect(2, &["the relays eu and us read the same slot", site.name()]);

    let wrong = site.worker("wrong", "[relays.eu.source]\nslto = 'a'\n");
    wrong
        .complete("run")
        .expect(2, &["wrong.toml:2:1: unknown key `relays.eu.source.slto`", "`relays.eu.source.slot`"]);

    // A verb about one relay needs to know which; one about the set-up does all.
    let several = both(&site, &site);
    let which = "there are several relays, eu, us: say which is meant with --relay NAME";
    several.clone().argument("stats").complete("outbox").expect(2, &[which]);
    let stats = several.clone().argument("stats").argument("--relay");
    stats.clone().argument("as").complete("outbox").expect(2, &["no relay is called \"as\": there are eu, us"]);
    stats.argument("us").complete("outbox").expect(0, &["outbox_events"]);
    let administrator = several.with("POSTRIDER_ADMIN_URL", &site.server().url(site.name()));
    administrator.complete("migrate").expect(0, &["nothing to do"]);
    administrator.complete("init").expect(0, &[]);
}
