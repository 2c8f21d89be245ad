//! Each strategy makes exactly what it names stale, whatever is repeated or comes out of order.

use postrider_relay::pipeline::{Durable, Sink};
use postrider_relay::shape::rules::options::Does;
use postrider_relay::sinks::redis::keys;

use super::place::{Place, batch, change, deliver, rule};

const TOPIC: &str = "cdc.posts";

#[tokio::test]
async fn a_generation_rises_and_what_was_filled_before_is_stale() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Generation, &[format!("{prefix}:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    let (tag, page, other) = (place.name("42"), place.name("page:42:0:20"), place.name("43"));
    assert_eq!(place.read(&tag, &page).await, "miss");
    assert_eq!(place.read(&other, &place.name("page:43")).await, "miss");
    assert_eq!(place.read(&tag, &page).await, "hit");
    // A reader that began before the change must not be able to store what it read.
    let (_, token) = place.open(&tag, &place.name("page:42:20:20")).await;

    let fate = deliver(&mut sink, batch(TOPIC, &[change(10, "c", "null", r#"{"id":1,"author_id":42}"#)])).await;

    assert_eq!(fate, Durable::default());
    assert!(!place.fill(&tag, &place.name("page:42:20:20"), &token).await, "its token is void");
    assert_eq!(place.read(&tag, &page).await, "stale");
    assert_eq!(place.read(&tag, &page).await, "hit");
    assert_eq!(place.read(&other, &place.name("page:43")).await, "hit", "another family is left alone");
}

#[tokio::test]
async fn what_comes_again_or_late_changes_nothing() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Generation, &[format!("{prefix}:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    let (tag, page) = (place.name("42"), place.name("page"));
    place.read(&tag, &page).await;
    let row = r#"{"author_id":42}"#;
    for position in [20, 20, 7, 19, 20] {
        deliver(&mut sink, batch(TOPIC, &[change(position, "u", row, row)])).await;
        if position == 20 && place.open(&tag, &page).await.0 == "stale" {
            place.read(&tag, &page).await;
        }
        assert_eq!(place.open(&tag, &page).await.0, "hit", "{position}");
    }
    // Positions that differ in their highest digits only, where a double would see no difference.
    let high = 1_u128 << 112;
    deliver(&mut sink, batch(TOPIC, &[change(high | 1, "u", row, row)])).await;
    assert_eq!(place.read(&tag, &page).await, "stale");
    deliver(&mut sink, batch(TOPIC, &[change(high, "u", row, row)])).await;
    assert_eq!(place.read(&tag, &page).await, "hit");
    deliver(&mut sink, batch(TOPIC, &[change(high | 2, "u", row, row)])).await;
    assert_eq!(place.read(&tag, &page).await, "stale");
    let advanced = place.metrics.redis.invalidations.with_label_values(&["generation", "advanced"]).get();
    let passed = place.metrics.redis.invalidations.with_label_values(&["generation", "passed"]).get();
    assert_eq!((advanced, passed), (3, 5));
}

#[tokio::test]
async fn a_generation_that_nobody_uses_costs_nothing() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Generation, &[format!("{prefix}:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    deliver(&mut sink, batch(TOPIC, &[change(1, "c", "null", r#"{"author_id":42}"#)])).await;
    let tag = place.name("42");
    assert!(!place.exists(&keys::generation(&tag)).await);
    assert_eq!(place.metrics.redis.invalidations.with_label_values(&["generation", "absent"]).get(), 1);
}

#[tokio::test]
async fn a_tag_removes_every_key_that_its_set_names() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Tags, &[format!("{prefix}:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    let (set, kept) = (keys::tag_set(&place.name("42")), place.name("kept"));
    for number in 0..2500 {
        let page = place.name(&format!("page:{number}"));
        place.run::<()>(&["SET", &page, "x"]).await;
        place.run::<()>(&["SADD", &set, &page]).await;
    }
    place.run::<()>(&["SET", &kept, "x"]).await;

    deliver(&mut sink, batch(TOPIC, &[change(1, "d", r#"{"author_id":42}"#, "null")])).await;

    let left: Vec<String> = place.run(&["KEYS", &place.name("page:*")]).await;
    assert!(left.is_empty(), "{} are left", left.len());
    assert!(place.exists(&kept).await && !place.exists(&set).await);
    assert_eq!(place.metrics.redis.invalidations.with_label_values(&["tags", "removed"]).get(), 2500);
}

#[tokio::test]
async fn exact_keys_are_removed_and_each_once_whatever_asks_for_it() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Keys, &[format!("{prefix}:user:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    for user in 0..300 {
        place.run::<()>(&["SET", &place.name(&format!("user:{user}")), "x"]).await;
    }
    let changes: Vec<_> =
        (0..600).map(|n| change(n, "u", "null", &format!(r#"{{"author_id":{}}}"#, n % 200))).collect();

    deliver(&mut sink, batch(TOPIC, &changes)).await;

    let left: Vec<String> = place.run(&["KEYS", &place.name("user:*")]).await;
    assert_eq!(left.len(), 100);
    assert_eq!(place.metrics.redis.invalidations.with_label_values(&["keys", "removed"]).get(), 200);
    assert_eq!(place.metrics.redis.coalesced.get(), 400);
}

#[tokio::test]
async fn a_pattern_removes_what_matches_and_a_value_in_it_matches_only_itself() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Pattern, &[format!("{prefix}:feed:{{name}}:*")])]).await;
    let mut sink = place.sink().await;
    for name in ["ann", "bob", "*", "a*n", "a?n", "[a-z]nn", "a\\nn"] {
        for page in ["0:20", "20:20"] {
            place.run::<()>(&["SET", &place.name(&format!("feed:{name}:{page}")), "x"]).await;
        }
    }
    for (position, name, left) in [(1, "a*n", 12), (2, "*", 10), (3, "[a-z]nn", 8), (4, "a\\\\nn", 6), (5, "ann", 4)] {
        let row = format!(r#"{{"name":"{name}"}}"#);
        deliver(&mut sink, batch(TOPIC, &[change(position, "u", &row, &row)])).await;
        let found: Vec<String> = place.run(&["KEYS", &place.name("feed:*")]).await;
        assert_eq!(found.len(), left, "{name}: {found:?}");
    }
    assert_eq!(place.metrics.redis.sweeps.get(), 5);
}

#[tokio::test]
async fn patterns_that_wait_share_one_search() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Pattern, &[format!("{prefix}:feed:{{id}}:*")])]).await;
    let mut sink = place.sink().await;
    for id in 0..200 {
        place.run::<()>(&["SET", &place.name(&format!("feed:{id}:0")), "x"]).await;
    }
    let changes: Vec<_> = (0..200).map(|id| change(id, "u", "null", &format!(r#"{{"id":{id}}}"#))).collect();
    deliver(&mut sink, batch(TOPIC, &changes)).await;
    let left: Vec<String> = place.run(&["KEYS", &place.name("feed:*")]).await;
    assert!(left.is_empty());
    assert_eq!(place.metrics.redis.sweeps.get(), 1);
}

#[tokio::test]
async fn what_no_rule_can_be_applied_to_is_refused_and_the_rest_is_done() {
    let mut place =
        Place::shared(|prefix| vec![rule("a", TOPIC, Does::Keys, &[format!("{prefix}:{{author_id}}")])]).await;
    let mut sink = place.sink().await;
    for user in ["1", "2"] {
        place.run::<()>(&["SET", &place.name(user), "x"]).await;
    }
    let mut changes = vec![
        change(1, "c", "null", r#"{"author_id":1}"#),
        change(2, "c", "null", r#"{"author_id":null}"#),
        change(3, "c", "null", r#"{"writer_id":1}"#),
        change(4, "c", "null", r#"{"author_id":""}"#),
        change(5, "c", "null", r#"{"author_id":{"a":1}}"#),
        change(6, "c", "null", r#"{"author_id":2}"#),
    ];
    changes.push((7, b"{\"after\":{\"author_id\":\"\xff\"},\"op\":\"c\"}".to_vec()));
    changes.push((8, b"{\"after\":{\"author_id\":\"\0\"},\"op\":\"c\"}".to_vec()));
    changes.push((9, b"no json".to_vec()));
    let messages = batch(TOPIC, &changes);

    let refused = sink.admit(&messages).await.unwrap();
    let fate = deliver(&mut sink, messages).await;

    let indexes: Vec<usize> = refused.iter().map(|refused| refused.index).collect();
    assert_eq!(indexes, [1, 2, 3, 4, 6, 7, 8]);
    assert_eq!(fate.refused, refused, "sent all the same, they are told by the receipt");
    for (reason, says) in
        refused.iter().zip(["is null", "it has writer_id", "is empty", "object", "JSON", "JSON", "JSON"])
    {
        assert!(reason.reason.contains(says), "{says}: {}", reason.reason);
    }
    assert!(!place.exists(&place.name("1")).await && !place.exists(&place.name("2")).await);
}
