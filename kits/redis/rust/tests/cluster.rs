//! Pages in a cluster of three masters.

use postrider_cache::{PageCache, PageOptions, State};
use redis::cluster::ClusterClient;
use xtask::services::PrivateRedisCluster;

use crate::invalidation::{Pass, invalidate};

#[tokio::test]
async fn pages_spread_over_a_cluster_are_filled_and_invalidated() {
    let cluster = tokio::task::spawn_blocking(|| PrivateRedisCluster::start(&[]).unwrap()).await.unwrap();
    let mut connection = ClusterClient::new(cluster.urls()).unwrap().get_async_connection().await.unwrap();
    let cache = PageCache::new(connection.clone(), PageOptions::default());
    for user in 0..30 {
        let (tag, page) = (format!("feed:{{{user}}}"), format!("feed:v1:{{{user}}}:0:20"));
        for expected in [State::Filled, State::Hit] {
            let load = || async { Ok::<_, std::io::Error>(b"x".to_vec()) };
            assert_eq!(cache.read(&tag, &page, load).await.unwrap().state, expected);
        }
        assert!(invalidate(&mut connection, &tag, 1, Pass::First).await);
        let load = || async { Ok::<_, std::io::Error>(b"y".to_vec()) };
        assert_eq!(cache.read(&tag, &page, load).await.unwrap().state, State::Filled);
    }
}
