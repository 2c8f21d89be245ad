//! From the configuration's `[standby]` to a relay that takes turns with others.

use std::sync::Arc;

use crate::app::postgres;
use crate::app::worker::Worker;
use crate::config::Config;
use crate::leases::{Standby, StandbyOptions};

/// One of any number of relays for the configured slot.
pub(super) fn standby(config: &Config, worker: &Worker) -> Standby {
    Standby::new(StandbyOptions {
        connect: postgres::options(&config.postgres, false),
        slot: config.source.slot.clone(),
        ttl: config.standby.lease,
        look_interval: config.standby.look_interval,
        status: Arc::clone(&worker.status),
        metrics: Arc::clone(&worker.metrics),
    })
}
