//! Sorted sets of the recent past by points: Nova's trending posts.

use std::collections::BTreeMap;
use std::time::Duration;

use postrider_relay::shape::rules::options::{Does, RuleOptions};
use postrider_relay::telemetry::Metrics;
use redis::AsyncCommands;
use tokio::time::Instant;

use super::scene::{Event, batch, connect, deliver, now_ms, open, rule, unique};

/// Nova's weights, for one key.
fn trending(key: &str) -> Vec<RuleOptions> {
    let of = |action: &str, weight| {
        let when = vec![format!("action = '{action}'")];
        RuleOptions { when, weight, ..rule(action, Does::Score, key) }
    };
    vec![of("view", 0.1), of("like", 2.0), of("comment", 3.0), of("share", 5.0)]
}

fn weight_in_tenths(action: &str) -> u64 {
    match action {
        "view" => 1,
        "like" => 20,
        "comment" => 30,
        "share" => 50,
        _ => 0,
    }
}

/// The members with their points, the best first.
async fn points(key: &str) -> Vec<(String, f64)> {
    connect().await.zrevrange_withscores(key, 0, -1).await.unwrap()
}

/// What the points of these events come to, in the form of [`points`].
fn recounted(events: &[Event]) -> Vec<(String, f64)> {
    let mut tenths: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| weight_in_tenths(event.action) > 0) {
        *tenths.entry(format!("p{}", event.post)).or_default() += weight_in_tenths(event.action);
    }
    let mut points: Vec<_> = tenths.into_iter().map(|(post, tenths)| (post, (tenths * 100) as f64 * 0.001)).collect();
    points.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    points
}

/// Numbers that look random and are the same in every run.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    }
}

#[tokio::test]
async fn whatever_is_delivered_again_and_in_other_cuts_counts_once() {
    for seed in 1..=10 {
        let key = unique("trending");
        let mut sink = open(&trending(&key), &Metrics::new()).await;
        let mut number = numbers(seed);
        let actions = ["view", "like", "comment", "share", "impression"];
        let events: Vec<Event> = (0..300).map(|_| Event::now(actions[number(5)], number(20) as u32)).collect();
        let mut next = 0;
        while next < events.len() {
            let end = (next + 1 + number(40)).min(events.len());
            deliver(&mut sink, batch(next, &events[next..end])).await;
            // Sometimes the consumer goes back to what it committed, and cuts otherwise from there.
            next = if number(4) == 0 { number(end + 1) } else { end };
        }
        assert_eq!(points(&key).await, recounted(&events), "seed {seed}");
    }
}

#[tokio::test]
async fn batches_of_one_pass_and_another_partition_count_all_the_same() {
    let key = unique("partitions");
    let mut sink = open(&trending(&key), &Metrics::new()).await;
    use postrider_relay::pipeline::{Cut, Part, Sink};

    let mut receipts = Vec::new();
    for partition in 0..3 {
        for first in [0, 1, 2] {
            let mut messages = batch(first, &[Event::now("like", 7)]);
            let topic = messages.cut().unwrap().topic.clone();
            messages.set_cut(Cut { topic, partition, first: first as i64, last: first as i64, part: Part::default() });
            receipts.push(sink.send(messages).await.unwrap());
        }
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(points(&key).await, [("p7".to_owned(), 18.0)]);
}

#[tokio::test]
async fn readers_see_the_best_members_for_a_while() {
    let key = unique("best");
    let rules = trending(&key).into_iter().map(|rule| RuleOptions { top: 3, ..rule });
    let mut sink = open(&rules.collect::<Vec<_>>(), &Metrics::new()).await;
    let events: Vec<Event> =
        (1..=5).flat_map(|post| vec![Event::now("like", post); usize::try_from(post).unwrap()]).collect();
    deliver(&mut sink, batch(0, &events)).await;
    let best: Vec<_> = points(&key).await.into_iter().map(|(post, _)| post).collect();
    assert_eq!(best, ["p5", "p4", "p3"]);
    let life: i64 = connect().await.pttl(&key).await.unwrap();
    assert!((80_000..=90_000).contains(&life), "{life}");
}

#[tokio::test]
async fn what_is_older_than_the_window_does_not_count_and_what_is_from_the_future_counts_now() {
    let key = unique("times");
    let mut sink = open(&trending(&key), &Metrics::new()).await;
    let at = |minutes: i64, post| Event { time_ms: now_ms() + minutes * 60_000, ..Event::now("like", post) };
    deliver(&mut sink, batch(0, &[at(-61, 1), at(-58, 2), at(0, 3), at(120, 4)])).await;
    let mut counted: Vec<_> = points(&key).await.into_iter().map(|(post, _)| post).collect();
    counted.sort();
    assert_eq!(counted, ["p2", "p3", "p4"]);
}

#[tokio::test]
async fn points_leave_with_the_window() {
    let key = unique("window");
    let short = |rule| RuleOptions { window: Duration::from_secs(2), bucket: Duration::from_secs(1), ..rule };
    let rules: Vec<_> = trending(&key).into_iter().map(short).collect();
    let mut sink = open(&rules, &Metrics::new()).await;
    deliver(&mut sink, batch(0, &vec![Event::now("share", 1); 100])).await;
    let (started, mut offset) = (Instant::now(), 100);
    loop {
        deliver(&mut sink, batch(offset, &[Event::now("view", 2)])).await;
        offset += 1;
        let points = points(&key).await;
        if points.iter().all(|(post, _)| post != "p1") {
            assert!(!points.is_empty() && started.elapsed() > Duration::from_millis(900), "{points:?}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "the points stay: {points:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_unlike_takes_points_away_and_leaves_no_member_without_any() {
    let key = unique("unlike");
    let mut rules = trending(&key);
    let when = vec!["action = 'unlike'".to_owned()];
    rules.push(RuleOptions { when, weight: -2.0, ..rule("unlike", Does::Score, &key) });
    let mut sink = open(&rules, &Metrics::new()).await;
    let events = [("like", 1), ("unlike", 1), ("like", 2), ("view", 2)].map(|(action, post)| Event::now(action, post));
    deliver(&mut sink, batch(0, &events)).await;
    assert_eq!(points(&key).await, [("p2".to_owned(), 2.1)]);
}

#[tokio::test]
async fn points_that_were_lost_with_their_bucket_are_added_up_again() {
    let key = unique("lost");
    let short = |rule| RuleOptions { window: Duration::from_secs(2), bucket: Duration::from_secs(1), ..rule };
    let rules: Vec<_> = trending(&key).into_iter().map(short).collect();
    let mut sink = open(&rules, &Metrics::new()).await;
    deliver(&mut sink, batch(0, &[Event::now("share", 1)])).await;
    let mut connection = connect().await;
    let buckets: Vec<String> = connection.keys(format!("postrider:score:{{{key}}}:bucket:*")).await.unwrap();
    connection.unlink::<_, ()>(buckets).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3100)).await;
    deliver(&mut sink, batch(1, &[Event::now("like", 2)])).await;
    assert_eq!(points(&key).await, [("p2".to_owned(), 2.0)]);
}

#[test]
fn rules_of_one_key_that_disagree_and_weights_that_are_lost_are_refused() {
    use postrider_relay::shape::rules::Rules;

    let refused = |change: fn(&mut RuleOptions)| {
        let mut rules = trending("trending");
        change(&mut rules[1]);
        let wrong = Rules::compile(&rules, false).unwrap_err();
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(refused(|rule| rule.weight = 0.0001).contains("rules.like.weight"));
    assert!(refused(|rule| rule.weight = 0.0).contains("other than 0"));
    assert!(refused(|rule| rule.bucket = Duration::from_secs(7)).contains("a multiple of `bucket`"));
    assert!(refused(|rule| rule.top = 0).contains("rules.like.top"));
    assert!(refused(|rule| rule.top = 10).contains("another window"));
}
