//! A cluster of three masters: whatever the slot, it is found and removed.

use std::sync::Arc;
use std::time::Duration;

use postrider_relay::shape::rules::Rules;
use postrider_relay::shape::rules::options::Does;
use postrider_relay::sinks::Redis;
use postrider_relay::sinks::redis::{InvalidatorOptions, RedisOptions, keys};
use postrider_relay::telemetry::Metrics;
use redis::cluster::ClusterClient;
use xtask::services::PrivateRedisCluster;

use super::place::{batch, change, deliver, reached, rule};

const TOPIC: &str = "cdc.posts";

#[tokio::test]
async fn every_strategy_reaches_every_slot() {
    let cluster = PrivateRedisCluster::start(&[]).expect("a cluster");
    let urls = cluster.urls();
    let mut readers = ClusterClient::new(urls.clone()).unwrap().get_async_connection().await.unwrap();
    let rules = [
        rule("a", TOPIC, Does::Generation, &["gen:{id}".to_owned()]),
        rule("b", TOPIC, Does::Tags, &["tag:{{{id}}}".to_owned()]),
        rule("c", TOPIC, Does::Keys, &["key:{id}".to_owned()]),
        rule("d", TOPIC, Does::Pattern, &["pattern:{id}:*".to_owned()]),
    ];
    let servers = urls.iter().flat_map(|url| reached(url).servers).collect();
    let options = InvalidatorOptions {
        redis: RedisOptions { servers, cluster: true, ..reached(&urls[0]) },
        rules: Arc::new(Rules::compile(&rules, true).unwrap()),
        second_pass: Duration::from_millis(50),
        pending_bytes_max: 1 << 20,
        sweep_keys_per_second: 1_000_000,
        postgres: None,
    };
    let metrics = Metrics::new();
    let mut sink = Redis::open(options, Arc::clone(&metrics)).await.expect("the cluster can be used");
    let mut removed = Vec::new();
    for id in 0..60 {
        let page = format!("page:{{{id}}}:0");
        for key in [format!("key:{id}"), format!("pattern:{id}:0"), page.clone()] {
            redis::cmd("SET").arg(&key).arg("x").exec_async(&mut readers).await.unwrap();
            removed.push(key);
        }
        let set = keys::tag_set(&format!("tag:{{{id}}}"));
        redis::cmd("SADD").arg(&set).arg(&page).exec_async(&mut readers).await.unwrap();
        let generation = keys::generation(&format!("gen:{id}"));
        let old = format!("{:032x}{:013x}1", 0, 1);
        redis::cmd("SET").arg(&generation).arg(old).exec_async(&mut readers).await.unwrap();
    }

    let changes: Vec<_> = (0..60).map(|id| change(id + 1, "u", "null", &format!(r#"{{"id":{id}}}"#))).collect();
    deliver(&mut sink, batch(TOPIC, &changes)).await;

    for key in removed {
        let there: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut readers).await.unwrap();
        assert!(!there, "{key}");
    }
    for id in 0..60_u128 {
        let key = keys::generation(&format!("gen:{id}"));
        let generation: String = redis::cmd("GET").arg(key).query_async(&mut readers).await.unwrap();
        assert!(generation.starts_with(&format!("{:032x}", id + 1)) && generation.ends_with('0'), "{generation}");
    }
    assert_eq!(metrics.redis.invalidations.with_label_values(&["tags", "removed"]).get(), 60);
}

#[test]
fn a_tag_without_a_hash_tag_is_refused_for_a_cluster() {
    let rules = [rule("b", TOPIC, Does::Tags, &["tag:{id}".to_owned()])];
    let wrong = Rules::compile(&rules, true).expect_err("keys of one family must share a slot");
    assert!(wrong[0].to_string().contains("hash tag"), "{}", wrong[0]);
}
