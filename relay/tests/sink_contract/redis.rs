//! The sink that invalidates, under the contract: it keeps nothing of what it is sent, and what is not for its rules is durable at
//! once. What it does in Redis is held in `invalidation`.

use std::sync::Arc;
use std::time::Duration;

use postrider_relay::pipeline::Progress;
use postrider_relay::shape::rules::Rules;
use postrider_relay::sinks::Redis;
use postrider_relay::sinks::redis::InvalidatorOptions;
use postrider_relay::telemetry::Metrics;
use xtask::services;

use super::Rig;
use super::topic::Delivered;
use crate::invalidation::reached;

/// The shared Redis, with no rule for what the contract sends.
pub(super) struct Shared;

impl Rig for Shared {
    type Sink = Redis;

    async fn open(&self) -> (Redis, Option<Progress>) {
        let url = services::current().expect("the services run").redis_url.expect("Redis runs");
        let options = InvalidatorOptions {
            redis: reached(&url),
            rules: Arc::new(Rules::compile(&[], false).expect("no rule")),
            second_pass: Duration::from_millis(50),
            pending_bytes_max: 1 << 20,
            sweep_keys_per_second: 1_000_000,
            postgres: None,
        };
        (Redis::open(options, Metrics::new()).await.expect("Redis can be used"), None)
    }

    fn topic(&self) -> &str {
        "nobody's"
    }

    async fn delivered(&self) -> Option<Vec<Delivered>> {
        None
    }
}
