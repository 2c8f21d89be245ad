//! Sets of what a user has seen.

use std::collections::BTreeSet;
use std::time::Duration;

use postrider_relay::shape::rules::options::{Does, RuleOptions};
use postrider_relay::telemetry::Metrics;
use redis::AsyncCommands;

use super::scene::{Event, batch, connect, deliver, now_ms, open, rule, unique};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn seen(prefix: &str) -> RuleOptions {
    let when = vec!["action = 'view'".to_owned()];
    RuleOptions { when, ttl: WEEK, ..rule("seen", Does::Add, &format!("{prefix}:{{user_id}}")) }
}

#[tokio::test]
async fn each_user_has_a_set_of_the_posts_seen_that_lives_for_a_week() {
    let prefix = unique("feed:seen");
    let metrics = Metrics::new();
    let mut sink = open(&[seen(&prefix)], &metrics).await;
    let view = |user, post| Event { user, ..Event::now("view", post) };
    let events = [view(1, 1), view(2, 1), view(1, 2), view(1, 1), Event::now("like", 9)];
    for _ in 0..2 {
        deliver(&mut sink, batch(0, &events)).await;
    }
    let mut connection = connect().await;
    let members: BTreeSet<String> = connection.smembers(format!("{prefix}:u1")).await.unwrap();
    assert_eq!(members, BTreeSet::from(["p1".to_owned(), "p2".to_owned()]));
    let members: Vec<String> = connection.smembers(format!("{prefix}:u2")).await.unwrap();
    assert_eq!(members, ["p1"]);
    let life: i64 = connection.ttl(format!("{prefix}:u1")).await.unwrap();
    assert!((WEEK.as_secs() as i64 - 60..=WEEK.as_secs() as i64).contains(&life), "{life}");
    assert_eq!(metrics.redis.tallied.get(), 3, "what was there before is not counted again");
}

#[tokio::test]
async fn a_set_has_no_more_members_than_it_may() {
    let prefix = unique("feed:many");
    let mut sink = open(&[RuleOptions { members_max: 50, ..seen(&prefix) }], &Metrics::new()).await;
    let events: Vec<Event> = (0..3000).map(|post| Event::now("view", post)).collect();
    deliver(&mut sink, batch(0, &events)).await;
    let count: usize = connect().await.scard(format!("{prefix}:u1")).await.unwrap();
    assert_eq!(count, 50);
}

#[tokio::test]
async fn what_was_seen_longer_ago_than_the_set_lives_is_left_out() {
    let prefix = unique("feed:old");
    let mut sink = open(&[seen(&prefix)], &Metrics::new()).await;
    let old = Event { time_ms: now_ms() - WEEK.as_millis() as i64 - 1000, ..Event::now("view", 1) };
    deliver(&mut sink, batch(0, &[old, Event::now("view", 2)])).await;
    let members: Vec<String> = connect().await.smembers(format!("{prefix}:u1")).await.unwrap();
    assert_eq!(members, ["p2"]);
}
