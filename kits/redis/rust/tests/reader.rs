//! One reader: what it is served, and what lies in Redis afterwards.

use std::time::Duration;

use postrider_cache::{Found, PageCache, PageOptions, State, Totals, generation_key};
use redis::AsyncCommands;
use xtask::services::PrivateRedis;

use crate::invalidation::{Pass, invalidate};
use crate::server;

/// A database that answers.
async fn answer(text: &str) -> Result<Vec<u8>, std::io::Error> {
    Ok(text.as_bytes().to_vec())
}

/// A database that does not.
async fn silence() -> Result<Vec<u8>, std::io::Error> {
    Err(std::io::Error::other("the breaker is open"))
}

#[tokio::test]
async fn a_page_is_filled_once_then_served_and_after_an_invalidation_filled_again() {
    let mut connection = server::connect().await;
    let (cache, tag) = (PageCache::new(connection.clone(), PageOptions::default()), server::tag("again"));
    let page = format!("page:{tag}");
    for (text, expected) in [("one", State::Filled), ("two", State::Hit)] {
        let served = cache.read(&tag, &page, || answer(text)).await.unwrap();
        assert_eq!((served.state, served.payload.as_slice()), (expected, &b"one"[..]));
    }
    assert!(invalidate(&mut connection, &tag, 7, Pass::First).await);
    let served = cache.read(&tag, &page, || answer("three")).await.unwrap();
    assert_eq!((served.state, served.payload.as_slice()), (State::Filled, &b"three"[..]));
    assert_eq!(cache.counts().totals(), Totals { hits: 1, filled: 2, ..Totals::default() });
}

#[tokio::test]
async fn an_invalidation_while_the_database_is_read_refuses_the_fill() {
    let mut connection = server::connect().await;
    let (cache, tag) = (PageCache::new(connection.clone(), PageOptions::default()), server::tag("race"));
    let page = format!("page:{tag}");
    let opened = cache.open(&tag, &page).await.unwrap();
    invalidate(&mut connection, &tag, 1, Pass::First).await;
    assert!(!cache.fill(&tag, &page, &opened, b"old").await.unwrap());
    assert_eq!(cache.open(&tag, &page).await.unwrap().found, Found::Miss);
}

#[tokio::test]
async fn while_the_database_is_away_the_superseded_page_is_served_as_stale() {
    let mut connection = server::connect().await;
    let (cache, tag) = (PageCache::new(connection.clone(), PageOptions::default()), server::tag("stale"));
    let page = format!("page:{tag}");
    assert!(cache.read(&tag, &page, silence).await.is_err(), "there is nothing to serve");
    cache.read(&tag, &page, || answer("old")).await.unwrap();
    invalidate(&mut connection, &tag, 1, Pass::First).await;
    let served = cache.read(&tag, &page, silence).await.unwrap();
    assert!(matches!(served.state, State::Stale(age) if age < Duration::from_secs(60)), "{served:?}");
    assert_eq!(served.payload, b"old");
    let served = cache.read(&tag, &page, || answer("new")).await.unwrap();
    assert_eq!(served.state, State::Filled);
}

#[tokio::test]
async fn a_page_past_its_time_is_stale_and_kept_no_longer_than_configured() {
    let connection = server::connect().await;
    let options = PageOptions { fresh: Duration::ZERO, jitter: Duration::ZERO, ..PageOptions::default() };
    let (cache, tag) = (PageCache::new(connection.clone(), options), server::tag("past"));
    let page = format!("page:{tag}");
    cache.read(&tag, &page, || answer("old")).await.unwrap();
    assert!(matches!(cache.open(&tag, &page).await.unwrap().found, Found::Stale(_)));
    let left: i64 = connection.clone().pttl(&page).await.unwrap();
    assert!((590_000..=600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn pages_live_between_120_and_150_seconds_and_their_generation_longer() {
    let connection = server::connect().await;
    let options = PageOptions { stale: Duration::ZERO, generation: Duration::from_secs(1), ..PageOptions::default() };
    let cache = PageCache::new(connection.clone(), options);
    let mut lives = Vec::new();
    for _ in 0..50 {
        let tag = server::tag("life");
        let page = format!("page:{tag}");
        cache.read(&tag, &page, || answer("x")).await.unwrap();
        let mut connection = connection.clone();
        let life: i64 = connection.pttl(&page).await.unwrap();
        let generation: i64 = connection.pttl(generation_key(&tag)).await.unwrap();
        assert!((119_000..=150_000).contains(&life) && generation > life, "{life} {generation}");
        lives.push(life);
    }
    let spread = lives.iter().max().unwrap() - lives.iter().min().unwrap();
    assert!(spread > 5_000, "50 pages end within {spread} ms");
}

#[tokio::test]
async fn what_lies_there_from_somebody_else_is_no_page() {
    let mut connection = server::connect().await;
    let (cache, tag) = (PageCache::new(connection.clone(), PageOptions::default()), server::tag("foreign"));
    let page = format!("page:{tag}");
    for value in ["", "short", &"long and without a frame ".repeat(8)] {
        connection.set::<_, _, ()>(&page, value).await.unwrap();
        assert_eq!(cache.open(&tag, &page).await.unwrap().found, Found::Miss);
    }
}

#[tokio::test]
async fn without_redis_the_database_answers() {
    let mut redis = tokio::task::spawn_blocking(|| PrivateRedis::start(&[]).unwrap()).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let cache = PageCache::new(client.get_multiplexed_async_connection().await.unwrap(), PageOptions::default());
    redis.kill();
    let served = cache.read("tag", "page", || answer("direct")).await.unwrap();
    assert_eq!((served.state, served.payload.as_slice()), (State::Bypassed, &b"direct"[..]));
}
