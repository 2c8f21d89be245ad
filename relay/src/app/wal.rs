//! From the configuration's `[postgres]`, `[source]` and `[outbox]` to the source's options.

use std::sync::atomic::AtomicBool;

use crate::app::postgres;
use crate::config::Config;
use crate::sources::wal::{OutboxTable, WalOptions};

/// What the source is told.
pub(super) fn options(config: &Config, accept_gap: bool) -> WalOptions {
    let columns = &config.outbox.columns;
    WalOptions {
        connect: postgres::options(&config.postgres, true),
        slot: config.source.slot.clone(),
        publication: config.source.publication.clone(),
        table: OutboxTable {
            schema: config.outbox.table.schema.clone(),
            name: config.outbox.table.name.clone(),
            id: columns.id.clone(),
            aggregate_type: columns.aggregate_type.clone(),
            aggregate_id: columns.aggregate_id.clone(),
            event_type: columns.event_type.clone(),
            payload: columns.payload.clone(),
            payload_bytes: columns.payload_bytes.clone(),
            headers: columns.headers.clone(),
        },
        topic: config.outbox.topic.clone(),
        accept_gap: AtomicBool::new(accept_gap),
    }
}
