//! From the configuration's `[partitions]` and outboxes to the care of their tables.

use std::sync::Arc;

use crate::app::postgres;
use crate::config::Config;
use crate::config::outbox::Outbox;
use crate::config::partitions::Partitions;
use crate::config::source::Source;
use crate::pipeline::Stop;
use crate::slots::outbox::partitions::{Care, Settings};
use crate::slots::setup::Table;
use crate::telemetry::Metrics;

/// What is to be cared for; none for an outbox without a table.
pub(crate) fn of(outbox: &Outbox, source: &Source, partitions: &Partitions) -> Option<Care> {
    let table = outbox.table.as_ref()?;
    Some(Care {
        table: Table { schema: table.schema.clone(), name: table.name.clone() },
        id_column: outbox.columns.id.clone(),
        slot: source.slot.clone(),
        settings: Settings { ahead_days: partitions.ahead_days, retention_days: partitions.retention_days },
    })
}

/// Looks after the partitions of every outbox beside the pipeline, if the configuration says so.
pub(super) fn keep(config: &Config, metrics: &Arc<Metrics>, stop: &Stop) {
    if !config.partitions.manage {
        return;
    }
    for care in config.outboxes.iter().filter_map(|outbox| of(outbox, &config.source, &config.partitions)) {
        let connect = postgres::options(&config.postgres, false);
        let interval = config.partitions.interval;
        tokio::spawn(crate::slots::outbox::keep::keep(connect, care, interval, Arc::clone(metrics), stop.clone()));
    }
}
