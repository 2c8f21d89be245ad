//! The second pass: it comes, it asks for no position, and a receipt waits for it.

use std::time::{Duration, Instant};

use postrider_relay::pipeline::Sink;
use postrider_relay::shape::rules::options::Does;

use super::place::{PATIENCE, Place, batch, change, deliver, durable, rule};

const TOPIC: &str = "cdc.posts";
const LATER: Duration = Duration::from_millis(1500);

async fn place(does: Does, rest: &'static str) -> Place {
    let mut place = Place::shared(|prefix| vec![rule("a", TOPIC, does, &[format!("{prefix}:{rest}")])]).await;
    place.options.second_pass = LATER;
    place
}

/// Waits until a page is not fresh any more: the first pass was there.
async fn until_stale(place: &mut Place, tag: &str, page: &str) {
    let until = Instant::now() + PATIENCE;
    while place.open(tag, page).await.0 == "hit" {
        assert!(Instant::now() < until, "nothing came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_filled_between_the_passes_is_stale_after_the_second_and_counted() {
    let mut place = place(Does::Generation, "{author_id}").await;
    let mut sink = place.sink().await;
    let (tag, page) = (place.name("42"), place.name("page"));
    place.read(&tag, &page).await;
    let sent = Instant::now();
    let row = r#"{"author_id":42}"#;
    let receipt = sink.send(batch(TOPIC, &[change(10, "u", row, row)])).await.unwrap();
    until_stale(&mut place, &tag, &page).await;
    // Read from before the change was visible, with a token from after the first pass.
    assert_eq!(place.read(&tag, &page).await, "stale");
    assert_eq!(place.open(&tag, &page).await.0, "hit");
    let (_, in_flight) = place.open(&tag, &place.name("page-2")).await;
    assert!(sent.elapsed() < LATER, "this machine is too slow for this test");

    durable(receipt).await;

    assert!(sent.elapsed() >= LATER - Duration::from_millis(50), "the receipt waits for the second pass");
    assert_eq!(place.open(&tag, &page).await.0, "stale");
    assert!(!place.fill(&tag, &place.name("page-2"), &in_flight).await, "a fill that was under way is void too");
    assert_eq!(place.metrics.redis.second_pass_hits.with_label_values(&["generation"]).get(), 1);
    assert_eq!(place.metrics.redis.pending.get(), 0);
}

#[tokio::test]
async fn the_second_pass_removes_keys_and_what_a_search_finds() {
    for (does, rest, strategy) in
        [(Does::Keys, "feed:{author_id}", "keys"), (Does::Pattern, "feed:{author_id}*", "pattern")]
    {
        let mut place = place(does, rest).await;
        let mut sink = place.sink().await;
        let key = place.name("feed:42");
        place.run::<()>(&["SET", &key, "old"]).await;
        let receipt = sink.send(batch(TOPIC, &[change(10, "u", "null", r#"{"author_id":42}"#)])).await.unwrap();
        let until = Instant::now() + PATIENCE;
        while place.exists(&key).await {
            assert!(Instant::now() < until, "nothing came");
            tokio::task::yield_now().await;
        }
        place.run::<()>(&["SET", &key, "old again"]).await;
        durable(receipt).await;
        assert!(!place.exists(&key).await, "{strategy}");
        assert_eq!(place.metrics.redis.second_pass_hits.with_label_values(&[strategy]).get(), 1, "{strategy}");
    }
}

#[tokio::test]
async fn closing_waits_for_the_second_pass_and_a_reset_gives_it_up() {
    let place = place(Does::Keys, "feed:{author_id}").await;
    let sink = &mut place.sink().await;
    let given_up = sink.send(batch(TOPIC, &[change(10, "u", "null", r#"{"author_id":42}"#)])).await.unwrap();
    sink.reset().await.unwrap();
    given_up.await.expect_err("it is not durable, and comes again");
    assert_eq!(place.metrics.redis.pending.get(), 0);

    let mut sink = place.sink().await;
    let receipt = sink.send(batch(TOPIC, &[change(10, "u", "null", r#"{"author_id":42}"#)])).await.unwrap();
    sink.close(PATIENCE).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), receipt).await.expect("decided").expect("durable");
}

#[tokio::test]
async fn what_is_pending_is_bounded() {
    let mut place = place(Does::Keys, "feed:{author_id}").await;
    place.options.pending_bytes_max = 1;
    let mut sink = place.sink().await;
    let of = |position| batch(TOPIC, &[change(position, "u", "null", r#"{"author_id":42}"#)]);
    let started = Instant::now();
    let first = sink.send(of(1)).await.unwrap();
    let second = sink.send(of(2)).await.unwrap();
    assert!(started.elapsed() >= LATER - Duration::from_millis(50), "the second batch waits for the first one");
    durable(first).await;
    durable(second).await;
    deliver(&mut sink, of(3)).await;
}
