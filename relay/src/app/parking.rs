//! From the configuration to a sink that parks: which lot, which bounds, and what each route does.

use std::sync::Arc;

use crate::app::postgres;
use crate::config::{self, Config};
use crate::pipeline::parking::{Capacity, OnRefusal, Policies, RoutePolicy};
use crate::pipeline::{ParkingOptions, Status};
use crate::sinks::lots::PostgresLotOptions;
use crate::telemetry::Metrics;

/// How the relay parks.
pub(super) fn options(config: &Config, metrics: &Arc<Metrics>, status: &Arc<Status>) -> ParkingOptions {
    ParkingOptions {
        policies: policies(config),
        capacity: Capacity { events_max: config.parking.events_max, bytes_max: config.parking.bytes_max },
        metrics: Arc::clone(metrics),
        status: Arc::clone(status),
    }
}

/// Where it parks.
pub(super) fn lot(config: &Config) -> PostgresLotOptions {
    PostgresLotOptions {
        connect: postgres::options(&config.postgres, false),
        slot: config.source.slot.clone(),
        poll_interval: config.parking.poll_interval,
        keep: config.parking.keep,
    }
}

/// What becomes of an event of each outbox that cannot be delivered, and then of a captured change: the place of each is the
/// number of its route.
fn policies(config: &Config) -> Policies {
    let policy = |name: &str, on_refusal: &config::outbox::OnRefusal| RoutePolicy {
        name: name.to_owned(),
        on_refusal: match on_refusal {
            config::outbox::OnRefusal::Park => OnRefusal::Park,
            config::outbox::OnRefusal::Block => OnRefusal::Block,
            config::outbox::OnRefusal::DeadLetter(topic) => OnRefusal::DeadLetter(Arc::from(topic.as_str())),
        },
    };
    let outboxes = config.outboxes.iter().map(|outbox| policy(&outbox.name, &outbox.on_refusal));
    let capture = config.capture.iter().map(|capture| policy(config::capture::NAME, &capture.on_refusal));
    Policies::new(outboxes.chain(capture).collect())
}
