//! An event that can never be delivered holds only its key; the rest goes on, the slot follows, and a retry keeps the order.

mod lot;
mod poison;

use std::time::Duration;

use harness::{PATIENCE, Record, Site, TopicReader, until};

use self::lot::{Row, act, limit, parked, rows, states};

/// What the topics of these tests take, in bytes.
const SMALL: &str = "20000";
/// What they take when they are mended.
const LARGE: &str = "1000000";
/// The variable of further properties, and one by which the producer itself takes only small events.
const PROPERTIES: &str = "POSTRIDER_KAFKA_PROPERTIES";
const NARROW: &str = "message.max.bytes=20000";

async fn emit(site: &Site, key: &str, n: i64) {
    let emit = "select postrider.emit('order', $1, 'Changed', jsonb_build_object('n', $2::bigint))";
    site.db().execute(emit, &[&key, &n]).await.unwrap();
}

/// An event of some hundred kilobytes that do not compress.
async fn emit_large(site: &Site, key: &str, n: i64) {
    let emit = "select postrider.emit('order', $1, 'Large', jsonb_build_object('n', $2::bigint, 'text',
                   (select string_agg(md5(random()::text), '') from generate_series(1, 4000))))";
    site.db().execute(emit, &[&key, &n]).await.unwrap();
}

/// A place whose topics take only small events.
async fn narrow(promise: &str) -> Site {
    let site = Site::new(promise).await;
    for topic in site.topics().names() {
        limit(&site, &topic, SMALL).await;
    }
    site
}

async fn widen(site: &Site) {
    for topic in site.topics().names() {
        limit(site, &topic, LARGE).await;
    }
}

/// The counters that arrived of a key, in order, each at its first occurrence.
fn counters(reader: &TopicReader, key: &str) -> Vec<u64> {
    let mut seen = Vec::new();
    for record in reader.records().iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())) {
        let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let n = value["n"].as_u64().unwrap();
        if !seen.contains(&n) {
            seen.push(n);
        }
    }
    seen
}

/// Waits until the slot has passed all that is written now.
async fn slot_follows(site: &Site) {
    let end = site.wal_end().await;
    until("the slot follows", PATIENCE, async || (site.confirmed().await >= end).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_of_a_refused_event_waits_and_a_retry_after_the_mend_keeps_its_order() {
    let site = narrow("parkone").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    emit(&site, "k", 1).await;
    emit_large(&site, "k", 2).await;
    emit(&site, "k", 3).await;
    emit(&site, "other", 1).await;
    emit(&site, "k", 4).await;
    parked(&site, 3).await;
    slot_follows(&site).await;
    reader.read_to_the_end().await;
    assert_eq!((counters(&reader, "k"), counters(&reader, "other")), (vec![1], vec![1]));
    assert_eq!(states(&site).await, ["parked", "waiting", "waiting"]);
    assert!(relay.metric("postrider_held_keys").await == 1.0 && relay.metric("postrider_parked_events").await == 3.0);
    let (_, status) = relay.get("/status").await.unwrap();
    assert!(status.contains("\"held_keys\":1"), "{status}");
    // The log names the event and the reason, and neither its key nor what it holds.
    relay.logs(&["parked events that cannot be delivered", "key_hash"]).await;
    assert!(!relay.log().contains("\"text\""), "{}", relay.log());

    // Before the mend, another attempt parks it again, with those behind it.
    act(&site, &["retry", "--all"], &["retry: "]);
    until("it was tried", PATIENCE, async || (rows(&site).await[0].attempts > 0).then_some(())).await;
    assert_eq!(states(&site).await, ["parked", "waiting", "waiting"]);
    assert_eq!(counters(&reader, "k"), [1]);

    widen(&site).await;
    act(&site, &["retry", "--all", "--by", "ann"], &["retry: "]);
    emit(&site, "k", 5).await;
    site.assert_all_arrived(&reader).await;
    assert_eq!(counters(&reader, "k"), [1, 2, 3, 4, 5]);
    until("the key is free", PATIENCE, async || (relay.metric("postrider_held_keys").await == 0.0).then_some(())).await;
    let audit = "select string_agg(concat_ws(' ', verb, by_whom), ', ' order by id) from postrider.parked_log where position = $1";
    let first = rows(&site).await[0].position.clone();
    let audit: String = site.db().query_one(audit, &[&first]).await.unwrap().get(0);
    assert_eq!(audit, "park, retry, refuse, retry ann, deliver");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_keys_are_held_after_a_restart_and_what_was_asked_for_meanwhile_is_done_first() {
    let site = narrow("parkrestart").await;
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    for key in ["a", "b", "c"] {
        emit_large(&site, key, 1).await;
        emit(&site, key, 2).await;
    }
    parked(&site, 6).await;
    relay.kill();

    emit(&site, "a", 3).await;
    emit(&site, "b", 3).await;
    emit(&site, "d", 1).await;
    let of = |key: &'static str, rows: Vec<Row>| {
        rows.into_iter().find(|row| row.key == key && row.state == "parked").map(|row| row.position).unwrap()
    };
    widen(&site).await;
    act(&site, &["retry", &of("a", rows(&site).await)], &[]);
    act(&site, &["skip", &of("b", rows(&site).await)], &[]);
    let mut relay = site.relay().start();
    relay.ready().await;
    reader.record("another key goes on", |record| record.key.as_deref() == Some(b"d")).await;
    let arrived = async |key: &str, last: u64| {
        until("the key goes on", PATIENCE, async || (counters(&reader, key).last() == Some(&last)).then_some(())).await;
    };
    arrived("a", 3).await;
    arrived("b", 3).await;
    assert_eq!(counters(&reader, "a"), [1, 2, 3]);
    assert_eq!(counters(&reader, "b"), [2, 3], "the first was skipped");
    assert_eq!(counters(&reader, "c"), Vec::<u64>::new(), "nobody asked for it");
    act(&site, &["discard", "--all"], &["discard: "]);
    arrived("c", 2).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_ends_between_parking_and_its_progress_parks_nothing_twice() {
    let site = narrow("parkkill").await;
    let reader = site.reader();
    emit(&site, "k", 1).await;
    emit_large(&site, "k", 2).await;
    // As by a power cut: the event is parked, and nothing else knows of it.
    let ended = site.relay().with("POSTRIDER_FAILPOINT", "parking.parked").start().ended().await;
    assert_ne!(ended.code(), Some(0), "{}", ended.said());
    assert_eq!(states(&site).await, ["parked"]);
    emit(&site, "k", 3).await;
    let mut relay = site.relay().start();
    relay.ready().await;
    parked(&site, 2).await;
    slot_follows(&site).await;
    assert_eq!(states(&site).await, ["parked", "waiting"]);
    let audit = "select string_agg(verb, ', ' order by id) from postrider.parked_log";
    assert_eq!(site.db().query_one(audit, &[]).await.unwrap().get::<_, String>(0), "park, wait");

    widen(&site).await;
    act(&site, &["retry", "--all"], &["retry: "]);
    site.assert_all_arrived(&reader).await;
    assert_eq!(counters(&reader, "k"), [1, 2, 3]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_and_where_it_belonged_and_its_key_goes_on() {
    let site = narrow("deadletter").await;
    let (dead, order) = (format!("{}.dead", site.name()), format!("{}.outbox.event.order", site.name()));
    lot::create_topic(&site, &dead).await;
    let letters = TopicReader::start(site.bootstrap(), [(dead.clone(), 0)]);
    let reader = site.reader();
    let mut relay = site
        .relay()
        .with("POSTRIDER_OUTBOX_ON_REFUSAL", "dead_letter")
        .with("POSTRIDER_OUTBOX_DEAD_LETTER_TOPIC", &dead)
        .start();
    relay.ready().await;
    emit(&site, "k", 1).await;
    emit_large(&site, "k", 2).await;
    emit(&site, "k", 3).await;
    let letter = letters.record("the dead letter arrives", |_| true).await;
    reader.distinct(2).await;
    assert_eq!(counters(&reader, "k"), [1, 3]);
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letter.header("event_type"), Some("Large"));
    assert_eq!(letter.header("postrider-dead-letter-topic"), Some(order.as_str()));
    assert_eq!(letter.header("postrider-dead-letter-position"), letter.header("postrider-position"));
    assert!(
        letter.header("postrider-dead-letter-reason").is_some_and(|why| why.contains("max.message.bytes")),
        "{letter:?}"
    );
    assert_eq!(states(&site).await, Vec::<String>::new());
    assert!(relay.metric("postrider_dead_lettered_total").await == 1.0);

    // What the dead-letter topic cannot take either is parked, and holds its key.
    limit(&site, &dead, SMALL).await;
    relay.terminate().await.expect(0, &[]);
    let mut relay = site
        .relay()
        .with("POSTRIDER_OUTBOX_ON_REFUSAL", "dead_letter")
        .with("POSTRIDER_OUTBOX_DEAD_LETTER_TOPIC", &dead)
        .start();
    relay.ready().await;
    emit_large(&site, "k", 4).await;
    emit(&site, "k", 5).await;
    parked(&site, 2).await;
    assert!(rows(&site).await[0].reason.contains("dead-letter topic"), "{:?}", rows(&site).await);
    assert_eq!(rows(&site).await[0].topic, order);
    lot::delete_topic(&site, &dead).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lot_holds_the_stream_and_says_so_until_there_is_room() {
    let site = narrow("lotfull").await;
    let reader = site.reader();
    let mut relay = site.relay().with("POSTRIDER_PARKING_EVENTS_MAX", "2").start();
    relay.ready().await;
    for key in ["a", "b"] {
        emit_large(&site, key, 1).await;
    }
    parked(&site, 2).await;
    emit_large(&site, "c", 1).await;
    emit(&site, "d", 1).await;
    relay.unready(&["the lot has no room", "2 of 2 events"]).await;
    assert!(relay.metric("postrider_parking_full").await == 1.0);
    assert_eq!(reader.count(), 0);
    let first = rows(&site).await[0].position.clone();
    act(&site, &["discard", &first], &["discard: "]);
    reader.record("the stream goes on", |record| record.key.as_deref() == Some(b"d")).await;
    assert_eq!(states(&site).await, ["discarded", "parked", "parked"]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_the_stream_waits_and_names_the_command_and_goes_on_when_it_is_there() {
    let site = narrow("nolot").await;
    let reader = site.reader();
    site.sql("alter table postrider.parked rename to elsewhere").await;
    let mut relay = site.relay().start();
    relay.ready().await;
    relay.logs(&["nothing can be parked", "postrider migrate"]).await;
    emit(&site, "k", 1).await;
    emit_large(&site, "k", 2).await;
    emit(&site, "k", 3).await;
    relay.unready(&["postrider.parked"]).await;
    site.sql("alter table postrider.elsewhere rename to parked").await;
    parked(&site, 2).await;
    reader.distinct(1).await;
    slot_follows(&site).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerouted_event_arrives_where_it_was_sent_and_its_key_goes_on() {
    let site = narrow("reroute").await;
    let other = format!("{}.large", site.name());
    lot::create_topic(&site, &other).await;
    let elsewhere = TopicReader::start(site.bootstrap(), [(other.clone(), 0)]);
    let reader = site.reader();
    let mut relay = site.relay().start();
    relay.ready().await;
    emit_large(&site, "k", 1).await;
    emit(&site, "k", 2).await;
    parked(&site, 2).await;
    act(&site, &["retry", "--all", "--reroute", &other], &["retry: "]);
    elsewhere.record("it arrives elsewhere", |record: &Record| record.header("event_type") == Some("Large")).await;
    until("its key goes on", PATIENCE, async || (counters(&reader, "k") == [2]).then_some(())).await;
    until("all is settled", Duration::from_secs(30), async || {
        states(&site).await.iter().all(|state| state == "delivered").then_some(())
    })
    .await;
    lot::delete_topic(&site, &other).await;
    relay.terminate().await.expect(0, &[]);
}
