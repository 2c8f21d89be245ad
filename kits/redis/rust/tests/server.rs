//! The shared Redis, and names that only one test uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use xtask::services;

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(crate) fn url() -> String {
    services::current().expect("the services run").redis_url.expect("Redis runs")
}

pub(crate) async fn connect() -> MultiplexedConnection {
    let client = redis::Client::open(url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A tag that no other test and no other run uses.
pub(crate) fn tag(test: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("test:{test}:{nanos}:{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
