//! From the configuration's `[capture]` to what `init` sets up and `check` expects.

use crate::config::DatabaseConfig;
use crate::config::capture::{self, Capture, Operation, TablePattern};
use crate::config::outbox::TableName;
use crate::slots::setup::capture::{CaptureWanted, Operations};
use crate::slots::setup::{PollingWanted, Table};

/// What shall be captured. A signal is an insertion, so that one is needed for it.
pub(crate) fn capture(capture: &Capture) -> CaptureWanted {
    let published = |operation| !capture.skipped_operations.contains(&operation);
    CaptureWanted {
        section: capture::NAME.to_owned(),
        tables: tables(&capture.tables),
        except: tables(&capture.tables_except),
        publication: capture.publication.clone(),
        via_root: capture.publish_via_partition_root,
        operations: Operations {
            insert: published(Operation::Create) || capture.signal_table.is_some(),
            update: published(Operation::Update),
            delete: published(Operation::Delete),
            truncate: published(Operation::Truncate),
        },
        signal_table: capture.signal_table.as_ref().map(table),
    }
}

/// How the outbox is polled, if it is, or may come to be.
pub(crate) fn polling(config: &DatabaseConfig) -> Option<PollingWanted> {
    let polling = &config.polling;
    config.source.may_poll().then(|| PollingWanted {
        deletes: polling.deletes,
        published_at: polling.published_at.clone(),
        xid: polling.xid.clone(),
        falls_back: config.source.falls_back,
    })
}

/// The table as SQL is written with it.
pub(crate) fn table(table: &TableName) -> Table {
    Table { schema: table.schema.clone(), name: table.name.clone() }
}

fn tables(patterns: &[TablePattern]) -> Vec<Table> {
    patterns.iter().map(|pattern| Table { schema: pattern.schema.clone(), name: pattern.table.clone() }).collect()
}
