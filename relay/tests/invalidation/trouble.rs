//! A Redis that is away, forgets, is full or refuses: each is told from the others, and said without a key.

use std::sync::Arc;
use std::time::Duration;

use postrider_relay::pipeline::{Error, Kind, Sink};
use postrider_relay::postgres::options::Secret;
use postrider_relay::shape::rules::options::Does;
use postrider_relay::sinks::Redis;
use postrider_relay::sinks::redis::{Password, RedisTls};
use postrider_relay::telemetry::Metrics;
use xtask::services::certificates::{Authority, Subject};
use xtask::services::{PrivateRedis, RedisTls as ServerTls};

use super::place::{Place, batch, change, deliver, rule};

const TOPIC: &str = "cdc.posts";

async fn place(redis: &PrivateRedis) -> Place {
    Place::at(&redis.url(), |prefix| {
        vec![
            rule("a", TOPIC, Does::Generation, &[format!("{prefix}:{{id}}")]),
            rule("b", TOPIC, Does::Keys, &[format!("{prefix}:key:{{id}}")]),
        ]
    })
    .await
}

fn one() -> postrider_relay::pipeline::Messages {
    batch(TOPIC, &[change(1, "c", "null", r#"{"id":"secret"}"#)])
}

async fn error(place: &Place) -> Error {
    match Redis::open(place.options.clone(), Metrics::new()).await {
        Err(error) => error,
        Ok(mut sink) => {
            let receipt = sink.send(one()).await.unwrap();
            receipt.await.expect_err("it cannot be done")
        }
    }
}

#[tokio::test]
async fn an_outage_is_unavailable_and_after_it_a_probe_connects_again() {
    let mut redis = PrivateRedis::start(&[]).unwrap();
    let place = place(&redis).await;
    let mut sink = place.sink().await;
    deliver(&mut sink, one()).await;
    redis.kill();
    let receipt = sink.send(one()).await.unwrap();
    let error = receipt.await.expect_err("nobody answers");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!error.chain().contains("secret"), "{}", error.chain());
    sink.reset().await.unwrap();
    assert_eq!(sink.probe().await.expect_err("nobody answers").kind(), Kind::Unavailable);
    let closed = Redis::open(place.options.clone(), Arc::clone(&place.metrics)).await;
    assert_eq!(closed.err().map(|error| error.kind()), Some(Kind::Unavailable));
    redis.start_again().unwrap();
    sink.probe().await.unwrap();
    deliver(&mut sink, one()).await;
}

#[tokio::test]
async fn one_that_hangs_is_given_up_in_time() {
    let redis = PrivateRedis::start(&[]).unwrap();
    let mut place = place(&redis).await;
    place.options.redis.timeout = Duration::from_millis(200);
    place.options.redis.connect_timeout = Duration::from_millis(200);
    let mut sink = place.sink().await;
    redis.pause();
    let receipt = sink.send(one()).await.unwrap();
    let late = receipt.await.expect_err("it hangs");
    let unopened = error(&place).await;
    redis.resume();
    assert_eq!((late.kind(), unopened.kind()), (Kind::Unavailable, Kind::Unavailable));
}

#[tokio::test]
async fn scripts_that_were_forgotten_are_loaded_again() {
    let redis = PrivateRedis::start(&[]).unwrap();
    let mut place = place(&redis).await;
    let mut sink = place.sink().await;
    place.run::<()>(&["SCRIPT", "FLUSH"]).await;
    deliver(&mut sink, one()).await;
}

#[tokio::test]
async fn full_memory_is_waited_for() {
    let redis = PrivateRedis::start(&[("maxmemory-policy", "noeviction")]).unwrap();
    let mut place = place(&redis).await;
    let tag = place.name("secret");
    place.open(&tag, "page").await;
    place.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let mut sink = place.sink().await;
    let receipt = sink.send(one()).await.unwrap();
    let error = receipt.await.expect_err("there is no memory");
    assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
    assert!(error.help().unwrap().contains("memory"));
    place.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    deliver(&mut sink, one()).await;
}

#[tokio::test]
async fn who_is_refused_is_told_what_to_mend() {
    let users = [("user", "worker on >right ~* +@all"), ("user", "poor on >right ~* +@connection")];
    let redis = PrivateRedis::start(&users).unwrap();
    let mut place = place(&redis).await;
    for (user, password, says) in
        [("worker", "wrong", "password"), ("poor", "right", "may not"), ("nobody", "right", "user")]
    {
        place.options.redis.user = Some(user.to_owned());
        place.options.redis.password = Some(Password::Given(Secret::new(password)));
        let error = error(&place).await;
        assert_eq!(error.kind(), Kind::Setup, "{user}: {}", error.chain());
        assert!(error.help().is_some_and(|help| help.contains(says)), "{user}: {:?}", error.help());
    }
    place.options.redis.user = Some("worker".to_owned());
    deliver(&mut place.sink().await, one()).await;
}

/// The rights that `docs/invalidation.md` lists are enough for every strategy.
#[tokio::test]
async fn the_rights_of_the_manual_are_enough() {
    let manual = include_str!("../../../docs/invalidation.md");
    let line = manual.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the manual lists the rights");
    let rights = line.split_once(">… ").expect("rights after the password").1.replace("~feed:*", "~t*");
    let user = format!("worker on >right {rights}");
    let redis = PrivateRedis::start(&[("user", &user)]).unwrap();
    let mut place = Place::at(&redis.url(), |prefix| {
        let keep = postrider_relay::shape::rules::options::RuleOptions {
            key: Some("{id}".to_owned()),
            member: Some("m".to_owned()),
            ..rule("e", TOPIC, Does::Keep, &[])
        };
        let over = postrider_relay::shape::rules::options::RuleOptions {
            kept: Some("e".to_owned()),
            key: Some("{id}".to_owned()),
            ..rule("f", TOPIC, Does::Keys, &[format!("{prefix}:kept:{{member}}")])
        };
        vec![
            rule("a", TOPIC, Does::Generation, &[format!("{prefix}:{{id}}")]),
            rule("b", TOPIC, Does::Tags, &[format!("{prefix}:tag:{{id}}")]),
            rule("c", TOPIC, Does::Keys, &[format!("{prefix}:key:{{id}}")]),
            rule("d", TOPIC, Does::Pattern, &[format!("{prefix}:page:{{id}}:*")]),
            keep,
            over,
        ]
    })
    .await;
    for key in ["key:secret", "page:secret:0", "tagged", "kept:m"] {
        place.run::<()>(&["SET", &place.name(key), "x"]).await;
    }
    let set = postrider_relay::sinks::redis::keys::tag_set(&place.name("tag:secret"));
    place.run::<()>(&["SADD", &set, &place.name("tagged")]).await;
    place.open(&place.name("secret"), "page").await;
    place.options.redis.user = Some("worker".to_owned());
    place.options.redis.password = Some(Password::Given(Secret::new("right")));
    deliver(&mut place.sink().await, one()).await;
    let left: Vec<String> = place.run(&["KEYS", &place.name("*")]).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn tls_is_spoken_and_what_does_not_fit_is_told() {
    let (authority, stranger) = (Authority::new("redis authority").unwrap(), Authority::new("stranger").unwrap());
    let subject = |name| Subject { common_name: name, names: &["localhost"], expired: false };
    let (server, own) = (authority.sign(subject("redis")).unwrap(), authority.sign(subject("relay")).unwrap());
    let pem = authority.pem();
    let tls = ServerTls { chain: &server.chain, key: &server.key, clients: Some(&pem) };
    let redis = PrivateRedis::start_secure(tls, &[]).unwrap();
    let folder = std::env::temp_dir().join(format!("postrider-redis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, other) = (write("ca.pem", &pem), write("other.pem", &stranger.pem()));
    let identity = Some((write("own.pem", &own.chain), write("own.key", &own.key)));
    let mut place = place(&redis).await;
    place.options.redis.servers = vec![("localhost".to_owned(), redis.tls_port())];
    place.options.redis.tls = Some(RedisTls { ca_file: Some(ca), identity: identity.clone() });
    deliver(&mut place.sink().await, one()).await;

    place.options.redis.tls = Some(RedisTls { ca_file: Some(other), identity });
    let error = error(&place).await;
    assert_eq!(error.kind(), Kind::Setup, "{}", error.chain());
    assert!(error.help().is_some_and(|help| help.contains("ca_file")));
    std::fs::remove_dir_all(&folder).unwrap();
}
