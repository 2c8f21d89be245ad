//! The outbox is polled: relays share the keys, nothing is skipped, and a slot can be left and taken up again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use harness::{Launch, Load, PATIENCE, Record, Site, TopicReader, shared, until};
use uuid::Uuid;

/// A place that is set up for polling: the relay's role may not replicate, and there is no slot.
async fn polled(promise: &str) -> Site {
    let site = Site::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
    site.migrate();
    polling(site.initialiser()).complete("init").expect(0, &["done: create index"]);
    site.create_topics().await;
    site
}

fn polling(launch: Launch) -> Launch {
    launch.with("POSTRIDER_SOURCE_MODE", "polling").with("POSTRIDER_POLLING_LEASE_MS", "1000")
}

/// Every committed event is there, and the first occurrences of each key are in the order of its counter; how many were repeated.
async fn assert_delivered_in_order(site: &Site, reader: &TopicReader) -> usize {
    let ids = site.db().query("select id from outbox_events", &[]).await.unwrap();
    let ids: HashSet<Uuid> = ids.iter().map(|row| row.get(0)).collect();
    reader.distinct(ids.len() as u64).await;
    assert_eq!(reader.ids(), ids, "what arrived is what was committed");
    in_order(&reader.records())
}

fn in_order(records: &[Record]) -> usize {
    let (mut seen, mut newest, mut repeated) = (HashSet::new(), HashMap::new(), 0);
    for record in records {
        if !seen.insert(record.id()) {
            repeated += 1;
            continue;
        }
        let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let n = value["n"].as_u64().unwrap();
        let key = (record.topic.clone(), record.key.clone().unwrap());
        let before = newest.insert(key.clone(), n).unwrap_or(0);
        assert!(n > before, "{key:?}: {n} came after {before}");
    }
    repeated
}

fn emit(key: &str, n: u64) -> String {
    format!(
        "insert into outbox_events (aggregate_type, aggregate_id, event_type, payload)
         values ('order', '{key}', 'Changed', '{{\"n\": {n}}}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_share_the_keys_and_order_is_kept_when_one_is_killed() {
    let site = polled("pollshare").await;
    let reader = site.reader();
    let load = Load::start(&site, 3, Duration::from_millis(2)).await;
    let mut first = polling(site.relay()).start();
    first.ready().await;
    let mut second = polling(site.relay()).start();
    second.ready().await;
    until("the keys are shared", PATIENCE, async || {
        let buckets =
            (first.metric("postrider_polling_buckets").await, second.metric("postrider_polling_buckets").await);
        (buckets == (8.0, 8.0)).then_some(())
    })
    .await;
    first.kill();
    until("the second has all", PATIENCE, async || {
        (second.metric("postrider_polling_buckets").await == 16.0).then_some(())
    })
    .await;
    let mut third = polling(site.relay()).start();
    third.ready().await;
    until("the third takes part", PATIENCE, async || {
        (third.metric("postrider_polling_buckets").await == 8.0).then_some(())
    })
    .await;
    load.stop().await;
    assert_delivered_in_order(&site, &reader).await;
    second.terminate().await.expect(0, &[]);
    third.terminate().await.expect(0, &[]);
    let waiting = site.db().query_one("select count(*) from outbox_events where published_at is null", &[]).await;
    assert_eq!(waiting.unwrap().get::<_, i64>(0), 0, "every delivery is noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_committer_is_not_skipped_and_holds_back_only_its_own() {
    let site = polled("polllate").await;
    let reader = site.reader();
    let mut relay = polling(site.relay()).start();
    relay.ready().await;
    let mut late = site.connect().await;
    let transaction = late.transaction().await.unwrap();
    transaction.batch_execute(&emit("late", 1)).await.unwrap();
    for n in 1..=50 {
        site.sql(&emit("other", n)).await;
    }
    reader.distinct(50).await;
    transaction.batch_execute(&emit("late", 2)).await.unwrap();
    transaction.commit().await.unwrap();
    site.sql(&emit("late", 3)).await;
    reader.distinct(53).await;
    assert_eq!(assert_delivered_in_order(&site, &reader).await, 0, "nothing was repeated");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_what_the_log_would_give_but_for_its_position_and_delivered_rows_can_be_deleted() {
    let site = polled("polldelete").await;
    let deleting = |launch: Launch| polling(launch).with("POSTRIDER_POLLING_AFTER", "delete");
    deleting(site.initialiser()).complete("init").expect(0, &["grant delete"]);
    deleting(site.administrator()).complete("check").expect(0, &[]);
    let reader = site.reader();
    let mut relay = deleting(site.relay()).start();
    relay.ready().await;
    site.sql(
        "insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload, headers, created_at)
         values ('018f0000-0000-7000-8000-000000000001', 'order', 'o-1', 'OrderPlaced', '{\"price\": 1.10}',
                 '{\"correlation-id\": \"c1\"}', '2026-01-02 03:04:05.678+00')",
    )
    .await;
    let record = reader.record("the event", |_| true).await;
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"o-1"[..]), Some(&br#"{"price": 1.10}"#[..])));
    assert_eq!(record.header("id"), Some("018f0000-0000-7000-8000-000000000001"));
    assert_eq!((record.header("event_type"), record.header("correlation-id")), (Some("OrderPlaced"), Some("c1")));
    assert_eq!(record.header("postrider-position"), None);
    assert_eq!(record.timestamp_ms, 1_767_323_045_678);
    until("the row is gone", PATIENCE, async || (site.committed().await == 0).then_some(())).await;
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_goes_on_where_a_slot_was_left_and_a_new_slot_goes_on_after_it() {
    let site = Site::new("pollback").await;
    let reader = site.reader();
    let load = Load::start(&site, 2, Duration::from_millis(2)).await;
    let mut relay = site.relay().start();
    relay.ready().await;
    until("most of what came is known to be delivered", PATIENCE, async || {
        let below = site.delivered_below().await?;
        let rows = format!("select count(*) from outbox_events where xmin::text::bigint < {below}");
        let known = site.db().query_one(&rows, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs() as usize;
        let came = reader.ids().len();
        (came > 600 && 4 * known > 3 * came).then_some(())
    })
    .await;
    relay.terminate().await.expect(0, &[]);

    polling(site.initialiser()).complete("init").expect(0, &["grant update", "create index"]);
    let by_slot = reader.ids();
    let mut relay = polling(site.relay()).start();
    relay.ready().await;
    relay.logs(&["delivered_below"]).await;
    until("polling delivers", PATIENCE, async || (reader.ids().len() > by_slot.len() + 300).then_some(())).await;
    let again: BTreeSet<Uuid> =
        reader.occurrences().into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id).collect();
    assert!(again.len() < by_slot.len() / 2, "{} of {} came again", again.len(), by_slot.len());
    until("what the slot delivered is marked", PATIENCE, async || {
        let waiting = "select count(*) < 100 from outbox_events where published_at is null";
        site.db().query_one(waiting, &[]).await.unwrap().get::<_, bool>(0).then_some(())
    })
    .await;
    // The old slot still has all of it: it must not be taken up as if nothing had happened.
    relay.terminate().await.expect(0, &[]);
    site.relay().start().ended().await.expect(1, &["delivered a second time", "postrider slot recover"]);

    site.sql(&format!("select pg_drop_replication_slot('{}')", site.name())).await;
    let written = load.stop().await;
    assert!(written > 0);
    site.sql(&emit("waits", 1)).await;
    site.initialiser().argument("--backlog").argument("publish").complete("init").expect(0, &["create slot"]);
    let before = reader.count();
    let mut relay = site.relay().start();
    relay.ready().await;
    site.sql(&emit("waits", 2)).await;
    assert_delivered_in_order(&site, &reader).await;
    assert!(reader.count() - before < 1000, "the new slot repeats only what waited");
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_slot_is_lost_polls_until_the_slot_is_recovered() {
    let site = Site::new("pollfall").await;
    let falling =
        |launch: Launch| launch.with("POSTRIDER_SOURCE_FALLBACK", "polling").with("POSTRIDER_POLLING_LEASE_MS", "1000");
    let slot = |verb: &str| falling(site.administrator()).argument(verb);
    falling(site.initialiser()).complete("init").expect(0, &["done: create index", "grant update"]);
    falling(site.administrator()).complete("check").expect(0, &[]);
    let reader = site.reader();
    let load = Load::start(&site, 3, Duration::from_millis(2)).await;
    let mut relay = falling(site.relay()).start();
    relay.ready().await;
    reader.distinct(50).await;
    slot("drop")
        .argument(site.name())
        .argument("--yes")
        .argument("--force")
        .complete("slot")
        .expect(0, &["done: drop"]);
    relay.logs(&["the slot is lost", "postrider slot recover"]).await;
    relay.ready().await;
    reader.distinct(300).await;
    assert_eq!(relay.metric("postrider_polling_instead_of_slot").await, 1.0);
    // Rows that are polled must not be written anew beside it.
    slot("recover").argument("--yes").complete("slot").expect(1, &["works for slot", "also those that poll"]);
    relay.terminate().await.expect(0, &[]);
    // Started again it polls on: nobody made the slot.
    let mut relay = falling(site.relay()).start();
    relay.ready().await;
    relay.logs(&["polled instead"]).await;
    relay.terminate().await.expect(0, &[]);

    slot("recover").argument("--yes").complete("slot").expect(0, &[]);
    let mut relay = falling(site.relay()).start();
    relay.ready().await;
    assert_eq!(relay.metric("postrider_polling_instead_of_slot").await, 0.0);
    load.stop().await;
    assert_delivered_in_order(&site, &reader).await;
    relay.terminate().await.expect(0, &[]);
}
