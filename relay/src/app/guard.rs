//! From the configuration's `[guard]` to the guard that runs beside the pipeline.

use std::sync::Arc;

use crate::app::postgres;
use crate::config::Config;
use crate::config::guard::Action;
use crate::pipeline::Stop;
use crate::slots::guard::{self, Budget, Options, Released};
use crate::telemetry::Metrics;

/// Starts the guard over the slot of `config`; the handle tells whether it has released the slot.
pub(super) fn keep(config: &Config, metrics: &Arc<Metrics>, stop: &Stop) -> Released {
    let guard = &config.guard;
    let released = Released::default();
    let options = Options {
        connect: postgres::options(&config.postgres, false),
        slot: config.source.slot.clone(),
        budget: Budget {
            bytes: guard.wal_bytes_max,
            percent: guard.wal_percent_max,
            time_left: guard.time_left_min,
            warn_percent: guard.warn_percent,
        },
        disk_bytes: None,
        may_release: guard.action == Action::Release,
        interval: guard.interval,
        webhook_url: guard.webhook_url.as_ref().map(|url| url.expose().to_owned()),
    };
    tokio::spawn(guard::keep(options, released.clone(), Arc::clone(metrics), stop.clone()));
    released
}
